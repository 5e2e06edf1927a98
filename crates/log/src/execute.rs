//! A command's way: lock, read, reserve, decide, publish and enqueue, unlock, wait.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_storage::keyspace::token_head;
use headwater_types::TableId;
use headwater_types::limits::PLAN_BYTES_MAX;

use crate::command::{Command, Decision, Effect, Few, Touch, ValueChange, View};
use crate::completion::{Completion, End};
use crate::error::Error;
use crate::locks::Ticket;
use crate::open::{Log, Shared};
use crate::pending::{Base, Pending};
use crate::queue::{Entry, Planned, PlannedTable, PlannedTouch};
use crate::views::TableView;

/// How often a command is planned again at once; then it pauses, so that nodes that fence each other spread.
const RETRIES_AT_ONCE: u32 = 3;
/// Longest pause. Unit: µs of system time.
const PAUSE_MICROS: u64 = 2_000;

/// One try of a command.
enum Try<A> {
    Done(A),
    TakenBack,
}

/// What was read for a command.
pub(crate) struct Read {
    pub tables: Few<(TableId, Arc<TableView>)>,
    /// Index into `tables`, per touch; none for a token.
    pub table_of: Few<Option<usize>>,
    /// Versions of tokens' heads, per touch; zero for other keys.
    pub versions: Few<u64>,
    pub values: Few<Option<Bytes>>,
    /// Plans whose values were read.
    pub waits: Vec<Arc<Completion>>,
}

impl Read {
    /// The tables that a plan on these values is held to.
    pub fn planned_tables(&self) -> Few<PlannedTable> {
        let planned = |(table, view): &(TableId, Arc<TableView>)| PlannedTable {
            table: *table,
            view: view.view,
            version: view.definition.version(),
        };
        self.tables.iter().map(planned).collect()
    }
}

impl Log {
    /// Does a command: all of it or nothing, on the newest values, in one order with all others of its keys.
    ///
    /// Shape:  keys are locked in key order; the values read are pending ones first, then published ones; the decision is
    ///         made again whenever what it was based on turned out not to be.
    /// Errors: `NoTable`, `Full`, `Closed`, `TooLarge`, and the engine's.
    /// Order:  the answer comes after all that it is based on, and all that the command changed, is durable and
    ///         published. Dropping the future leaves nothing half done.
    pub async fn execute<C: Command>(&self, mut command: C) -> Result<C::Answer, Error> {
        let shared = &*self.shared;
        let touches: Few<Touch> = command.touches().into();
        let ticket = shared.ticket();
        let mut tries = 0;
        loop {
            match shared.attempt(&mut command, ticket, &touches).await? {
                Try::Done(answer) => return Ok(answer),
                Try::TakenBack => tries += 1,
            }
            if tries > RETRIES_AT_ONCE {
                let pause = shared.runtime.random() % PAUSE_MICROS;
                shared.runtime.sleep(Duration::from_micros(pause)).await;
            }
        }
    }
}

impl Shared {
    async fn attempt<C: Command>(
        &self,
        command: &mut C,
        ticket: Ticket,
        touches: &[Touch],
    ) -> Result<Try<C::Answer>, Error> {
        let locked = self.keys.lock(ticket, touches).await;
        let read = self.read(touches)?;
        let read_bytes: usize = read.values.iter().flatten().map(Bytes::len).sum();
        let place = self.queue.reserve(read_bytes * 2 + command.size_hint()).await?;
        #[cfg(feature = "planted-bugs")]
        let drawn = self.drawn.draw(&self.settings, &self.clock, &self.runtime).await;

        // From here to the unlocking nothing waits.
        let view = View {
            values: &read.values,
            tables: &read.tables,
            table_of: &read.table_of,
            now: self.clock.store(),
            #[cfg(feature = "planted-bugs")]
            planted: self.settings.planted,
        };
        let (effects, answer) = match command.decide(&view) {
            Decision::Change { effects, answer } => (effects, answer),
            Decision::Answer(answer) if self.needs_comparing(&read) => (Vec::new(), answer),
            Decision::Answer(answer) => {
                drop((place, locked));
                return wait_for(&read.waits, answer).await;
            }
        };
        #[cfg(feature = "planted-bugs")]
        let effects = {
            let mut effects = effects;
            crate::planted::mark(&mut effects, drawn);
            crate::planted::forget(self.settings.planted, &mut effects);
            effects
        };
        let keys_bytes: usize = touches.iter().map(|touch| touch.key.len() + 128).sum();
        let size_bytes = keys_bytes + effects.iter().map(size_bytes).sum::<usize>();
        if size_bytes > PLAN_BYTES_MAX {
            return Err(Error::TooLarge { bytes: size_bytes });
        }
        #[cfg(feature = "planted-bugs")]
        if let Some(parts) = crate::planted::parts(self.settings.planted, touches, &effects) {
            return match self.commit_apart(touches, read, effects, parts, place).await? {
                Some(numbers) => Ok(Try::Done(command.finish(answer, &numbers))),
                None => Ok(Try::TakenBack),
            };
        }
        let compared_only = effects.is_empty();
        let completion = Arc::new(Completion::default());
        let planned = self.publish(touches, &read, effects, &completion);
        self.queue.push(Entry::Plan(Planned {
            tables: read.planned_tables(),
            touches: planned,
            own: Vec::new(),
            size_bytes,
            completion: completion.clone(),
            _place: place,
        }));
        let waits = if compared_only { read.waits } else { Vec::new() };
        drop(locked);
        match completion.wait().await {
            // Heads as expected do not say whose plan moved them there: a token's may have been another node's, for which
            // that of the plan read here was fenced. Plans that write need no such look: the views of their tables tell.
            End::Committed if compared_only => wait_for(&waits, answer).await,
            End::Committed => Ok(Try::Done(command.finish(answer, &completion.numbers()))),
            End::TakenBack => Ok(Try::TakenBack),
            End::Full => Err(Error::Full),
            End::Closed => Err(Error::Closed),
        }
    }

