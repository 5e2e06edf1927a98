//! Counters of the wire: plain atomics that whoever serves metrics reads.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_api::Api;
use parking_lot::Mutex;

/// Upper ends of the latency buckets. Unit: µs.
pub const LATENCY_BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_000_000];

/// A count that only grows, or a level that goes both ways.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Adds one and gives the new value.
    pub fn rise(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes one away.
    pub fn fall(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// 2xx.
    Success,
    /// 4xx: the client's doing.
    Refused,
    /// 5xx: ours.
    Fault,
}

impl Outcome {
    /// The outcome an HTTP status stands for.
    pub fn of(status: u16) -> Self {
        match status {
            ..400 => Self::Success,
            400..500 => Self::Refused,
            500.. => Self::Fault,
        }
    }

    /// Its name as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Refused => "refused",
            Self::Fault => "fault",
        }
    }
}

/// Counters of one operation.
#[derive(Debug, Default)]
pub struct Operation {
    success: Count,
    refused: Count,
    fault: Count,
    latency_us: Count,
    buckets: [Count; LATENCY_BUCKETS_US.len()],
}

impl Operation {
    /// Calls that ended so.
    pub fn calls(&self, outcome: Outcome) -> &Count {
        match outcome {
            Outcome::Success => &self.success,
            Outcome::Refused => &self.refused,
            Outcome::Fault => &self.fault,
        }
    }
}

