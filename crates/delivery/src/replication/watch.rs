//! What happens to replications, told once each: to the log, and to whoever keeps the audit trail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_catalog::{DestinationState, KinesisDestination, Snapshot as Catalog, TableDefinition};
use headwater_log::Log;
use headwater_types::StreamUid;
use parking_lot::Mutex;

use super::THROTTLED_TOLD;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Happening {
    /// It sends, for the first time or again after a start of the server.
    Started,
    /// It sends no more: disabled and drained, failed, or its table is gone.
    Stopped,
    /// It does not get on.
    Stalled,
    /// Changes are given up.
    Lost,
    /// It gets on again.
    Recovered,
}

impl Happening {
    /// Its name in the audit trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "ReplicationStarted",
            Self::Stopped => "ReplicationStopped",
            Self::Stalled => "ReplicationStalled",
            Self::Lost => "ReplicationLost",
            Self::Recovered => "ReplicationRecovered",
        }
    }
}

/// Something that happened to a replication.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// What.
    pub happening: Happening,
    /// The table's account.
    pub account: String,
    /// The table's Region.
    pub region: String,
    /// ARN of the table.
    pub table: String,
    /// ARN of the data stream.
    pub stream: String,
    /// Why, in words; may be empty.
    pub reason: String,
}

/// Who is told.
pub type Events = Arc<dyn Fn(&Event) + Send + Sync>;

/// Why a replication does not get on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stall {
    /// There is no stream of its name that takes records.
    NoTarget,
    /// The stream's shards are at their limit.
    Throttled,
}

/// What is known of a replication that is not over.
struct Known {
    table: Arc<TableDefinition>,
    destination: KinesisDestination,
    has_started: bool,
    stalled: Option<Stalled>,
}

struct Stalled {
    stall: Stall,
    since: Duration,
    is_told: bool,
}

/// A node's replications, as they were told of last.
#[derive(Default)]
pub(crate) struct Watch {
    known: Mutex<BTreeMap<StreamUid, Known>>,
    events: Option<Events>,
}

impl Watch {
    pub fn new(events: Option<Events>) -> Self {
        Self { known: Mutex::default(), events }
    }

    /// Compares with the catalog: what started, failed or ended since the last look.
    pub fn look(&self, catalog: &Catalog) {
        let mut known = self.known.lock();
        let mut ended: BTreeMap<StreamUid, Known> = std::mem::take(&mut *known);
        for table in catalog.all_tables() {
            let Some(destination) = table.destination() else { continue };
            let before = ended.remove(&destination.incarnation);
            let (has_started, stalled) = before.map_or((false, None), |known| (known.has_started, known.stalled));
            let starts = !has_started && destination.state.moves();
            if starts {
                self.tell(Happening::Started, table, destination, "");
            }
            if let (Some(reason), DestinationState::Disabling) = (&destination.failure, destination.state) {
                let told = matches!(&stalled, Some(stalled) if stalled.since == Duration::MAX);
                if !told {
                    self.tell(Happening::Lost, table, destination, reason);
                }
                let stalled = Some(Stalled { stall: Stall::NoTarget, since: Duration::MAX, is_told: true });
                let entry =
                    Known { table: table.clone(), destination: destination.clone(), has_started: true, stalled };
                known.insert(destination.incarnation, entry);
                continue;
            }
            let has_started = has_started || starts;
            let entry = Known { table: table.clone(), destination: destination.clone(), has_started, stalled };
            known.insert(destination.incarnation, entry);
        }
        for (incarnation, gone) in ended {
            let now = catalog.table_by_id(gone.table.id);
            let over = now.and_then(|table| table.destinations.iter().find(|one| one.incarnation == incarnation));
            let reason = match over {
                Some(over) => over.failure.clone().unwrap_or_else(|| "disabled".to_owned()),
                None => gone.destination.failure.clone().unwrap_or_else(|| "the table is gone".to_owned()),
            };
            self.tell(Happening::Stopped, &gone.table, over.unwrap_or(&gone.destination), &reason);
        }
    }

    /// A replication did not get on.
    pub fn stalls(&self, log: &Log, table: &TableDefinition, destination: &KinesisDestination, stall: Stall) {
        let now = log.clock().monotonic();
        let mut known = self.known.lock();
        let Some(known) = known.get_mut(&destination.incarnation) else { return };
        let stalled = known.stalled.get_or_insert(Stalled { stall, since: now, is_told: false });
        stalled.stall = stall;
        let patience = match stall {
            Stall::NoTarget => Duration::ZERO,
            Stall::Throttled => THROTTLED_TOLD,
        };
        if !stalled.is_told && now.saturating_sub(stalled.since) >= patience {
            stalled.is_told = true;
            let reason = match stall {
                Stall::NoTarget => "the Kinesis data stream does not take records",
                Stall::Throttled => "the shards of the Kinesis data stream are at their limit",
            };
            self.tell(Happening::Stalled, table, destination, reason);
        }
    }

    /// A replication got on.
    pub fn goes_on(&self, _log: &Log, table: &TableDefinition, destination: &KinesisDestination) {
        let mut known = self.known.lock();
        let Some(known) = known.get_mut(&destination.incarnation) else { return };
        if known.stalled.take().is_some_and(|stalled| stalled.is_told) {
            self.tell(Happening::Recovered, table, destination, "");
        }
    }

    fn tell(&self, happening: Happening, table: &TableDefinition, destination: &KinesisDestination, reason: &str) {
        let scope = &table.scope;
        let event = Event {
            happening,
            account: scope.account.to_string(),
            region: scope.region.to_string(),
            table: table.arn().to_string(),
            stream: format!("arn:aws:kinesis:{}:{}:stream/{}", scope.region, scope.account, destination.stream),
            reason: reason.to_owned(),
        };
        let (table, stream) = (&event.table, &event.stream);
        match happening {
            Happening::Lost => {
                tracing::error!(%table, %stream, reason, "changes of a table are lost to its replication")
            }
            Happening::Stalled => tracing::warn!(%table, %stream, reason, "a replication does not get on"),
            Happening::Started => tracing::info!(%table, %stream, "a replication starts"),
            Happening::Stopped => tracing::info!(%table, %stream, reason, "a replication has stopped"),
            Happening::Recovered => tracing::info!(%table, %stream, "a replication gets on again"),
        }
        if let Some(events) = &self.events {
            events(&event);
        }
    }
}
