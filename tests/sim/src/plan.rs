//! What a seed decides before anything runs: tables, keys, clients, faults.

use std::time::Duration;

use headwater_storage::memory::{Faults, Settings};
use headwater_types::Runtime;

use crate::data_streams::plan::StreamsPlan;
use crate::history::Key;
use crate::replication::plan::ReplicationPlan;

/// Fewest operations of a run.
pub const OPERATIONS_MIN: u64 = 2_000;

/// What the nodes stand on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mode {
    /// The model engine, one node: crashes at any step, a full disk, failed syncs.
    Memory,
    /// The model engine, two nodes on one cell, clients misrouted between them: fenced, unknown, late commits.
    TwoNodes,
    /// The embedded engine on the faulty file layer: crashes that lose, reorder and tear unsynced writes.
    Embedded,
    /// Either engine with one node, answering before the sync: crashes take answers back, but nothing that a reader of
    /// a stream was shown.
    Relaxed,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Memory, Self::TwoNodes, Self::Embedded, Self::Relaxed];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::TwoNodes => "two-nodes",
            Self::Embedded => "embedded",
            Self::Relaxed => "relaxed",
        }
    }

    /// Nodes at work.
    pub fn nodes(self) -> usize {
        match self {
            Self::Memory | Self::Embedded | Self::Relaxed => 1,
            Self::TwoNodes => 2,
        }
    }

    /// How the model behaves in this mode.
    pub fn settings(self) -> Settings {
        match self {
            Self::Memory | Self::Embedded => Settings::OWN,
            Self::TwoNodes => Settings::SHARED,
            Self::Relaxed => Settings::RELAXED,
        }
    }
}

/// The type of a key attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyType {
    /// String.
    S,
    /// Number.
    N,
    /// Binary.
    B,
}

impl KeyType {
    /// Its letter in the API.
    pub fn letter(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::N => "N",
            Self::B => "B",
        }
    }

    /// The `index`-th key of this type, as JSON shows it.
    pub fn key(self, index: u64) -> String {
        match self {
            Self::S => format!("key-{index}"),
            Self::N => (index * 10).to_string(),
            // Base64 of one byte.
            Self::B => {
                const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
                let byte = index as usize & 0xff;
                let (high, low) = (LETTERS[byte >> 2] as char, LETTERS[(byte & 3) << 4] as char);
                format!("{high}{low}==")
            }
        }
    }
}

/// A table of the run.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// Its name; deleted and created again, it is the same name.
    pub name: String,
    /// Its partition key.
    pub pk: KeyType,
    /// Its sort key.
    pub sk: Option<KeyType>,
    /// Partition keys in use.
    pub pks: u64,
    /// Sort keys in use.
    pub sks: u64,
    /// The stream it is created with.
    pub stream: Option<&'static str>,
    /// Changes made to it while the clients run.
    pub changes: u64,
    /// It has a local index on `w`.
    pub local: bool,
    /// It has a global index on `n` from the start.
    pub global: bool,
}

impl TablePlan {
    /// Every item that a client may touch.
    pub fn keys(&self) -> Vec<Key> {
        let sks: Vec<Option<String>> = match self.sk {
            Some(kind) => (0..self.sks).map(|index| Some(kind.key(index))).collect(),
            None => vec![None],
        };
        let pks = (0..self.pks).map(|index| self.pk.key(index));
        pks.flat_map(|pk| sks.iter().map(move |sk| Key { table: self.name.clone(), pk: pk.clone(), sk: sk.clone() }))
            .collect()
    }
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The engine.
    pub mode: Mode,
    /// The tables.
    pub tables: Vec<TablePlan>,
    /// Clients at once.
    pub clients: u64,
    /// Requests of each.
    pub requests: u64,
    /// Longest pause of a client between two requests.
    pub pause_max: Duration,
    /// Clients that hang up before the answer, per 10,000 requests.
    pub hang_up: u64,
    /// Faults of the model engine.
    pub faults: Faults,
    /// Mean time between two kills of a node from outside; `None`: only crashes at a step.
    pub kill_every: Option<Duration>,
    /// Partitions of a new table.
    pub partitions: usize,
    /// How far the nodes' clocks may be apart.
    pub skew_max: Duration,
    /// Readers of streams.
    pub readers: u64,
    /// Most bytes that ride along with a Put.
    pub padding_max: u64,
    /// Jumps of store time.
    pub jumps: u64,
    /// How far each goes.
    pub jump: (Duration, Duration),
    /// The jumps go beyond the retention together: records are trimmed while clients and readers are at work.
    pub aged: bool,
    /// Writes per second above which a partition splits by itself.
    pub split_writes: u64,
    /// Bytes above which a partition splits by itself.
    pub partition_bytes: i64,
    /// Data streams.
    pub data: StreamsPlan,
    /// Replication of the tables to data streams, in some seeds.
    pub replication: Option<ReplicationPlan>,
}

