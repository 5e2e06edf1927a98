//! A pushed answer: the frames of an event stream as they come, and who may end it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use headwater_api::{Api, Error, Event, Events, Frame, Pushed};
use parking_lot::Mutex;

use crate::metrics::Metrics;

/// The body of a pushed answer: a first frame at once, each event as it comes, an error as the last frame.
///
/// A frame is made only when the one before has gone to the transport's buffer, so a subscriber that does not read holds
/// one frame and no more.
pub struct EventBody(Arc<Mutex<Subscription>>);

struct Subscription {
    /// None once it has ended.
    events: Option<Counted>,
    api: Api,
    is_begun: bool,
    /// The last frame given has not been asked behind: the subscriber has not taken it.
    is_unread: bool,
    /// For how long that has been so.
    unread: Duration,
    /// Who waits for the next frame.
    waiting: Option<Waker>,
}

/// Events that are still to come; counted as a subscription for as long.
struct Counted {
    events: Events<Box<dyn Event>>,
    metrics: Arc<Metrics>,
}

impl Counted {
    fn new(events: Events<Box<dyn Event>>, metrics: Arc<Metrics>) -> Self {
        metrics.subscriptions_open.add(1);
        Self { events, metrics }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.subscriptions_open.fall();
    }
}

/// A hold on a pushed answer from outside: its connection ends it.
pub(crate) struct Pushing(Weak<Mutex<Subscription>>);

impl EventBody {
    pub(crate) fn new(events: Events<Box<dyn Event>>, api: Api, metrics: Arc<Metrics>) -> Self {
        let (events, unread) = (Some(Counted::new(events, metrics)), Duration::ZERO);
        let subscription = Subscription { events, api, is_begun: false, is_unread: false, unread, waiting: None };
        Self(Arc::new(Mutex::new(subscription)))
    }

    pub(crate) fn hold(&self) -> Pushing {
        Pushing(Arc::downgrade(&self.0))
    }

    /// The next frame; None at the end.
    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut subscription = self.0.lock();
        let polled = subscription.poll_frame(context);
        subscription.unread = Duration::ZERO;
        subscription.is_unread = matches!(polled, Poll::Ready(Some(_)));
        subscription.waiting = if polled.is_pending() { Some(context.waker().clone()) } else { None };
        polled
    }
}

