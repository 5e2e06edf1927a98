//! Routing to an operation, and the answer on its way back.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::call::Call;
use crate::decode::Input;
use crate::document::Document;
use crate::encode::Encode;
use crate::error::Error;
use crate::frame::Frame;

/// What an operation answers with.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Events pushed to a subscriber; an error is sent as the last frame.
pub type Events<E> = Pin<Box<dyn Stream<Item = Result<Pushed<E>, Error>> + Send>>;

/// What one step of a subscription pushes.
///
/// Shape: an event of this subscriber's own, or a frame that many subscribers share without another encoding or copy.
#[derive(Clone, Debug, PartialEq)]
pub enum Pushed<E> {
    /// To be encoded on its way.
    Event(E),
    /// Encoded already, by [`Frame::of`].
    Frame(Frame),
}

impl<E: Event> From<E> for Pushed<E> {
    fn from(event: E) -> Self {
        Self::Event(event)
    }
}

/// One pushed event.
pub trait Event: Send {
    /// Its name in the frame's header.
    fn name(&self) -> &'static str;
    /// Its payload.
    fn body(&self) -> &dyn Encode;
}

/// An answer that can encode itself.
pub enum Reply {
    /// A body.
    Body(Box<dyn Encode + Send>),
    /// The operation has no output: `{}` in DynamoDB's APIs, no bytes at all in Kinesis.
    Empty,
    /// Frames, as they come.
    Events(Events<Box<dyn Event>>),
}

impl Reply {
    /// A reply with a body.
    pub fn body<T: Encode + Send + 'static>(output: T) -> Self {
        Self::Body(Box::new(output))
    }

    /// A reply of an operation without output.
    pub fn empty<T>(_output: T) -> Self {
        Self::Empty
    }

    /// A reply of events.
    pub fn events<E: Event + 'static>(events: Events<E>) -> Self {
        Self::Events(Box::pin(Boxed(events)))
    }
}

/// Checks and decodes, calls, and refuses an answer that was never authorised.
pub(crate) fn route<'a, I: Input, O: 'a>(
    call: &'a Call,
    document: Document<'_>,
    operation: impl FnOnce(I) -> Answer<'a, O>,
    reply: fn(O) -> Reply,
) -> Answer<'a, Reply> {
    let answer = match I::from_document(document) {
        Ok(input) => operation(input),
        Err(error) => return Box::pin(std::future::ready(Err(error))),
    };
    Box::pin(async move {
        let output = answer.await?;
        if !call.is_authorized() {
            return Err(Error::internal(format!("{} answered without being authorised", call.operation)));
        }
        Ok(reply(output))
    })
}

/// The answer of an operation that no model knows, or that is not built yet.
pub(crate) fn unknown_operation<'a, T: Send + 'a>(_call: &'a Call, _input: impl Sized) -> Answer<'a, T> {
    Box::pin(std::future::ready(Err(Error::unknown_operation())))
}

struct Boxed<E>(Events<E>);

fn boxed<E: Event + 'static>(pushed: Pushed<E>) -> Pushed<Box<dyn Event>> {
    match pushed {
        Pushed::Event(event) => Pushed::Event(Box::new(event)),
        Pushed::Frame(frame) => Pushed::Frame(frame),
    }
}

impl<E: Event + 'static> Stream for Boxed<E> {
    type Item = Result<Pushed<Box<dyn Event>>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context).map(|item| item.map(|pushed| pushed.map(boxed)))
    }
}
