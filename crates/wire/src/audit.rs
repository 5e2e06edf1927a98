//! One audit line per call: who, what, which resource, with what outcome; never item data, never a request's wait. What
//! happens without a call (a replication that stops) has a line too.
//!
//! Field names follow CloudTrail's. Lines are put into one bounded buffer that a task of its own writes out; what does
//! not fit is dropped, counted, and the count written as a line of its own.

mod line;
mod sink;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headwater_types::{Clock, Runtime};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

pub(crate) use line::Line;
pub use line::ServiceEvent;
use sink::Output;

use crate::metrics::Metrics;

/// Lines waiting for the writer. Unit: bytes. Source: ours; about ten thousand lines.
const PENDING_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// How long the writer lets lines gather after the first. Source: ours; measured, a line alone costs its call 3 µs.
const GATHER: Duration = Duration::from_millis(10);

/// Where audit lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sink {
    /// Nowhere.
    #[default]
    Off,
    /// The process' standard error.
    Stderr,
    /// A file, rotated by size: `audit.log`, then `audit.log.1` (newest) to `audit.log.{files_max}`.
    File {
        /// Of the file being written.
        path: PathBuf,
        /// Size at which it is rotated. Unit: bytes.
        bytes_max: u64,
        /// Rotated files kept beside it.
        files_max: u32,
    },
}

impl Sink {
    /// A file with the usual bounds: 64 MiB each, eight kept.
    pub fn file(path: PathBuf) -> Self {
        Self::File { path, bytes_max: 64 * 1_024 * 1_024, files_max: 8 }
    }
}

#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    lines: u64,
    dropped: u64,
    is_closing: bool,
}

struct Shared {
    pending: Mutex<Pending>,
    wake: Notify,
    metrics: Arc<Metrics>,
    clock: Clock,
    pending_bytes_max: usize,
}

/// A handle on the audit trail; clones share it.
#[derive(Clone)]
pub struct Audit(Option<(Arc<Shared>, watch::Receiver<bool>)>);

impl Audit {
    /// No trail.
    pub fn off() -> Self {
        Self(None)
    }

    /// Opens the sink and starts the writer.
    ///
    /// Errors: the file cannot be opened for appending.
    pub fn start(sink: &Sink, runtime: &Runtime, clock: &Clock, metrics: &Arc<Metrics>) -> io::Result<Self> {
        Self::start_bounded(sink, runtime, clock, metrics, PENDING_BYTES_MAX)
    }

