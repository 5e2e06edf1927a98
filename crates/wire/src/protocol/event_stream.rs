//! A pushed answer: the frames of an event stream as they come.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use headwater_api::{Api, Error, Event, Events, Frame, Pushed};

/// The body of a pushed answer: a first frame at once, each event as it comes, an error as the last frame.
pub(crate) struct EventBody {
    events: Option<Events<Box<dyn Event>>>,
    api: Api,
    is_begun: bool,
}

impl EventBody {
    pub(crate) fn new(events: Events<Box<dyn Event>>, api: Api) -> Self {
        Self { events: Some(events), api, is_begun: false }
    }

    /// The next frame; None at the end.
    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.is_begun {
            self.is_begun = true;
            return Poll::Ready(Some(Frame::initial().into_bytes()));
        }
        let Some(events) = &mut self.events else { return Poll::Ready(None) };
        // A panic while an event is made ends this stream with an error, not the connection with a cut.
        let polled = catch_unwind(AssertUnwindSafe(|| events.as_mut().poll_next(context)));
        let item = match polled {
            Ok(polled) => ready!(polled),
            Err(_) => Some(Err(Error::internal("an event stream panicked"))),
        };
        Poll::Ready(match item {
            Some(Ok(Pushed::Event(event))) => Some(Frame::of(&*event).into_bytes()),
            Some(Ok(Pushed::Frame(frame))) => Some(frame.into_bytes()),
            Some(Err(error)) => {
                self.events = None;
                Some(Frame::error(&error, self.api).into_bytes())
            }
            None => {
                self.events = None;
                None
            }
        })
    }
}
