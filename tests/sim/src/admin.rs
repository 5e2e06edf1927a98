//! Who makes and changes tables: one for each name, one change after another.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Sim;
use crate::direct::reshape;
use crate::history::{TableChange, TableEvent, Violation};
use crate::plan::TablePlan;
use crate::protocol;
use crate::server::Failure;

/// Long enough for whatever a lost request still did: no fault keeps one that long.
const SETTLED: Duration = Duration::from_secs(5);
/// A pause before a name is asked for again that a deleted table still has.
const DRAINED: Duration = Duration::from_millis(40);

/// What DescribeTable says.
#[derive(Clone, PartialEq, Debug)]
struct Described {
    id: String,
    enabled: bool,
    latest: Option<String>,
}

/// Changes one table.
pub struct Admin {
    sim: Arc<Sim>,
    table: TablePlan,
    last: Option<Described>,
}

impl Admin {
    /// For a table that does not exist yet.
    pub fn new(sim: Arc<Sim>, table: TablePlan) -> Self {
        Self { sim, table, last: None }
    }

    /// Creates the table; afterwards it exists.
    pub async fn create(&mut self) {
        while self.last.is_none() {
            self.change(TableChange::Create).await;
        }
    }

    /// Makes the planned changes, at moments of no account.
    pub async fn run(mut self) {
        for _ in 0..self.table.changes {
            // Without the table nothing is shown: it is not missed for long.
            let longest = if self.last.is_some() { self.sim.plan.pause_max * 5 } else { Duration::ZERO };
            let pause = self.sim.dice().time(Duration::from_millis(60) + longest);
            self.sim.cluster.control().sleep(pause).await;
            match (self.sim.dice().below(100), &self.last) {
                (_, None) => self.change(TableChange::Create).await,
                (0..30, Some(table)) if table.enabled => self.change(TableChange::Disable).await,
                (0..30, Some(_)) => self.change(TableChange::Enable).await,
                (30..40, Some(_)) => self.change(TableChange::Delete).await,
                (40..60, Some(_)) => self.reindex().await,
                (at, Some(_)) => drop(reshape(&self.sim, &self.table.name, at < 85).await),
            }
        }
        self.create().await;
    }

    /// Makes or removes an index, or switches expiry on or off; what is under way or there already is refused.
    async fn reindex(&self) {
        let name = &self.table.name;
        let expiry =
            |on: bool| json!({"TableName": name, "TimeToLiveSpecification": {"Enabled": on, "AttributeName": "m"}});
        let delete = json!({"TableName": name, "GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "made"}}]});
        let (operation, body) = match self.sim.dice().below(6) {
            0..3 => ("UpdateTable", protocol::create_index(&self.table)),
            3 => ("UpdateTable", delete),
            4 => ("UpdateTimeToLive", expiry(true)),
            _ => ("UpdateTimeToLive", expiry(false)),
        };
        // Whatever it comes to: the structures of every snapshot are compared with its items.
        drop(self.sim.ask(operation, body, None).await);
    }

    async fn change(&mut self, change: TableChange) {
        let (operation, body) = self.request(change);
        let invoked = self.sim.tick();
        let reply = self.sim.ask(operation, body, None).await;
        let after = match &reply {
            Ok(body) => {
                let description = body.get("TableDescription").and_then(described);
                if description.is_none() {
                    let text = format!("{operation} answers {body}");
                    self.sim.notice(Violation::new("a change of a table is described", text));
                }
                if change == TableChange::Delete { None } else { description }
            }
            Err(failure) => {
                if let Failure::Refused { name, body } = failure
                    && !protocol::may_be_met(name)
                    && !busy(change, name, body)
                    && !self.is_draining(change, name)
                {
                    let text = format!("{operation} of {} is refused: {name} {body}", self.table.name);
                    self.sim.notice(Violation::new("a valid change of a table is done", text));
                }
                let drains = matches!(failure, Failure::Refused { name, .. } if self.is_draining(change, name));
                let pause = if drains { self.sim.dice().time(DRAINED) } else { SETTLED };
                self.sim.cluster.control().sleep(pause).await;
                self.describe().await
            }
        };
        let done = match (change, &self.last, &after) {
            (TableChange::Create, _, after) => after.is_some(),
            (TableChange::Delete, _, after) => after.is_none(),
            (TableChange::Enable, Some(before), Some(after)) => after.latest != before.latest,
            (TableChange::Disable, Some(_), Some(after)) => !after.enabled,
            (TableChange::Enable | TableChange::Disable, _, _) => false,
        };
        let stream = after.as_ref().filter(|table| table.enabled).and_then(|table| table.latest.clone());
        self.last = after;
        let known = self.sim.tick();
        let table = self.table.name.clone();
        self.sim.history.lock().tables.push(TableEvent { table, change, invoked, known, done, stream });
    }

    /// A replicated table that was deleted keeps its name until all its changes were sent.
    fn is_draining(&self, change: TableChange, name: &str) -> bool {
        let is_replicated = self.sim.plan.replication.is_some();
        is_replicated && change == TableChange::Create && name == "ResourceInUseException"
    }

    fn request(&self, change: TableChange) -> (&'static str, Value) {
        let name = &self.table.name;
        match change {
            TableChange::Create => ("CreateTable", protocol::create_table(&self.table)),
            TableChange::Delete => ("DeleteTable", json!({"TableName": name})),
            TableChange::Enable => {
                let views = ["NEW_AND_OLD_IMAGES", "NEW_AND_OLD_IMAGES", "KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE"];
                let view = self.sim.dice().pick(&views);
                let on = json!({"StreamEnabled": true, "StreamViewType": view});
                ("UpdateTable", json!({"TableName": name, "StreamSpecification": on}))
            }
            TableChange::Disable => {
                ("UpdateTable", json!({"TableName": name, "StreamSpecification": {"StreamEnabled": false}}))
            }
        }
    }

    async fn describe(&self) -> Option<Described> {
        match self.sim.insist("DescribeTable", json!({"TableName": self.table.name})).await {
            Ok(body) if body["Table"]["TableStatus"] == "DELETING" => None,
            Ok(body) => described(&body["Table"]),
            Err(Failure::Refused { name: "ResourceNotFoundException", .. }) => None,
            Err(failure) => {
                let text = format!("DescribeTable answers {failure:?}");
                self.sim.notice(Violation::new("a table is described", text));
                None
            }
        }
    }
}

fn described(table: &Value) -> Option<Described> {
    Some(Described {
        id: table["TableId"].as_str()?.to_owned(),
        enabled: table["StreamSpecification"]["StreamEnabled"].as_bool().unwrap_or(false),
        latest: table["LatestStreamArn"].as_str().map(str::to_owned),
    })
}

/// A table whose indexes are under way is not deleted, and its stream is neither enabled nor disabled.
fn busy(change: TableChange, name: &str, body: &Value) -> bool {
    let text = body["message"].as_str().unwrap_or_default();
    let of_indexes = text.contains("Can't change stream status when an index is being");
    name == "ResourceInUseException" && (change == TableChange::Delete || of_indexes)
}
