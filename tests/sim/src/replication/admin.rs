//! Who switches destinations on and off, one for each table, and who makes, reshards and deletes the data streams they name.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::check::VALID;
use super::history::Sending;
use super::keeper::SYNCED;
use crate::client::Sim;
use crate::data_streams::admin::Admin;
use crate::data_streams::ask::{NOT_FOUND, arn, may_pass};
use crate::data_streams::plan::StreamPlan;
use crate::direct::part_done;
use crate::history::Violation;
use crate::server::Failure;

/// Long enough for whatever a lost request still does: no fault keeps one that long.
const SETTLED: Duration = Duration::from_secs(5);
/// A pause of no account between two changes, beside what clients do meanwhile.
const PAUSE_MAX: Duration = Duration::from_millis(30);
/// For how long a look is tried: longer than nodes stay down, and than most faults last.
const LOOKS_MAX: u64 = 100;
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// What a table answers that is being deleted.
const IN_USE: &str = "ResourceInUseException";
const PRECISIONS: [Option<&str>; 3] = [None, Some("MILLISECOND"), Some("MICROSECOND")];

/// Changes one target while clients work: more often than other data streams it is deleted, to be made again sooner or later.
pub async fn targets(sim: Arc<Sim>, mut admin: Admin, stream: StreamPlan) {
    let control = sim.cluster.control();
    for change in 0..stream.changes {
        part_done(&sim, 2 + change * 95 / stream.changes).await;
        control.sleep(sim.dice().time(PAUSE_MAX)).await;
        sim.cluster.refuse_replicas(sim.dice().percent(25));
        if !sim.dice().percent(30) {
            admin.step().await;
            continue;
        }
        // Its log may be trimmed soon after: what it holds is looked at before and behind. A target that nobody saw before it
        // went would be missed: it stays.
        if !seen(&sim).await {
            continue;
        }
        admin.delete().await;
        super::look(&sim);
        if sim.dice().percent(60) {
            control.sleep(sim.dice().time(Duration::from_millis(200))).await;
            admin.create().await;
        }
    }
    admin.rest().await;
}

/// Waits for a node that is up and can be read; whether there was one.
async fn seen(sim: &Sim) -> bool {
    for _ in 0..LOOKS_MAX {
        if super::look(sim) {
            return true;
        }
        sim.cluster.control().sleep(LOOK_AGAIN).await;
    }
    false
}

/// Changes the destination of one table.
pub struct Destinations {
    sim: Arc<Sim>,
    table: String,
}

impl Destinations {
    /// For a table that has none.
    pub fn new(sim: Arc<Sim>, table: impl Into<String>) -> Self {
        Self { sim, table: table.into() }
    }

    /// Makes the planned changes while clients work; in the end it is on more often than not.
    pub async fn run(self, changes: u64) {
        if self.sim.dice().percent(80) {
            self.enable().await;
        }
        for change in 0..changes {
            part_done(&self.sim, 3 + change * 94 / changes).await;
            self.sim.cluster.control().sleep(self.sim.dice().time(PAUSE_MAX)).await;
            match self.running().await {
                None => drop(self.enable().await),
                Some((stream, status)) if status == "ACTIVE" && self.sim.dice().percent(40) => {
                    self.disable(&stream).await;
                }
                Some((stream, _)) => self.update(&stream).await,
            }
        }
        if self.sim.dice().percent(80) {
            self.insist().await;
        }
    }

    /// Enables it, unless a fault that lasts is in the way.
    pub async fn insist(&self) {
        for _ in 0..20 {
            if self.running().await.is_some() || self.enable().await {
                return;
            }
            self.sim.cluster.control().sleep(self.sim.dice().time(Duration::from_millis(100))).await;
        }
    }

