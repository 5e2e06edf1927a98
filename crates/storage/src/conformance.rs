//! The suite that every engine passes: one function per promise of the contract, each named after it.
//!
//! An engine's test hands in a way to make empty stores and calls [`all`]. Nothing here knows how an engine works; it
//! needs a runtime only to have several callers at once.

mod fencing;
mod groups;
mod life;
mod log;
mod several;
mod snapshots;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use headwater_types::{BoxFuture, Runtime, SequenceNumber, ShardUid};
use parking_lot::Mutex;

use crate::contract::{
    Batch, BatchId, Cell, From, HeadChange, HeadKey, HeadUse, LogRecord, Outcome, PageLimit, Plan, Record, Write,
};
use crate::keyspace::partition_head;

/// One store of the engine under test.
pub trait Store: Send + Sync {
    /// Opens the store; empty at first. After a [`Cell::close`], everything committed before is there again.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Cell>>;
}

/// Makes a new, empty store.
pub type NewStore<'a> = &'a (dyn Fn() -> Box<dyn Store> + Sync);

/// How much was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Promises, each on a store of its own.
    pub promises: u64,
    /// Batches handed in.
    pub batches: u64,
    /// Plans in them.
    pub plans: u64,
    /// Times a store was opened.
    pub opened: u64,
}

type Promise = for<'a> fn(&'a Bench) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

macro_rules! promises {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((stringify!($name), (|bench| Box::pin($module::$name(bench))) as Promise)),*]
    };
}

const PROMISES: &[(&str, Promise)] = promises![
    groups::a_plan_changes_keys_heads_and_log_at_once,
    groups::a_later_plan_of_a_batch_builds_on_an_earlier_one,
    groups::numbers_rise_and_every_record_gets_its_own,
    groups::a_taken_number_comes_before_the_records_of_its_plan,
    groups::children_are_numbered_above_their_parents,
    groups::a_taken_number_is_stamped_into_the_value,
    groups::a_removed_head_starts_again_at_zero,
    groups::the_last_write_of_a_key_wins,
    groups::large_values_and_many_plans_fit_into_one_batch,
    fencing::a_moved_head_fences_a_plan,
    fencing::a_compared_head_is_not_moved,
    fencing::a_fenced_plan_leaves_no_trace,
    fencing::a_plan_that_builds_on_a_fenced_one_is_fenced,
    fencing::an_unrelated_plan_of_the_same_batch_is_committed,
    fencing::of_two_that_race_for_a_head_one_wins,
    snapshots::a_snapshot_stays_the_same_across_later_commits,
    snapshots::a_snapshot_stays_the_same_across_a_trim,
    snapshots::a_scan_gives_the_keys_between_its_bounds_in_order,
    snapshots::long_keys_keep_their_order,
    snapshots::a_group_is_seen_whole_or_not_at_all,
    log::a_page_holds_what_its_limits_allow,
    log::reading_starts_at_or_after_a_number,
    log::shards_are_read_apart_and_an_unknown_shard_is_empty,
    log::a_tailing_reader_sees_no_gap_under_concurrent_committers,
    log::what_lies_above_a_horizon_survives_a_trim,
    life::a_closed_store_opens_again_with_everything,
    life::numbers_go_on_rising_after_a_reopen,
    life::groups_commit_in_the_order_of_the_calls,
    life::a_dropped_commit_future_still_commits,
    life::a_closed_cell_answers_closed,
    life::positions_rise_and_the_watch_is_raised,
    life::an_id_that_was_never_handed_in_resolves_to_nothing,
];

/// What a cell that several nodes have open promises beside the rest: [`Store::open`] gives one more node each time.
const SEVERAL: &[(&str, Promise)] = promises![
    several::what_one_node_was_answered_every_node_sees,
    several::nodes_that_race_for_a_head_fence_each_other_and_lose_nothing,
    several::an_outcome_can_be_asked_for_on_another_node,
    several::a_batch_that_was_asked_for_in_vain_never_commits,
    several::a_snapshot_of_one_node_stays_the_same_while_another_writes_and_trims,
    several::the_watch_of_one_node_is_raised_by_another,
    several::numbers_and_positions_rise_from_node_to_node,
];

/// Runs every promise, each on a new store. Panics at the first one that is broken.
pub async fn all(runtime: &Runtime, new_store: NewStore<'_>) -> Report {
    check(runtime, new_store, PROMISES).await
}

/// Runs what several nodes on one cell are promised, each promise on a new store. Panics at the first one that is broken.
pub async fn several_nodes(runtime: &Runtime, new_store: NewStore<'_>) -> Report {
    check(runtime, new_store, SEVERAL).await
}