/// Draws numbers from the run's seed.
#[derive(Clone)]
pub struct Dice(pub Runtime);

impl Dice {
    /// Below `end`.
    pub fn below(&self, end: u64) -> u64 {
        self.0.random() % end.max(1)
    }

    /// Between both, both included.
    pub fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// True so many times in a hundred.
    pub fn percent(&self, rate: u64) -> bool {
        self.below(100) < rate
    }

    /// One of them.
    pub fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// A time up to `most`.
    pub fn time(&self, most: Duration) -> Duration {
        Duration::from_micros(self.below(most.as_micros() as u64 + 1))
    }
}

impl Plan {
    /// What the seed behind `dice` decides. `replicates`: the tables are replicated to data streams.
    pub fn draw(mode: Mode, dice: &Dice, replicates: bool) -> Self {
        let tables = (0..dice.between(1, 3)).map(|index| table(index, dice)).collect();
        let clients = dice.between(3, 10);
        // Now and then a run takes minutes, so that what happens twice a minute (trimming) happens in it.
        let leisurely = dice.percent(10);
        let pauses = [Duration::ZERO, Duration::from_millis(2), Duration::from_millis(20)];
        let data = StreamsPlan::draw(dice);
        let kills_ms = match (leisurely, data.slow) {
            (true, _) => dice.between(10_000, 60_000),
            // A subscription is to live for some seconds.
            (false, true) => dice.between(2_000, 15_000),
            (false, false) => dice.between(200, 3_000),
        };
        let aged = mode != Mode::Relaxed && dice.percent(30);
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        Self {
            mode,
            tables,
            clients,
            // A Scan and a batch count as an operation on each item.
            requests: dice.between(OPERATIONS_MIN * 2 / 3, OPERATIONS_MIN * 4 / 5) / clients + 1,
            pause_max: if leisurely { Duration::from_secs(1) } else { *dice.pick(&pauses) },
            hang_up: *dice.pick(&[0, 200, 1_000]),
            faults: faults(mode, dice),
            kill_every: dice.percent(60).then_some(Duration::from_millis(kills_ms)),
            partitions: dice.between(1, 4) as usize,
            skew_max: if dice.percent(50) { Duration::from_secs(3) } else { Duration::ZERO },
            readers: dice.between(1, 2),
            padding_max: *dice.pick(&[40, 1_000, 6_000, 20_000]),
            jumps: if aged { 4 } else { dice.between(0, 3) },
            jump: if aged { (hours(9), hours(14)) } else { (Duration::from_secs(1), hours(5)) },
            aged,
            // An on-demand stream grows in a slow run only if little is much.
            split_writes: if data.slow { 20 } else { *dice.pick(&[20, 200, 1_000]) },
            partition_bytes: *dice.pick(&[20_000, 10_000_000_000]),
            data,
            // Drawn last: a seed without it goes as it did before there was any.
            replication: replicates.then(|| ReplicationPlan::draw(dice)),
        }
    }
}

fn table(index: u64, dice: &Dice) -> TablePlan {
    let kinds = [KeyType::S, KeyType::N, KeyType::B];
    let sk = dice.percent(60).then(|| *dice.pick(&kinds));
    let views = ["NEW_AND_OLD_IMAGES", "NEW_AND_OLD_IMAGES", "NEW_IMAGE", "OLD_IMAGE", "KEYS_ONLY"];
    TablePlan {
        name: format!("table-{index}"),
        pk: *dice.pick(&kinds),
        sk,
        pks: dice.between(2, 6),
        sks: dice.between(2, 4),
        // The first nearly always has a stream: a run without records shows little of them, but it has its own schedules.
        stream: dice.percent(if index == 0 { 95 } else { 60 }).then(|| *dice.pick(&views)),
        changes: if dice.percent(60) { dice.between(1, 8) } else { 0 },
        local: sk.is_some() && dice.percent(40),
        global: dice.percent(40),
    }
}

fn faults(mode: Mode, dice: &Dice) -> Faults {
    let slow = Faults {
        slow: *dice.pick(&[0, 1_000, 5_000]) as u32,
        slow_max: *dice.pick(&[Duration::from_micros(200), Duration::from_millis(5)]),
        ..Faults::NONE
    };
    match mode {
        Mode::Memory => Faults {
            crash: *dice.pick(&[0, 20, 100]),
            full: *dice.pick(&[0, 0, 200]),
            sync_failed: *dice.pick(&[0, 0, 100]),
            ..slow
        },
        Mode::TwoNodes => Faults {
            crash: *dice.pick(&[0, 0, 50]),
            full: *dice.pick(&[0, 0, 200]),
            unknown: *dice.pick(&[0, 200, 1_000]),
            resolve_unavailable: *dice.pick(&[0, 2_000]),
            conflicting: *dice.pick(&[0, 500]),
            ..slow
        },
        Mode::Relaxed => Faults { crash: *dice.pick(&[0, 20, 100]), ..slow },
        Mode::Embedded => slow,
    }
}
