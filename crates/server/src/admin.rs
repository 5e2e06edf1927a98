//! Health, readiness and metrics over HTTP, apart from the APIs' addresses.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use headwater_delivery::Jobs;
use headwater_log::Log;
use headwater_types::Runtime;
use headwater_wire::Metrics;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::control::http::Api;
use crate::descriptors::Limit;
use crate::store::OpenStore;

/// What the pages show.
#[derive(Clone)]
pub struct State {
    pub ready: Arc<AtomicBool>,
    pub metrics: Arc<Metrics>,
    pub log: Arc<Log>,
    pub jobs: Arc<Jobs>,
    pub store: OpenStore,
    /// None: not served.
    pub control: Option<Api>,
}

/// Serves until `stop` ends.
pub async fn serve(listener: TcpListener, state: State, runtime: Runtime, stop: impl Future<Output = ()> + Send) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let state = state.clone();
        // The page's task answers and ends by itself; nobody waits for it.
        drop(runtime.spawn(async move {
            let service = service_fn(move |request| {
                let state = state.clone();
                async move { Ok::<_, Infallible>(page(&state, request).await) }
            });
            let _ =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        }));
    }
}

async fn page(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if !is_local(&request) {
        // A page of some other site must not read metrics through a browser (DNS rebinding included).
        return answer(StatusCode::FORBIDDEN, "foreign Host or Origin\n".to_owned());
    }
    if let Some(control) = state.control.as_ref().filter(|_| request.uri().path().starts_with("/v1/")) {
        return control.answer(request).await;
    }
    if request.uri().path().starts_with("/v1/") {
        return answer(StatusCode::NOT_FOUND, "the control API is served with --control\n".to_owned());
    }
    if request.method() != Method::GET {
        return answer(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
    }
    match request.uri().path() {
        "/healthz" => answer(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if state.ready.load(Ordering::Acquire) => answer(StatusCode::OK, "ready\n".to_owned()),
        "/readyz" => answer(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
        "/metrics" => answer(StatusCode::OK, metrics(state)),
        _ => answer(StatusCode::NOT_FOUND, "/healthz, /readyz, /metrics\n".to_owned()),
    }
}

fn answer(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// True when Host, and Origin if there is one, name this machine by a literal address or as localhost.
fn is_local(request: &Request<Incoming>) -> bool {
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
    let host = request.headers().get(HOST).map(text).unwrap_or_default();
    let origin = request.headers().get(ORIGIN).map(text);
    let origin_host = origin.as_deref().map(|origin| origin.split_once("://").map_or("", |(_, host)| host));
    names_this_machine(&host) && origin_host.is_none_or(names_this_machine)
}

fn names_this_machine(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok()
}

fn metrics(state: &State) -> String {
    let mut text = String::new();
    state.metrics.render(&mut text);
    let (stats, files) = (state.store.cell.stats(), state.store.file_use());
    let lived = state.log.lived();
    let (jobs, running) = (state.jobs.totals(), state.jobs.progress());
    let tables = state.log.catalog().map_or(0, |catalog| catalog.all_tables().count());
    for (name, kind, help, value) in [
        ("headwater_tables", "gauge", "Tables of all accounts and Regions.", tables as u64),
        ("headwater_commit_groups_total", "counter", "Groups committed.", stats.groups),
        ("headwater_commit_plans_total", "counter", "Plans committed.", stats.plans),
        ("headwater_log_syncs_total", "counter", "Syncs of log files.", stats.syncs),
        ("headwater_log_written_bytes_total", "counter", "Bytes appended to log files.", stats.log_bytes_written),
        ("headwater_log_disk_bytes", "gauge", "Bytes of log files on disk.", stats.log_bytes_on_disk),
        ("headwater_archive_runs", "gauge", "Files that hold what is wanted of removed log files.", stats.archive_runs),
        ("headwater_archive_bytes", "gauge", "Their bytes, a part of the log's.", stats.archive_bytes),
        ("headwater_log_archived_total", "counter", "Log files removed that way.", stats.segments_archived),
        ("headwater_job_filled_items_total", "counter", "Items entered into indexes by jobs.", jobs.filled),
        ("headwater_job_swept_entries_total", "counter", "Entries removed with their index.", jobs.swept),
        ("headwater_job_expired_items_total", "counter", "Items deleted because they had expired.", jobs.expired),
        ("headwater_replicated_changes_total", "counter", "Changes sent to Kinesis data streams.", jobs.replicated),
        (
            "headwater_replication_oversized_total",
            "counter",
            "Changes not replicated: their record exceeds the stream's maximum.",
            jobs.oversized,
        ),
        ("headwater_replication_lost_total", "counter", "Changes given up by replications.", jobs.lost),
        (
            "headwater_replication_throttled_total",
            "counter",
            "Times that a shard at its limit took nothing more from a replication.",
            jobs.throttled,
        ),
        ("headwater_replication_duplicates_total", "counter", "Records sent twice as asked for.", jobs.duplicates),
        ("headwater_shard_hot_splits_total", "counter", "Partitions split because they were hot.", lived.hot_splits),
        (
            "headwater_shard_size_splits_total",
            "counter",
            "Partitions split because they were large.",
            lived.size_splits,
        ),
        ("headwater_shard_roll_overs_total", "counter", "Shards rolled over because they were old.", lived.roll_overs),
        ("headwater_file_calls_total", "counter", "Calls on files.", files.calls),
        ("headwater_file_written_bytes_total", "counter", "Bytes written to files.", files.bytes_written),
    ] {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
    }
    if let Some(limit) = Limit::of_process() {
        let raised = u8::from(limit.soft == limit.hard);
        text.push_str(&format!(
            "# HELP headwater_descriptor_limit_raised Whether the limit of file descriptors is the hard one.\n\
             # TYPE headwater_descriptor_limit_raised gauge\nheadwater_descriptor_limit_raised {raised}\n\
             # TYPE process_max_fds gauge\nprocess_max_fds {}\n",
            limit.soft
        ));
    }
    // Linux only: elsewhere nothing is shown rather than something else.
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        text.push_str(&format!("# TYPE process_open_fds gauge\nprocess_open_fds {}\n", open.count()));
    }
    text.push_str(
        "# HELP headwater_job_items Items seen so far by the jobs of the moment.\n# TYPE headwater_job_items gauge\n",
    );
    for job in running {
        let (kind, table, index) = (job.kind.as_str(), job.table, job.index.unwrap_or_default());
        let labels = format!("kind=\"{kind}\",table=\"{table}\",index=\"{index}\"");
        text.push_str(&format!("headwater_job_items{{{labels}}} {}\n", job.items));
    }
    replications(state, &mut text);
    text
}

/// How far each replication is behind.
fn replications(state: &State, text: &mut String) {
    text.push_str(
        "# HELP headwater_replication_lag_ms Age of the oldest change that is not replicated yet, in store time.\n\
         # TYPE headwater_replication_lag_ms gauge\n",
    );
    for one in state.jobs.replications() {
        let (table, stream) = (one.table, one.stream);
        let labels = format!("table=\"{table}\",stream=\"{stream}\"");
        text.push_str(&format!("headwater_replication_lag_ms{{{labels}}} {}\n", one.lag_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::names_this_machine;

    #[test]
    fn only_literal_addresses_and_localhost_are_local() {
        for local in ["localhost", "localhost:8001", "127.0.0.1:8001", "[::1]:8001", "10.1.2.3"] {
            assert!(names_this_machine(local), "{local}");
        }
        for foreign in ["", "example.org", "localhost.example.org:8001", "evil"] {
            assert!(!names_this_machine(foreign), "{foreign}");
        }
    }
}