    fn start_bounded(
        sink: &Sink,
        runtime: &Runtime,
        clock: &Clock,
        metrics: &Arc<Metrics>,
        pending_bytes_max: usize,
    ) -> io::Result<Self> {
        let Some(output) = Output::open(sink)? else { return Ok(Self(None)) };
        let shared = Arc::new(Shared {
            pending: Mutex::default(),
            wake: Notify::new(),
            metrics: metrics.clone(),
            clock: clock.clone(),
            pending_bytes_max,
        });
        let (ended, wait) = watch::channel(false);
        let (writer, writing) = (shared.clone(), runtime.clone());
        // The task ends with `close`; nobody else waits for it.
        drop(runtime.spawn(async move {
            write_out(&writer, &writing, output).await;
            ended.send_replace(true);
        }));
        Ok(Self(Some((shared, wait))))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Queues the line of something that happened without a call.
    pub fn happened(&self, event: &ServiceEvent<'_>) {
        let Some((shared, _)) = &self.0 else { return };
        let at = shared.clock.system();
        self.queue(|out| event.append(out, at));
    }

    /// Queues a line, or drops and counts it when the buffer is full.
    pub(crate) fn record(&self, line: &Line<'_>) {
        self.queue(|out| line.append(out));
    }

    fn queue(&self, append: impl FnOnce(&mut Vec<u8>)) {
        let Some((shared, _)) = &self.0 else { return };
        let mut pending = shared.pending.lock();
        let start = pending.bytes.len();
        if pending.is_closing {
            return;
        }
        append(&mut pending.bytes);
        if pending.bytes.len() > shared.pending_bytes_max {
            pending.bytes.truncate(start);
            pending.dropped += 1;
            shared.metrics.audit_dropped.add(1);
            return;
        }
        pending.lines += 1;
        let was_empty = start == 0;
        drop(pending);
        // The writer looks again after each batch, so one call to it per batch is enough.
        if was_empty {
            shared.wake.notify_one();
        }
    }

    /// Writes what is queued and ends the writer; later lines are lost.
    pub async fn close(&self) {
        let Some((shared, ended)) = &self.0 else { return };
        shared.pending.lock().is_closing = true;
        shared.wake.notify_one();
        // The writer dropped without a word only when its runtime is gone, and the lines with it.
        let _ = ended.clone().wait_for(|ended| *ended).await;
    }
}

async fn write_out(shared: &Shared, runtime: &Runtime, mut output: Output) {
    let mut spare = Vec::new();
    loop {
        shared.gather(runtime).await;
        let (batch, lines, is_closing) = {
            let mut pending = shared.pending.lock();
            if pending.dropped > 0 {
                let dropped = std::mem::take(&mut pending.dropped);
                line::append_dropped(&mut pending.bytes, shared.clock.system(), dropped);
            }
            let batch = std::mem::replace(&mut pending.bytes, spare);
            (batch, std::mem::take(&mut pending.lines), pending.is_closing)
        };
        if batch.is_empty() {
            if is_closing {
                return;
            }
            spare = batch;
            continue;
        }
        let written = runtime.blocking(move || {
            let result = output.write(&batch);
            (output, batch, result)
        });
        let Ok((back, mut buffer, result)) = written.await else {
            tracing::error!("the audit writer was lost");
            return;
        };
        if let Err(error) = result {
            shared.metrics.audit_dropped.add(lines);
            shared.pending.lock().dropped += lines;
            tracing::error!(%error, lines, "audit lines could not be written");
            if is_closing {
                return;
            }
            // The count of what was lost is written when the sink takes lines again, not in a tight loop.
            shared.wake.notified().await;
        }
        buffer.clear();
        (output, spare) = (back, buffer);
    }
}

impl Shared {
    /// Waits for a line, then for those that follow it: one write for all of them, also for those that came during the
    /// last one. A wake, a thread's hop and a call per line would cost more than the line.
    async fn gather(&self, runtime: &Runtime) {
        let (is_empty, is_closing) = {
            let pending = self.pending.lock();
            (pending.bytes.is_empty() && pending.dropped == 0, pending.is_closing)
        };
        if is_closing {
            return;
        }
        if is_empty {
            self.wake.notified().await;
        }
        runtime.sleep(GATHER).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::LazyLock;

    use headwater_api::Api;
    use headwater_types::Millis;
    use headwater_types::runtime::tokio_runtime;

    use super::*;

    static RESOURCES: LazyLock<Vec<String>> =
        LazyLock::new(|| vec!["arn:aws:dynamodb:us-east-1:111122223333:table/t".to_owned()]);

    fn example(request_id: &str) -> Line<'_> {
        Line {
            at: Millis(1_440_938_160_042),
            api: Api::DynamoDb,
            operation: Some("PutItem"),
            request_id,
            principal: "arn:aws:iam::111122223333:user/al\"ice",
            access_key: "AKIDA",
            account: "111122223333",
            region: "us-east-1",
            source: "127.0.0.1".parse::<IpAddr>().ok(),
            user_agent: Some("agent\n1"),
            resources: &RESOURCES,
            code: None,
            status: 200,
            took: Duration::from_micros(1_234),
            bytes_in: 10,
            bytes_out: 2,
        }
    }

    fn world() -> (Runtime, Clock, Arc<Metrics>) {
        let runtime = tokio_runtime::on(tokio::runtime::Handle::current());
        let clock = Clock::new(runtime.clone(), Millis(0));
        (runtime, clock, Arc::default())
    }