/// Counters of all connections and requests of a server.
#[derive(Debug)]
pub struct Metrics {
    /// Connections accepted.
    pub connections: Count,
    /// Connections open now.
    pub connections_open: Count,
    /// Connections closed because a head did not come in time, or nothing happened.
    pub connections_timed_out: Count,
    /// Connections that came to no TLS handshake.
    pub tls_failures: Count,
    /// Requests being answered now.
    pub requests_running: Count,
    /// Requests that named no operation of ours: other services, unknown targets, no target.
    pub requests_unrouted: Count,
    /// Requests turned away because too many were running.
    pub requests_overload: Count,
    /// Operations that panicked.
    pub panics: Count,
    /// Bytes of bodies received, as sent.
    pub bytes_in: Count,
    /// Bytes of bodies sent; pushed events not counted.
    pub bytes_out: Count,
    /// Answers that push events, open now.
    pub subscriptions_open: Count,
    /// Events given to the transports of those answers.
    pub pushed_events: Count,
    /// Their bytes, as framed.
    pub pushed_bytes: Count,
    /// Audit lines dropped.
    pub audit_dropped: Count,
    /// In the order of `Api::ALL` and of each one's operations.
    operations: [Vec<Operation>; Api::ALL.len()],
    errors: Mutex<BTreeMap<(Api, &'static str), u64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            connections: Count::default(),
            connections_open: Count::default(),
            connections_timed_out: Count::default(),
            tls_failures: Count::default(),
            requests_running: Count::default(),
            requests_unrouted: Count::default(),
            requests_overload: Count::default(),
            panics: Count::default(),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            subscriptions_open: Count::default(),
            pushed_events: Count::default(),
            pushed_bytes: Count::default(),
            audit_dropped: Count::default(),
            operations: Api::ALL.map(|api| api.operations().iter().map(|_| Operation::default()).collect()),
            errors: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Counts an answered call; `code` is the error's name where it failed.
    pub(crate) fn answered(
        &self,
        api: Api,
        operation: &'static str,
        status: u16,
        code: Option<&'static str>,
        took: Duration,
    ) {
        if let Some(counters) = self.operation(api, operation) {
            let micros = took.as_micros() as u64;
            counters.calls(Outcome::of(status)).add(1);
            counters.latency_us.add(micros);
            if let Some(at) = LATENCY_BUCKETS_US.iter().position(|end| micros <= *end) {
                counters.buckets[at].add(1);
            }
        }
        if let Some(code) = code {
            *self.errors.lock().entry((api, code)).or_default() += 1;
        }
    }

    fn operation(&self, api: Api, name: &str) -> Option<&Operation> {
        let at = api.operations().binary_search(&name).ok()?;
        self.operations.get(api as usize)?.get(at)
    }

    /// Counters of every operation of every API.
    pub fn operations(&self) -> impl Iterator<Item = (Api, &'static str, &Operation)> {
        Api::ALL.into_iter().zip(&self.operations).flat_map(|(api, counters)| {
            api.operations().iter().zip(counters).map(move |(name, counters)| (api, *name, counters))
        })
    }

    /// How often each error was answered.
    pub fn errors(&self) -> Vec<(Api, &'static str, u64)> {
        self.errors.lock().iter().map(|((api, code), count)| (*api, *code, *count)).collect()
    }

    /// Appends everything as Prometheus text; operations never called are left out.
    pub fn render(&self, out: &mut String) {
        let plain: [(&str, &str, &Count); 14] = [
            ("connections_total", "counter", &self.connections),
            ("connections_open", "gauge", &self.connections_open),
            ("connections_timed_out_total", "counter", &self.connections_timed_out),
            ("tls_failures_total", "counter", &self.tls_failures),
            ("requests_running", "gauge", &self.requests_running),
            ("requests_unrouted_total", "counter", &self.requests_unrouted),
            ("requests_overload_total", "counter", &self.requests_overload),
            ("panics_total", "counter", &self.panics),
            ("body_bytes_in_total", "counter", &self.bytes_in),
            ("body_bytes_out_total", "counter", &self.bytes_out),
            ("subscriptions_open", "gauge", &self.subscriptions_open),
            ("pushed_events_total", "counter", &self.pushed_events),
            ("pushed_bytes_total", "counter", &self.pushed_bytes),
            ("audit_dropped_total", "counter", &self.audit_dropped),
        ];
        for (name, kind, count) in plain {
            append(out, format_args!("# TYPE headwater_{name} {kind}\nheadwater_{name} {}\n", count.get()));
        }
        out.push_str("# TYPE headwater_requests_total counter\n");
        let called = || {
            let outcomes = [Outcome::Success, Outcome::Refused, Outcome::Fault];
            self.operations().filter_map(move |(api, name, counters)| {
                let counts = outcomes.map(|outcome| (outcome, counters.calls(outcome).get()));
                let total: u64 = counts.iter().map(|(_, count)| count).sum();
                (total > 0).then_some((api.endpoint_prefix(), name, counters, counts, total))
            })
        };
        for (api, name, _, counts, _) in called() {
            for (outcome, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
                let outcome = outcome.name();
                let labels = format!("api=\"{api}\",operation=\"{name}\",outcome=\"{outcome}\"");
                append(out, format_args!("headwater_requests_total{{{labels}}} {count}\n"));
            }
        }
        out.push_str("# TYPE headwater_errors_total counter\n");
        for (api, code, count) in self.errors() {
            let api = api.endpoint_prefix();
            append(out, format_args!("headwater_errors_total{{api=\"{api}\",code=\"{code}\"}} {count}\n"));
        }
        out.push_str("# TYPE headwater_request_seconds histogram\n");
        for (api, name, counters, _, total) in called() {
            render_latency(out, &format!("api=\"{api}\",operation=\"{name}\""), counters, total);
        }
    }
}

fn append(out: &mut String, line: std::fmt::Arguments<'_>) {
    out.write_fmt(line).expect("writing to memory does not fail");
}

fn render_latency(out: &mut String, labels: &str, counters: &Operation, total: u64) {
    let mut within = 0;
    for (end, bucket) in LATENCY_BUCKETS_US.iter().zip(&counters.buckets) {
        within += bucket.get();
        let seconds = *end as f64 / 1e6;
        append(out, format_args!("headwater_request_seconds_bucket{{{labels},le=\"{seconds}\"}} {within}\n"));
    }
    let sum = counters.latency_us.get() as f64 / 1e6;
    append(out, format_args!("headwater_request_seconds_bucket{{{labels},le=\"+Inf\"}} {total}\n"));
    append(out, format_args!("headwater_request_seconds_sum{{{labels}}} {sum}\n"));
    append(out, format_args!("headwater_request_seconds_count{{{labels}}} {total}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_show_by_operation_and_outcome() {
        let metrics = Metrics::default();
        metrics.answered(Api::DynamoDb, "PutItem", 200, None, Duration::from_micros(300));
        metrics.answered(Api::DynamoDb, "PutItem", 400, Some("ValidationException"), Duration::from_micros(90));
        metrics.answered(Api::DynamoDbStreams, "GetRecords", 500, Some("InternalServerError"), Duration::from_secs(9));
        let mut text = String::new();
        metrics.render(&mut text);
        for line in [
            "headwater_requests_total{api=\"dynamodb\",operation=\"PutItem\",outcome=\"success\"} 1",
            "headwater_requests_total{api=\"dynamodb\",operation=\"PutItem\",outcome=\"refused\"} 1",
            "headwater_requests_total{api=\"streams.dynamodb\",operation=\"GetRecords\",outcome=\"fault\"} 1",
            "headwater_errors_total{api=\"dynamodb\",code=\"ValidationException\"} 1",
            "headwater_request_seconds_bucket{api=\"dynamodb\",operation=\"PutItem\",le=\"0.00025\"} 1",
            "headwater_request_seconds_bucket{api=\"dynamodb\",operation=\"PutItem\",le=\"+Inf\"} 2",
            "headwater_request_seconds_count{api=\"streams.dynamodb\",operation=\"GetRecords\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("GetItem"), "an operation never called is not shown");
    }
}