    /// Reads the touched keys. The caller holds their locks.
    fn read(&self, touches: &[Touch]) -> Result<Read, Error> {
        let mut tables: Few<(TableId, Arc<TableView>)> = Few::new();
        let mut table_of = Few::with_capacity(touches.len());
        for touch in touches {
            let Some(wanted) = touch.table else {
                table_of.push(None);
                continue;
            };
            let at = match tables.iter().position(|(table, _)| *table == wanted) {
                Some(at) => at,
                None => {
                    tables.push((wanted, self.view(wanted)?));
                    tables.len() - 1
                }
            };
            table_of.push(Some(at));
        }
        let bases: Few<Base> =
            touches.iter().zip(&table_of).map(|(touch, at)| self.keys.base(touch, view_of(&tables, *at))).collect();
        // After the pending values: one that was retired in between is in this snapshot.
        let snapshot = self.cell.snapshot();
        let mut values = Few::with_capacity(touches.len());
        let mut versions = Few::with_capacity(touches.len());
        let mut waits = Vec::new();
        for (touch, base) in touches.iter().zip(bases) {
            match base {
                Base::Published => {
                    values.push(snapshot.get(&touch.key)?);
                    versions.push(match touch.table {
                        Some(_) => 0,
                        None => snapshot.head(token_head(touch.hash.0))?.version,
                    });
                }
                Base::Pending(pending) => {
                    values.push(pending.value);
                    versions.push(pending.version);
                    waits.push(pending.plan);
                }
            }
        }
        Ok(Read { tables, table_of, values, versions, waits })
    }

    /// A table's definition and view; on a shared cell another node may have just made the table.
    pub(crate) fn view(&self, table: TableId) -> Result<Arc<TableView>, Error> {
        if let Some(view) = self.views.table(table) {
            return Ok(view);
        }
        if self.is_shared {
            self.views.refresh(&*self.cell.snapshot())?;
        }
        self.views.table(table).ok_or(Error::NoTable(table))
    }

    /// Whether an answer must be compared with the heads like a change. On a shared cell a pending value may be committed
    /// and overwritten by another node before this node hears of it; then it is no longer the newest.
    fn needs_comparing(&self, read: &Read) -> bool {
        self.is_shared && !read.waits.is_empty()
    }

    /// Shows the changed values to later planners.
    pub(crate) fn publish(
        &self,
        touches: &[Touch],
        read: &Read,
        effects: Vec<Effect>,
        completion: &Arc<Completion>,
    ) -> Vec<PlannedTouch> {
        debug_assert!(effects.is_empty() || effects.len() == touches.len(), "one effect per touch");
        let effects = effects.into_iter().chain(std::iter::repeat_with(Effect::default));
        let mut planned = Vec::with_capacity(touches.len());
        for (((touch, at), version), effect) in touches.iter().zip(&read.table_of).zip(&read.versions).zip(effects) {
            let value = match &effect.value {
                ValueChange::Unchanged => None,
                ValueChange::Put(value) => Some(Some(value.clone())),
                ValueChange::Delete => Some(None),
            };
            if let Some(value) = value {
                let view = view_of(&read.tables, *at);
                let after = if touch.table.is_none() { version + 1 } else { 0 };
                let pending = Pending { value, view, version: after, plan: completion.clone() };
                self.keys.publish(touch.hash, &touch.key, pending);
            }
            let (hash, key, version) = (touch.hash, touch.key.clone(), *version);
            planned.push(PlannedTouch { table: touch.table, version, hash, key, effect });
        }
        planned
    }
}

/// The view that a touch's values belong to. A token's are held to its own head instead.
fn view_of(tables: &[(TableId, Arc<TableView>)], at: Option<usize>) -> u64 {
    at.and_then(|at| tables.get(at)).map_or(0, |(_, view)| view.view)
}

/// Gives an answer once the plans whose values it is based on are durable.
async fn wait_for<A>(waits: &[Arc<Completion>], answer: A) -> Result<Try<A>, Error> {
    for plan in waits {
        match plan.wait().await {
            End::Committed => {}
            End::TakenBack | End::Full => return Ok(Try::TakenBack),
            End::Closed => return Err(Error::Closed),
        }
    }
    Ok(Try::Done(answer))
}

/// About what an effect takes in a group, beside its key.
fn size_bytes(effect: &Effect) -> usize {
    let value = match &effect.value {
        ValueChange::Unchanged | ValueChange::Delete => 0,
        ValueChange::Put(value) => value.len(),
    };
    let entries: usize =
        effect.entries.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len)).sum();
    value + entries + effect.record.as_ref().map_or(0, Bytes::len)
}
