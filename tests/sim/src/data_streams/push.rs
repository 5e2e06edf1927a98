//! Subscriptions: what a node pushes, frame by frame, as its client reads it.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use headwater_api::{Api, Event, Events, Frame, Pushed as Frames, Reply};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::server::{Failure, Server};

/// What a subscriber is pushed. Nothing more comes from a node that has died.
#[derive(Debug)]
pub enum Pushed {
    /// An event's payload.
    Event(Value),
    /// The last frame: an error.
    Failed {
        /// Its code.
        name: String,
        /// Its payload.
        body: Value,
    },
    /// A clean end.
    End,
}

impl Server {
    /// Subscribes; the frames come from a task of this node. Dropping the receiver is the client's going away.
    pub async fn subscribe(self: &Arc<Self>, request: Value) -> Result<mpsc::Receiver<Pushed>, Failure> {
        let (sender, receiver) = mpsc::channel(1);
        let (opened, answer) = oneshot::channel();
        let server = self.clone();
        drop(self.runtime.spawn(async move {
            let events = match server.reply(Api::Kinesis, "SubscribeToShard", &request).await {
                Ok(Reply::Events(events)) => events,
                Ok(Reply::Body(_) | Reply::Empty) => unreachable!("a subscription is answered by events"),
                Err(failure) => return drop(opened.send(Err(failure))),
            };
            if opened.send(Ok(())).is_ok() {
                push(events, sender).await;
            }
        }));
        answer.await.unwrap_or(Err(Failure::Lost)).map(|()| receiver)
    }
}

async fn push(mut events: Events<Box<dyn Event>>, sender: mpsc::Sender<Pushed>) {
    loop {
        let next = match select(events.next(), pin!(sender.closed())).await {
            Either::Left((next, _)) => next,
            Either::Right(_) => return,
        };
        let frame = match next {
            Some(Ok(Frames::Event(event))) => Frame::of(&*event),
            Some(Ok(Frames::Frame(frame))) => frame,
            Some(Err(error)) => Frame::error(&error, Api::Kinesis),
            None => return drop(sender.send(Pushed::End).await),
        };
        let pushed = decode(&frame.into_bytes()).expect("a frame can be read");
        let last = !matches!(pushed, Pushed::Event(_));
        if sender.send(pushed).await.is_err() || last {
            return;
        }
    }
}

/// Reads a frame: lengths, headers of text, payload.
fn decode(frame: &[u8]) -> Option<Pushed> {
    let length = |at: usize| Some(u32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?) as usize);
    let (total, headers) = (length(0)?, length(4)?);
    let (mut rest, payload) = (frame.get(12..12 + headers)?, frame.get(12 + headers..total.checked_sub(4)?)?);
    let body = serde_json::from_slice(payload).ok().filter(|_| total == frame.len())?;
    let (mut event, mut exception) = (None, None);
    while let Some((size, after)) = rest.split_first() {
        let (name, after) = after.split_at_checked(usize::from(*size))?;
        let ([7, high, low], after) = after.split_first_chunk::<3>()? else { return None };
        let (value, after) = after.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        let value = std::str::from_utf8(value).ok()?;
        match name {
            b":event-type" => event = Some(value),
            b":exception-type" => exception = Some(value),
            _ => {}
        }
        rest = after;
    }
    match (event, exception) {
        (Some("SubscribeToShardEvent"), None) => Some(Pushed::Event(body)),
        (None, Some(name)) => Some(Pushed::Failed { name: name.to_owned(), body }),
        _ => None,
    }
}