    /// The destination that is not over, as DescribeKinesisStreamingDestination shows it: its stream and its status.
    async fn running(&self) -> Option<(String, String)> {
        let asked = self.sim.insist("DescribeKinesisStreamingDestination", json!({"TableName": self.table})).await;
        let body = match asked {
            Ok(body) => body,
            Err(Failure::Refused { name: NOT_FOUND, .. }) => return None,
            Err(failure) => {
                self.broken(format!("DescribeKinesisStreamingDestination answers {failure:?}"));
                return None;
            }
        };
        let all = body["KinesisDataStreamDestinations"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
        let is_over = |status: &str| matches!(status, "DISABLED" | "ENABLE_FAILED");
        let running = all.iter().find(|one| !is_over(&text(one, "DestinationStatus")))?;
        let stream = text(running, "StreamArn").rsplit('/').next().unwrap_or_default().to_owned();
        Some((stream, text(running, "DestinationStatus")))
    }

    /// Whether it is known to be on.
    async fn enable(&self) -> bool {
        let Some(replication) = &self.sim.plan.replication else { return false };
        let stream = self.sim.dice().pick(&replication.targets).name.clone();
        let precision = self.sim.dice().pick(&PRECISIONS).map(str::to_owned);
        let mut body = json!({"TableName": self.table, "StreamArn": arn(&stream)});
        if let Some(precision) = &precision {
            let member = json!({"ApproximateCreationDateTimePrecision": precision});
            body["EnableKinesisStreamingConfiguration"] = member;
        }
        if self.sim.history.lock().relaxed {
            // What was sent before is shown once it is synced: else it would be taken for what comes now.
            self.sim.cluster.control().sleep(SYNCED).await;
        }
        let server = self.sim.some_server().await;
        let asked = self.sim.tick();
        if !self.sim.replicas.lock().begin(&server, &self.table, &stream, asked) {
            return false;
        }
        self.with(|sending| sending.precisions.extend([precision]));
        let answered = self.ask("EnableKinesisStreamingDestination", body, &[NOT_FOUND, IN_USE]).await;
        let on = answered || self.running().await.is_some_and(|(running, _)| running == stream);
        if on {
            let known = self.sim.tick();
            self.with(|sending| sending.known = Some(known));
            self.sim.replicas.lock().seen.counts.enabled += 1;
        }
        on
    }

    async fn disable(&self, stream: &str) {
        let off = self.sim.tick();
        self.with(|sending| sending.off = sending.off.or(Some(off)));
        let body = json!({"TableName": self.table, "StreamArn": arn(stream)});
        let answered = self.change("DisableKinesisStreamingDestination", body).await;
        self.sim.replicas.lock().seen.counts.disabled += u64::from(answered);
    }

    async fn update(&self, stream: &str) {
        let precision = if self.sim.dice().percent(50) { "MILLISECOND" } else { "MICROSECOND" };
        // What is sent before the answer may have it already.
        self.with(|sending| sending.precisions.extend([Some(precision.to_owned())]));
        let body = json!({
            "TableName": self.table, "StreamArn": arn(stream),
            "UpdateKinesisStreamingConfiguration": {"ApproximateCreationDateTimePrecision": precision},
        });
        let answered = self.change("UpdateKinesisStreamingDestination", body).await;
        self.sim.replicas.lock().seen.counts.updated += u64::from(answered);
    }

    /// A change of a destination that was there a moment ago, and may be over with its table, or be so already.
    async fn change(&self, operation: &'static str, body: Value) -> bool {
        self.ask(operation, body, &[NOT_FOUND, IN_USE, "ValidationException"]).await
    }

    /// Asks for a change; whether it was answered. When not, all is over that it may still do. `met`: refusals that do.
    async fn ask(&self, operation: &'static str, body: Value, met: &[&str]) -> bool {
        let hang_up = self.sim.dice().percent(5).then(|| self.sim.dice().time(Duration::from_millis(4)));
        match self.sim.ask(operation, body.clone(), hang_up).await {
            Ok(_) => return true,
            Err(failure) if may_pass(&failure) => {}
            Err(failure) => {
                let expected = matches!(&failure, Failure::Refused { name, .. } if met.contains(name));
                // What a crash takes back was seen before.
                if !expected && !self.sim.history.lock().relaxed {
                    self.broken(format!("{operation} {body} answers {failure:?}"));
                }
                return false;
            }
        }
        self.sim.cluster.control().sleep(SETTLED).await;
        false
    }

    fn with(&self, change: impl FnOnce(&mut Sending)) {
        self.sim.replicas.lock().current(&self.table).map(change);
    }

    fn broken(&self, text: String) {
        let violation = Violation::new(VALID, format!("{}: {text}", self.table));
        self.sim.replicas.lock().seen.noticed.push(violation);
    }
}
