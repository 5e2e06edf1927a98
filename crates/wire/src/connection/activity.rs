//! What a connection is doing, seen from its bytes and requests: flags on the hot path, time only in the watchdog.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use headwater_types::Runtime;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::protocol::event_stream::Pushing;
use crate::settings::Settings;

/// Type of HTTP/2's pings, where a frame's head has it. Source: RFC 9113, 6.7.
const PING: (usize, u8) = (3, 0x6);
/// Size of a ping on the wire. Unit: bytes. Source: RFC 9113, 6.7.
const PING_BYTES: usize = 17;

/// Flags set by bytes and requests, looked at by the watchdog.
#[derive(Default)]
pub(super) struct Activity {
    /// A byte moved since the watchdog last looked.
    moved: AtomicBool,
    /// Bytes of a head have come and no request yet (HTTP/1.1 only).
    head_begun: AtomicBool,
    is_http2: AtomicBool,
    /// Requests being answered.
    running: AtomicUsize,
    /// Requests ever begun.
    begun: AtomicUsize,
    /// Answers that push.
    pushing: Mutex<Pushed>,
}

#[derive(Default)]
struct Pushed {
    answers: Vec<Pushing>,
    is_over: bool,
}

/// A request being answered; ends on drop.
pub(super) struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.moved.store(true, Ordering::Relaxed);
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Activity {
    pub(super) fn begin_request(self: Arc<Self>) -> Running {
        self.head_begun.store(false, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(self)
    }

    /// An answer pushes from now on.
    pub(super) fn pushes(&self, answer: Pushing) {
        let mut pushing = self.pushing.lock();
        if !pushing.is_over {
            return pushing.answers.push(answer);
        }
        drop(pushing);
        answer.end();
    }

    /// Ends what pushes, now and from now on: it would keep the connection from its end.
    pub(super) fn end_pushes(&self) {
        let answers = {
            let mut pushing = self.pushing.lock();
            pushing.is_over = true;
            std::mem::take(&mut pushing.answers)
        };
        answers.iter().for_each(Pushing::end);
    }

    /// Whether anything pushes, `step` later.
    fn still_pushes(&self, step: Duration, unread_max: Duration) -> bool {
        let mut pushing = self.pushing.lock();
        pushing.answers.retain(|answer| answer.passes(step, unread_max));
        !pushing.answers.is_empty()
    }

    /// Bytes moved. A ping says that the other side lives, not that it does anything.
    fn moves(&self, count: usize, bytes: &[u8]) {
        if count != PING_BYTES || bytes.get(PING.0) != Some(&PING.1) || !self.is_http2.load(Ordering::Relaxed) {
            self.moved.store(true, Ordering::Relaxed);
        }
    }

    fn read(&self, bytes: &[u8]) {
        self.moves(bytes.len(), bytes);
        let is_idle = self.running.load(Ordering::Relaxed) == 0;
        if is_idle && self.begun.load(Ordering::Relaxed) == 0 && bytes.starts_with(b"PRI ") {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        if is_idle && !self.is_http2.load(Ordering::Relaxed) {
            self.head_begun.store(true, Ordering::Relaxed);
        }
    }

    /// Ends when the connection has been idle too long, or a head has been on its way too long; ends pushed answers that
    /// nobody reads.
    ///
    /// Order: looks four times per time-out, so an end comes up to a quarter late.
    pub(super) async fn watch(&self, settings: &Settings, runtime: &Runtime) {
        let step = (settings.head_timeout.min(settings.idle_timeout) / 4).max(Duration::from_millis(1));
        let (mut idle, mut head) = (Duration::ZERO, Duration::ZERO);
        let mut begun = 0;
        loop {
            runtime.sleep(step).await;
            let begun_now = self.begun.load(Ordering::Relaxed);
            // Asked first: it must be asked every time.
            let is_pushing = self.still_pushes(step, settings.unread_timeout);
            let is_busy =
                self.moved.swap(false, Ordering::Relaxed) || self.running.load(Ordering::Relaxed) > 0 || is_pushing;
            idle = if is_busy { Duration::ZERO } else { idle + step };
            let is_same_head = self.head_begun.load(Ordering::Relaxed) && begun_now == begun;
            head = if is_same_head { head + step } else { Duration::ZERO };
            begun = begun_now;
            if idle >= settings.idle_timeout || head >= settings.head_timeout {
                return;
            }
        }
    }
}

/// A transport that reports its bytes.
pub(super) struct Transport<IO> {
    io: IO,
    activity: Arc<Activity>,
}

impl<IO> Transport<IO> {
    pub(super) fn new(io: IO, activity: Arc<Activity>) -> Self {
        Self { io, activity }
    }

    fn wrote(&self, result: Poll<io::Result<usize>>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = result
            && count > 0
        {
            self.activity.moves(count, bytes);
        }
        result
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Transport<IO> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let result = Pin::new(&mut this.io).poll_read(context, into);
        if let Some(read) = into.filled().get(before..).filter(|read| !read.is_empty()) {
            this.activity.read(read);
        }
        result
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Transport<IO> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write(context, bytes);
        this.wrote(result, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write_vectored(context, slices);
        this.wrote(result, slices.first().map_or(&[], |first| first))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_keeps_no_connection_from_being_idle() {
        let activity = Activity::default();
        let moved = |bytes: &[u8]| {
            activity.read(bytes);
            activity.moved.swap(false, Ordering::Relaxed)
        };
        assert!(moved(b"PRI * HTTP/2.0\r\n\r\n"));
        let ping = [[0, 0, 8, 6, 1, 0, 0, 0, 0].as_slice(), &[7; 8]].concat();
        let window = [0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 1, 0];
        assert!(!moved(&ping) && moved(&window) && moved(&ping[..9]) && !moved(&ping));
    }
}