    #[tokio::test]
    async fn lines_are_json_with_cloudtrails_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let (runtime, clock, metrics) = world();
        let audit = Audit::start(&Sink::file(path.clone()), &runtime, &clock, &metrics).unwrap();
        audit.record(&example("ID1"));
        audit.record(&Line { code: Some("ValidationException"), status: 400, ..example("ID2") });
        audit.happened(&ServiceEvent {
            name: "ReplicationStalled",
            account: "111122223333",
            region: "us-east-1",
            resources: &["arn:1", "arn:2"],
            reason: "no \"target\"",
        });
        audit.close().await;
        audit.record(&example("late"));
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        let happened = lines[2].as_object().unwrap();
        assert!(happened.contains_key("eventTime") && happened.len() == 8);
        assert_eq!(happened["eventType"], "AwsServiceEvent");
        assert_eq!(happened["resources"], serde_json::json!([{"ARN": "arn:1"}, {"ARN": "arn:2"}]));
        assert_eq!(happened["additionalEventData"]["reason"], "no \"target\"");
        let first = serde_json::json!({
            "eventTime": "2015-08-30T12:36:00.042Z", "eventSource": "dynamodb.amazonaws.com", "eventName": "PutItem",
            "awsRegion": "us-east-1", "sourceIPAddress": "127.0.0.1", "userAgent": "agent\n1", "requestID": "ID1",
            "recipientAccountId": "111122223333",
            "userIdentity": {"arn": "arn:aws:iam::111122223333:user/al\"ice", "accountId": "111122223333", "accessKeyId": "AKIDA"},
            "resources": [{"ARN": "arn:aws:dynamodb:us-east-1:111122223333:table/t"}],
            "httpStatus": 200, "durationMs": 1.234, "bytesIn": 10, "bytesOut": 2,
        });
        assert_eq!(lines[0], first);
        assert_eq!(lines[1]["errorCode"], "ValidationException");
    }

    #[tokio::test]
    async fn files_rotate_and_no_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let (runtime, clock, metrics) = world();
        let sink = Sink::File { path: path.clone(), bytes_max: 2_000, files_max: 3 };
        for round in 0..10 {
            let audit = Audit::start(&sink, &runtime, &clock, &metrics).unwrap();
            for at in 0..3 {
                audit.record(&example(&format!("R{round}-{at}")));
            }
            audit.close().await;
        }
        let mut seen = Vec::new();
        for name in ["audit.log.3", "audit.log.2", "audit.log.1", "audit.log"] {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(text.len() <= 2_000, "{name} has {} bytes", text.len());
            for line in text.lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                seen.push(line["requestID"].as_str().unwrap().to_owned());
            }
        }
        let all: Vec<String> = (0..10).flat_map(|round| (0..3).map(move |at| format!("R{round}-{at}"))).collect();
        assert!(all.ends_with(&seen) && seen.len() >= 6, "the newest lines, in order: {seen:?}");
        assert!(!folder.path().join("audit.log.4").exists());
    }

    #[tokio::test]
    async fn what_does_not_fit_is_counted_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let (runtime, clock, metrics) = world();
        let audit = Audit::start_bounded(&Sink::file(path.clone()), &runtime, &clock, &metrics, 2_000).unwrap();
        // No await: the writer cannot run before all lines are offered.
        for _ in 0..100 {
            audit.record(&example("ID"));
        }
        audit.close().await;
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let dropped = lines.iter().find_map(|line| line["linesDropped"].as_u64()).unwrap();
        let kept = lines.iter().filter(|line| line["requestID"] == "ID").count() as u64;
        assert_eq!(dropped + kept, 100);
        assert!(kept > 0 && dropped > 0);
        assert_eq!(metrics.audit_dropped.get(), dropped);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_opened_is_refused() {
        let (runtime, clock, metrics) = world();
        let sink = Sink::file("/nonexistent-folder/audit.log".into());
        assert!(Audit::start(&sink, &runtime, &clock, &metrics).is_err());
    }
}