impl Subscription {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(Counted { events, metrics }) = &mut self.events else { return Poll::Ready(None) };
        if !self.is_begun {
            self.is_begun = true;
            return Poll::Ready(Some(Frame::initial().into_bytes()));
        }
        let pushed = |frame: Frame| {
            let bytes = frame.into_bytes();
            metrics.pushed_events.add(1);
            metrics.pushed_bytes.add(bytes.len() as u64);
            bytes
        };
        // A panic while an event is made ends this stream with an error, not the connection with a cut.
        let polled = catch_unwind(AssertUnwindSafe(|| events.as_mut().poll_next(context)));
        let item = match polled {
            Ok(polled) => ready!(polled),
            Err(_) => Some(Err(Error::internal("an event stream panicked"))),
        };
        Poll::Ready(match item {
            Some(Ok(Pushed::Event(event))) => Some(pushed(Frame::of(&*event))),
            Some(Ok(Pushed::Frame(frame))) => Some(pushed(frame)),
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

impl Pushing {
    /// Ends it: the subscriber sees a clean end of the stream behind what it has been sent.
    pub(crate) fn end(&self) {
        let Some(subscription) = self.0.upgrade() else { return };
        let (events, waiting) = {
            let mut subscription = subscription.lock();
            (subscription.events.take(), subscription.waiting.take())
        };
        // What a subscription does when it ends is done without the lock.
        drop(events);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Lets `step` pass; whether it still pushes. One whose subscriber has not read for `unread_max` is ended: what it
    /// holds is given back although nobody asks for its next frame.
    pub(crate) fn passes(&self, step: Duration, unread_max: Duration) -> bool {
        let Some(subscription) = self.0.upgrade() else { return false };
        let is_stalled = {
            let mut subscription = subscription.lock();
            if subscription.events.is_none() {
                return false;
            }
            if subscription.is_unread {
                subscription.unread += step;
            }
            subscription.unread >= unread_max
        };
        if is_stalled {
            self.end();
        }
        !is_stalled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::stream;
    use headwater_api::kinesis::errors;

    use super::*;

    fn poll(body: &mut EventBody) -> Poll<Option<usize>> {
        let mut context = Context::from_waker(Waker::noop());
        body.poll_frame(&mut context).map(|frame| frame.map(|bytes| bytes.len()))
    }

    fn body(
        events: impl futures_util::Stream<Item = Result<Pushed<Box<dyn Event>>, Error>> + Send + 'static,
    ) -> EventBody {
        EventBody::new(Box::pin(events), Api::Kinesis, Arc::default())
    }

    #[test]
    fn an_error_is_the_last_frame() {
        let frame = Frame::initial();
        let size = frame.len();
        let over = Err(errors::resource_in_use("another"));
        let events = stream::iter([Ok(Pushed::Frame(frame.clone())), over, Ok(Pushed::Frame(frame))]);
        let metrics = Arc::<Metrics>::default();
        let mut body = EventBody::new(Box::pin(events), Api::Kinesis, metrics.clone());
        assert_eq!(metrics.subscriptions_open.get(), 1);
        assert_eq!(poll(&mut body), Poll::Ready(Some(size)));
        assert_eq!(poll(&mut body), Poll::Ready(Some(size)));
        assert!(matches!(poll(&mut body), Poll::Ready(Some(_))));
        assert_eq!(poll(&mut body), Poll::Ready(None));
        let counts = [&metrics.subscriptions_open, &metrics.pushed_events, &metrics.pushed_bytes];
        assert_eq!(counts.map(|count| count.get()), [0, 1, size as u64], "the first frame is no event");
    }

    #[test]
    fn a_panic_is_an_error() {
        let mut body = body(stream::poll_fn(|_| panic!("planted")));
        assert!(matches!(poll(&mut body), Poll::Ready(Some(_))));
        let Poll::Ready(Some(bytes)) = body.poll_frame(&mut Context::from_waker(Waker::noop())) else {
            panic!("a frame")
        };
        assert!(String::from_utf8_lossy(&bytes).contains("InternalFailureException"));
        assert_eq!(poll(&mut body), Poll::Ready(None));
    }

    #[tokio::test]
    async fn whoever_waits_learns_of_the_end() {
        let mut body = body(stream::pending());
        let hold = body.hold();
        assert!(poll_fn(|context| body.poll_frame(context)).await.is_some());
        let mut is_first = true;
        let end = poll_fn(|context| {
            let polled = body.poll_frame(context);
            if std::mem::take(&mut is_first) {
                assert!(polled.is_pending());
                hold.end();
            }
            polled
        })
        .await;
        assert!(end.is_none() && !is_first);
    }

    #[test]
    fn one_that_is_not_read_ends_and_one_that_waits_does_not() {
        let (step, limit) = (Duration::from_secs(1), Duration::from_secs(3));
        let frames = || stream::iter(std::iter::repeat_with(|| Ok(Pushed::Frame(Frame::initial()))));
        let (mut unread, mut waiting) = (body(frames()), body(stream::pending()));
        let (hold_unread, hold_waiting) = (unread.hold(), waiting.hold());
        assert!(poll(&mut unread).is_ready() && poll(&mut waiting).is_ready() && poll(&mut waiting).is_pending());
        for _ in 0..2 {
            assert!(hold_unread.passes(step, limit) && hold_waiting.passes(step, limit));
        }
        assert!(poll(&mut unread).is_ready(), "it has read after all");
        assert!(hold_unread.passes(step, limit) && hold_unread.passes(step, limit));
        assert!(!hold_unread.passes(step, limit));
        assert_eq!(poll(&mut unread), Poll::Ready(None));
        for _ in 0..9 {
            assert!(hold_waiting.passes(step, limit));
        }
        drop(waiting);
        assert!(!hold_waiting.passes(step, limit));
    }
}