async fn check(runtime: &Runtime, new_store: NewStore<'_>, promises: &[(&str, Promise)]) -> Report {
    let mut report = Report::default();
    for (name, promise) in promises {
        tracing::debug!(name, "checking");
        let bench = Bench::new(runtime.clone(), new_store()).await;
        promise(&bench).await;
        report.promises += 1;
        report.batches += bench.batches.load(Ordering::Relaxed);
        report.plans += bench.plans.load(Ordering::Relaxed);
        report.opened += bench.opened.load(Ordering::Relaxed);
        bench.finish().await;
    }
    report
}

/// A store under test and what is counted about it.
struct Bench {
    runtime: Runtime,
    store: Box<dyn Store>,
    /// None while the store is being opened again.
    cell: Mutex<Option<Arc<dyn Cell>>>,
    batches: AtomicU64,
    plans: AtomicU64,
    opened: AtomicU64,
}

impl Bench {
    async fn new(runtime: Runtime, store: Box<dyn Store>) -> Self {
        let cell = Mutex::new(Some(store.open().await));
        let (batches, plans) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { runtime, store, cell, batches, plans, opened: AtomicU64::new(1) }
    }

    async fn finish(self) {
        self.cell().close().await.expect("closing twice is no error");
    }

    fn cell(&self) -> Arc<dyn Cell> {
        self.cell.lock().clone().expect("the store is open")
    }

    /// Stops cleanly and opens again.
    async fn reopen(&self) {
        let old = self.cell();
        old.close().await.expect("a clean stop succeeds");
        drop(old);
        // The old handle goes before the store is opened again: a lock file would refuse two.
        *self.cell.lock() = None;
        let cell = self.store.open().await;
        *self.cell.lock() = Some(cell);
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// One more node on the same store.
    async fn another(&self) -> Arc<dyn Cell> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.store.open().await
    }

    fn batch(&self, plans: Vec<Plan>) -> Batch {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.plans.fetch_add(plans.len() as u64, Ordering::Relaxed);
        Batch { id: BatchId(self.runtime.random_u128()), plans }
    }

    async fn commit(&self, plans: Vec<Plan>) -> Vec<Outcome> {
        let count = plans.len();
        let outcomes = self.cell().commit(self.batch(plans)).await.expect("the batch has outcomes");
        assert_eq!(outcomes.len(), count, "one outcome per plan");
        outcomes
    }

    /// Commits one plan that must not be fenced: the numbers taken and the records' numbers.
    async fn committed(&self, plan: Plan) -> (Vec<SequenceNumber>, Vec<SequenceNumber>) {
        numbers_of(&self.commit(vec![plan]).await[0])
    }

    fn get(&self, key: &str) -> Option<Bytes> {
        self.cell().snapshot().get(&whole_key(key)).expect("get succeeds")
    }

    fn log(&self, shard: u64) -> Vec<LogRecord> {
        let limit = PageLimit { records: usize::MAX, bytes: usize::MAX };
        let start = From::At(SequenceNumber::ZERO);
        self.cell().snapshot().read_log(ShardUid(shard), start, limit).expect("read_log succeeds")
    }
}

fn numbers_of(outcome: &Outcome) -> (Vec<SequenceNumber>, Vec<SequenceNumber>) {
    match outcome {
        Outcome::Committed { taken, numbers } => (taken.clone(), numbers.clone()),
        Outcome::Fenced { heads } => panic!("fenced by {heads:?}"),
    }
}

fn is_fenced(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Fenced { .. })
}

/// A key in the items' part of the key space.
fn whole_key(key: &str) -> Bytes {
    let mut whole = vec![crate::keyspace::prefix::ITEM];
    whole.extend_from_slice(key.as_bytes());
    whole.into()
}

fn head(number: u64) -> HeadKey {
    partition_head(number)
}

fn moves(key: HeadKey, expected: u64) -> HeadUse {
    HeadUse { key, expected, change: HeadChange::Move { items: 0, bytes: 0, take: false, above: Vec::new() } }
}

fn takes(key: HeadKey, expected: u64, above: &[u16]) -> HeadUse {
    HeadUse { key, expected, change: HeadChange::Move { items: 0, bytes: 0, take: true, above: above.to_vec() } }
}

fn compares(key: HeadKey, expected: u64) -> HeadUse {
    HeadUse { key, expected, change: HeadChange::Compare }
}

fn put(key: &str, value: impl AsRef<[u8]>) -> Write {
    Write { key: whole_key(key), value: Some(Bytes::copy_from_slice(value.as_ref())), stamp: None }
}

fn delete(key: &str) -> Write {
    Write { key: whole_key(key), value: None, stamp: None }
}

fn record(head: u16, shard: u64, payload: impl AsRef<[u8]>) -> Record {
    Record { head, shard: ShardUid(shard), payload: Bytes::copy_from_slice(payload.as_ref()) }
}

/// A plan that moves one head and writes one key and one record into the shard of the same number.
fn simple(number: u64, expected: u64, key: &str, value: &str) -> Plan {
    Plan {
        heads: vec![moves(head(number), expected)],
        writes: vec![put(key, value)],
        records: vec![record(0, number, value)],
    }
}
