//! `headwater ctl`: the control API from a shell.

mod client;
mod tree;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use headwater_wire::FaultState;
use serde_json::{Value, json};

use crate::control::{ClockView, HeatView, Refused, ReplicationView, Shards, StreamView};
use crate::fork::{ForkInfo, SnapshotReport};
use crate::lifecycle::Addresses;

/// Moves the clock and the shards, and copies the store, of a server that was started with --control.
#[derive(Args, Debug)]
pub struct Ctl {
    /// The server's admin address
    #[arg(
        long,
        value_name = "URL",
        env = "HEADWATER_ADMIN_URL",
        default_value = "http://127.0.0.1:8001",
        global = true
    )]
    admin: String,
    /// The token that the server printed
    #[arg(long, value_name = "TOKEN", env = "HEADWATER_CONTROL_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// The account of the table, when tables of several bear its name
    #[arg(long, value_name = "ACCOUNT", global = true)]
    account: Option<String>,
    /// The Region of the table, likewise
    #[arg(long, value_name = "REGION", global = true)]
    region: Option<String>,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show store time and system time, or move store time
    Clock {
        #[command(subcommand)]
        change: Option<ClockChange>,
    },
    /// List all streams, tables' streams with their names for Kinesis
    Streams,
    /// Show a stream's shards as a tree, parents above their children
    Shards {
        /// The name of a table or of a data stream, or a stream's ARN
        table: String,
    },
    /// Show how hot a table's partitions are
    Heat {
        /// A table's name
        table: String,
    },
    /// Split an open shard in two; without --shard and --at the hottest, in the middle
    Split {
        /// The name of a table or of a data stream, or a stream's ARN
        table: String,
        /// Which shard
        #[arg(long, value_name = "ID")]
        shard: Option<String>,
        /// The first hash of the upper half, up to 32 hex digits
        #[arg(long, value_name = "HASH")]
        at: Option<String>,
    },
    /// Merge two open shards of a data stream; those of a DynamoDB stream never merge
    Merge {
        /// A data stream's name or ARN
        table: String,
        /// The first parent
        #[arg(long, value_name = "ID")]
        shard: Option<String>,
        /// The second one, which begins where the first ends
        #[arg(long, value_name = "ID")]
        with: Option<String>,
    },
    /// Replace open shards by one child each; without --shard all of the table
    Rollover {
        /// A table's name
        table: String,
        /// Which shard
        #[arg(long, value_name = "ID")]
        shard: Option<String>,
    },
    /// Trim records that are younger than the retention; without --before all there are
    Trim {
        /// A table's name, or a stream's ARN
        table: String,
        /// Which shard
        #[arg(long, value_name = "ID")]
        shard: Option<String>,
        /// A sequence number, or a moment in store time: 2026-01-31T12:00:00Z
        #[arg(long, value_name = "NUMBER|TIME")]
        before: Option<String>,
    },
    /// Let every shard iterator that was given so far be expired
    ExpireIterators,
    /// List the faults that stand, or change them
    Faults {
        #[command(subcommand)]
        change: Option<FaultChange>,
    },
    /// List the replications of tables to Kinesis data streams, and how far behind they are
    Replications,
    /// Let replications repeat and reorder records, as the service may; without options no longer
    Disturb {
        /// Records that are sent twice, in percent
        #[arg(long, value_name = "PERCENT", default_value_t = 0)]
        duplicates: u8,
        /// Records that are sent after the one that follows them, in percent
        #[arg(long, value_name = "PERCENT", default_value_t = 0)]
        reorders: u8,
        /// Another seed disturbs others
        #[arg(long, value_name = "N", default_value_t = 0)]
        seed: u64,
    },
    /// Copy the store to a new or an empty folder of the server's machine
    Snapshot {
        /// Where
        directory: PathBuf,
    },
    /// Start another server on a copy of the store, in the same process
    Fork {
        /// Where the copy is made and stays; without it, it goes with the fork
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Start another server on a copy of a snapshot, in the same process
    Restore {
        /// The snapshot, which stays as it is
        snapshot: PathBuf,
        /// Where the copy is made and stays; without it, it goes with the fork
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// List the forks that run
    Forks,
    /// Stop a fork
    EndFork {
        /// Where it serves DynamoDB
        address: String,
    },
}

#[derive(Subcommand, Debug)]
enum ClockChange {
    /// Move store time ahead, as in 25h or 90m; it never goes back
    Advance {
        /// How far
        #[arg(allow_hyphen_values = true, required_unless_present = "to", conflicts_with = "to")]
        by: Option<String>,
        /// Until when, in store time: 2030-01-31T12:00:00Z
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
    },
    /// Stop store time until it is released
    Freeze,
    /// Let store time go on
    Release,
}

#[derive(Subcommand, Debug)]
enum FaultChange {
    /// Let calls go wrong: throttle, latency, internal, drop, lose-answer, conflict
    Add {
        /// What happens to the calls that are hit
        kind: String,
        /// Only calls of this API: dynamodb, streams, kinesis, firehose
        #[arg(long, value_name = "API")]
        api: Option<String>,
        /// Only calls of this operation
        #[arg(long, value_name = "NAME")]
        operation: Option<String>,
        /// Only calls that touch this table, or this stream
        #[arg(long, value_name = "TABLE|ARN")]
        resource: Option<String>,
        /// Share of the calls that are hit, up to 1
        #[arg(long, value_name = "SHARE")]
        rate: Option<f64>,
        /// It ends after so many hits
        #[arg(long, value_name = "N")]
        times: Option<u64>,
        /// Another seed hits other calls
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// How much later, for the kind latency
        #[arg(long, value_name = "MS")]
        latency_ms: Option<u64>,
    },
    /// Remove one
    Remove {
        /// Its number
        id: u64,
    },
    /// Remove all
    Clear,
}

impl FaultChange {
    fn ask(&self) -> Ask {
        match self {
            Self::Add { kind, api, operation, resource, rate, times, seed, latency_ms } => {
                let named = [
                    ("kind", Some(json!(kind))),
                    ("api", api.as_ref().map(|api| json!(api))),
                    ("operation", operation.as_ref().map(|operation| json!(operation))),
                    ("resource", resource.as_ref().map(|resource| json!(resource))),
                    ("rate", rate.map(|rate| json!(rate))),
                    ("times", times.map(|times| json!(times))),
                    ("seed", seed.map(|seed| json!(seed))),
                    ("latency_ms", latency_ms.map(|ms| json!(ms))),
                ];
                let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
                Ask::Post("/v1/faults/add", Value::Object(named.collect()))
            }
            Self::Remove { id } => Ask::Post("/v1/faults/remove", json!({"id": id})),
            Self::Clear => Ask::Post("/v1/faults/clear", json!({})),
        }
    }
}

/// What is asked of the server.
enum Ask {
    Get(&'static str, Vec<(&'static str, String)>),
    Post(&'static str, Value),
}

impl Ctl {
    /// Asks the server and prints its answer.
    ///
    /// Errors: the server cannot be reached, or refuses: its reason.
    pub async fn run(&self) -> Result<String> {
        let token = self.token.as_deref().unwrap_or_default();
        let answer = match self.ask() {
            Ask::Get(path, query) => client::get(&self.admin, token, path, &query).await?,
            Ask::Post(path, body) => client::post(&self.admin, token, path, &body).await?,
        };
        match answer {
            Ok(answer) if self.json => Ok(format!("{answer:#}\n")),
            Ok(answer) => self.render(answer),
            Err(Refused { code, message }) => bail!("{code}: {message}"),
        }
    }

    fn ask(&self) -> Ask {
        match &self.command {
            Command::Clock { change: None } => Ask::Get("/v1/clock", Vec::new()),
            Command::Clock { change: Some(ClockChange::Advance { by, to }) } => {
                Ask::Post("/v1/clock/advance", json!({"by": by, "to": to}))
            }
            Command::Clock { change: Some(ClockChange::Freeze) } => Ask::Post("/v1/clock/freeze", json!({})),
            Command::Clock { change: Some(ClockChange::Release) } => Ask::Post("/v1/clock/release", json!({})),
            Command::Streams => Ask::Get("/v1/streams", Vec::new()),
            Command::Shards { table } => Ask::Get("/v1/shards", self.query(table)),
            Command::Heat { table } => Ask::Get("/v1/heat", self.query(table)),
            Command::Split { table, shard, at } => {
                Ask::Post("/v1/split", self.body(table, &[("shard", shard), ("at", at)]))
            }
            Command::Merge { table, shard, with } => {
                Ask::Post("/v1/merge", self.body(table, &[("shard", shard), ("with", with)]))
            }
            Command::Rollover { table, shard } => Ask::Post("/v1/rollover", self.body(table, &[("shard", shard)])),
            Command::Trim { table, shard, before } => {
                Ask::Post("/v1/trim", self.body(table, &[("shard", shard), ("before", before)]))
            }
            Command::ExpireIterators => Ask::Post("/v1/expire-iterators", json!({})),
            Command::Faults { change: None } => Ask::Get("/v1/faults", Vec::new()),
            Command::Faults { change: Some(change) } => change.ask(),
            Command::Replications => Ask::Get("/v1/replications", Vec::new()),
            Command::Disturb { duplicates, reorders, seed } => {
                let body = json!({"duplicates": duplicates, "reorders": reorders, "seed": seed});
                Ask::Post("/v1/replications/disturb", body)
            }
            Command::Snapshot { directory } => Ask::Post("/v1/snapshot", json!({"directory": absolute(directory)})),
            Command::Fork { directory } => {
                Ask::Post("/v1/fork", json!({"directory": directory.as_deref().map(absolute)}))
            }
            Command::Restore { snapshot, directory } => {
                let directory = directory.as_deref().map(absolute);
                Ask::Post("/v1/restore", json!({"snapshot": absolute(snapshot), "directory": directory}))
            }
            Command::Forks => Ask::Get("/v1/forks", Vec::new()),
            Command::EndFork { address } => Ask::Post("/v1/forks/end", json!({"dynamodb": address})),
        }
    }

    fn render(&self, answer: Value) -> Result<String> {
        Ok(match &self.command {
            Command::Clock { .. } => clock(&serde_json::from_value(answer)?),
            Command::Streams => {
                let streams: Vec<StreamView> = serde_json::from_value(answer)?;
                streams.iter().map(stream).collect()
            }
            Command::Shards { .. } => tree::render(&serde_json::from_value::<Shards>(answer)?),
            Command::Heat { .. } | Command::Split { .. } | Command::Merge { .. } => {
                partitions(&serde_json::from_value::<Vec<_>>(answer)?)
            }
            Command::Rollover { .. } => format!("rolled over: {}\n", answer["rolled_over"]),
            Command::Trim { .. } => format!("shards trimmed: {}\n", answer["trimmed_shards"]),
            Command::ExpireIterators | Command::EndFork { .. } | Command::Disturb { .. } => "done\n".to_owned(),
            Command::Faults { change: None } => {
                let faults: Vec<FaultState> = serde_json::from_value(answer)?;
                faults.iter().map(fault).collect()
            }
            Command::Faults { change: Some(FaultChange::Add { .. }) } => fault(&serde_json::from_value(answer)?),
            Command::Faults { change: Some(FaultChange::Remove { .. }) } => "done\n".to_owned(),
            Command::Faults { change: Some(FaultChange::Clear) } => format!("faults removed: {}\n", answer["cleared"]),
            Command::Replications => {
                let replications: Vec<ReplicationView> = serde_json::from_value(answer)?;
                replications.iter().map(replication).collect()
            }
            Command::Snapshot { .. } => snapshot(&serde_json::from_value(answer)?),
            Command::Fork { .. } | Command::Restore { .. } => addresses(&serde_json::from_value(answer)?),
            Command::Forks => {
                let forks: Vec<ForkInfo> = serde_json::from_value(answer)?;
                forks.iter().map(fork).collect()
            }
        })
    }

    fn query(&self, table: &str) -> Vec<(&'static str, String)> {
        let own = [("account", &self.account), ("region", &self.region)];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        std::iter::once(("table", table.to_owned())).chain(own).collect()
    }

    fn body(&self, table: &str, more: &[(&'static str, &Option<String>)]) -> Value {
        let more = more.iter().filter_map(|(name, value)| Some((*name, (*value).clone()?)));
        let members = self.query(table).into_iter().chain(more);
        Value::Object(members.map(|(name, value)| (name.to_owned(), Value::String(value))).collect())
    }
}

fn stream(view: &StreamView) -> String {
    let kinesis = view.kinesis.as_ref().map_or_else(String::new, |name| format!("  {name}"));
    format!("{}  {}{kinesis}\n", view.arn, view.state)
}

fn clock(view: &ClockView) -> String {
    let ahead = std::time::Duration::from_millis(u64::try_from(view.offset_ms).unwrap_or_default());
    let state = if view.frozen { "frozen" } else { "running" };
    format!(
        "store time   {} ({state}, moved ahead by {})\nsystem time  {}\n",
        view.store_time,
        humantime::format_duration(ahead),
        view.system_time
    )
}

/// The server may run in another folder than the shell.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn snapshot(report: &SnapshotReport) -> String {
    let SnapshotReport { directory, position, files_linked, files_copied, bytes_copied, took_us, .. } = report;
    let why = if report.without_links { ": no links to there" } else { "" };
    format!(
        "{}: everything up to commit {position}; {files_linked} files linked, {files_copied} copied ({bytes_copied} \
         bytes{why}); {:.1} ms\n",
        directory.display(),
        *took_us as f64 / 1_000.0
    )
}

fn addresses(of: &Addresses) -> String {
    let admin = of.admin.map_or(String::new(), |admin| format!("admin     http://{admin}\n"));
    format!("dynamodb  {}\nstreams   {}\n{admin}", of.url(of.dynamodb), of.url(of.streams))
}

fn fork(of: &ForkInfo) -> String {
    let data = of.data_dir.as_ref().map_or_else(|| "in memory".to_owned(), |data| data.display().to_string());
    format!("{}  {data}\n", of.addresses.url(of.addresses.dynamodb))
}

fn replication(of: &ReplicationView) -> String {
    let ReplicationView { table, stream, state, sent, oversized, lost, lag_ms } = of;
    format!("{table} → {stream}  {state}  {sent} sent, {oversized} too large, {lost} lost  {lag_ms} ms behind\n")
}

fn fault(state: &FaultState) -> String {
    let rule = serde_json::to_string(&state.rule).unwrap_or_default();
    format!("{}  hit {} of {} calls  {rule}\n", state.id, state.fired, state.met)
}

fn partitions(all: &[HeatView]) -> String {
    let line = |each: &HeatView| {
        let [start, end] = &each.hash_range;
        format!("{start}–{end}  {:.1} writes/s  {} items  {} bytes\n", each.writes_per_second, each.items, each.bytes)
    };
    all.iter().map(line).collect()
}
