//! What a seed decides about data streams.

use std::time::Duration;

use crate::plan::Dice;

/// A name under which a data stream is made, and made again.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    /// The name.
    pub name: String,
    /// Shards it is made with; none: it is on demand.
    pub shards: Option<u64>,
    /// Writers at once.
    pub writers: u64,
    /// Requests of each.
    pub requests: u64,
    /// Partition keys in use.
    pub keys: u64,
    /// Changes made to it while the writers run.
    pub changes: u64,
    /// Among them its deletion.
    pub deletes: bool,
    /// Registered consumers.
    pub consumers: u64,
}

/// The data streams of a run.
#[derive(Clone, Debug)]
pub struct StreamsPlan {
    /// By name.
    pub streams: Vec<StreamPlan>,
    /// The run goes on for some tens of seconds: subscriptions are taken over, on-demand streams grow.
    pub slow: bool,
    /// Longest pause of a writer between two requests.
    pub pause_max: Duration,
    /// Readers that poll.
    pub readers: u64,
    /// Most bytes that ride along with a record.
    pub padding_max: u64,
    /// Writers that hang up before the answer, per 10,000 requests.
    pub hang_up: u64,
}

impl StreamsPlan {
    /// What the seed behind `dice` decides.
    pub fn draw(dice: &Dice) -> Self {
        let slow = dice.percent(40);
        let streams = (0..dice.between(1, 2)).map(|index| stream(index, slow, dice)).collect();
        let pauses = [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(40)];
        Self {
            streams,
            slow,
            pause_max: if slow { Duration::from_millis(600) } else { *dice.pick(&pauses) },
            readers: dice.between(1, 2),
            padding_max: *dice.pick(&[0, 30, 300, 2_000]),
            hang_up: *dice.pick(&[0, 300, 1_500]),
        }
    }
}

fn stream(index: u64, slow: bool, dice: &Dice) -> StreamPlan {
    // The first of a slow run is on demand more often than not: only there is time for it to grow.
    let on_demand = index == 0 && slow && dice.percent(70);
    StreamPlan {
        name: format!("data-{index}"),
        shards: (!on_demand).then(|| dice.between(1, 4)),
        writers: dice.between(2, 4),
        requests: dice.between(15, 40),
        keys: dice.between(2, 8),
        changes: dice.between(4, 14),
        deletes: !on_demand && dice.percent(30),
        consumers: dice.between(1, 2),
    }
}
