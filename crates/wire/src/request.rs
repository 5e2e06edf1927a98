//! A request's bytes: the head's size, and a body read within its bounds.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use headwater_types::{BoxFuture, Runtime};
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::settings::Settings;

/// Bodies up to this size are not counted against the bound on all bodies. Unit: bytes. Source: ours.
const UNCOUNTED_BYTES_MAX: u64 = 64 * 1_024;
/// What one permit of the bound on all bodies stands for. Unit: bytes.
const PERMIT_BYTES: u64 = 1_024;

/// Why a body could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyError {
    /// Larger than any body may be.
    TooLarge,
    /// It did not come in time.
    TimedOut,
    /// The client went away, or broke the protocol.
    Lost,
}

/// Size of request line and headers as HTTP/1.1 writes them. Unit: bytes.
pub(crate) fn head_bytes(head: &Parts) -> usize {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let line = head.method.as_str().len() + 1 + target + " HTTP/1.1\r\n".len();
    let headers = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    line + headers.sum::<usize>()
}

/// Room for bodies, shared by all connections.
#[derive(Clone)]
pub(crate) struct BodyRoom(Arc<Semaphore>);

/// A body and the room it takes until dropped.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl BodyRoom {
    pub(crate) fn new(settings: &Settings) -> Self {
        let permits = (settings.bodies_bytes_max as u64 / PERMIT_BYTES).min(Semaphore::MAX_PERMITS as u64);
        // One body of the largest size, sent and inflated, must always fit, else it would wait for ever.
        let least = 2 * (settings.body_bytes_max as u64).div_ceil(PERMIT_BYTES);
        Self(Arc::new(Semaphore::new(permits.max(least) as usize)))
    }

    async fn take(&self, bytes: u64) -> Result<OwnedSemaphorePermit, BodyError> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        self.0.clone().acquire_many_owned(permits).await.map_err(|_| BodyError::Lost)
    }
}

/// Reads a body.
///
/// Shape:  `is_compressed` reserves room for the inflated form too.
/// Errors: TooLarge as soon as a length is announced or passed, TimedOut, Lost.
pub(crate) async fn read_body<B>(
    body: B,
    is_compressed: bool,
    settings: &Settings,
    room: &BodyRoom,
    runtime: &Runtime,
) -> Result<Received, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.is_end_stream() {
        return Ok(Received { bytes: Bytes::new(), _room: None });
    }
    let bytes_max = settings.body_bytes_max as u64;
    let hint = body.size_hint();
    if hint.lower() > bytes_max {
        return Err(BodyError::TooLarge);
    }
    let reading = async {
        let expected = hint.exact().unwrap_or(bytes_max);
        let wanted = if is_compressed { expected + bytes_max } else { expected };
        let permit = if wanted > UNCOUNTED_BYTES_MAX { Some(room.take(wanted).await?) } else { None };
        let bytes = collect(body, hint.exact(), settings.body_bytes_max).await?;
        Ok(Received { bytes, _room: permit })
    };
    // Most bodies are there with their heads: a timer is made only for those that are not.
    let mut reading = pin!(reading);
    let mut timer: Option<BoxFuture<'static, ()>> = None;
    poll_fn(|context| {
        if let Poll::Ready(result) = reading.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        let timer = timer.get_or_insert_with(|| runtime.sleep(settings.body_timeout));
        timer.as_mut().poll(context).map(|()| Err(BodyError::TimedOut))
    })
    .await
}

async fn collect<B>(mut body: B, announced: Option<u64>, bytes_max: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers are read and not used.
        let Ok(data) = frame.map_err(|_| BodyError::Lost)?.into_data() else { continue };
        if first.len().max(all.len()) + data.len() > bytes_max {
            return Err(BodyError::TooLarge);
        }
        if first.is_empty() && all.is_empty() {
            // A body in one piece is not copied.
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve(announced.map_or(first.len() + data.len(), |length| length as usize));
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
