//! The pure decision of a write: (item as it is, command) → effects and answer.

use headwater_catalog::{TableDefinition, TableState};
use headwater_expression::operand::Missing;
use headwater_expression::{Attributes, Condition, Update};
use headwater_log::{Command, Decision, Effect, Touch, ValueChange, View};
use headwater_types::limits::{ITEM_SIZE_BYTES_MAX, NESTING_LEVELS_MAX};
use headwater_types::stored::Corrupt;
use headwater_types::{AttributeValue, SequenceNumber};

use crate::change::{self, Origin};
use crate::collection;
use crate::command::{Change, Refusal, Step, Write, Written};
use crate::index::{self, IndexUse};
use crate::row::Row;

/// What the engine's key costs beside the value, for admission. Unit: bytes.
const KEY_BYTES: usize = 128;

/// What changing one item writes.
pub(crate) struct PlannedItem {
    pub effect: Effect,
    /// Indexes that are changed.
    pub uses: Vec<IndexUse>,
}

impl Command for Write {
    type Answer = Result<Written, Refusal>;

    fn touches(&self) -> &[Touch] {
        self.touches.as_slice()
    }

    fn size_hint(&self) -> usize {
        self.step.size_hint()
    }

    fn decide(&mut self, view: &View<'_>) -> Decision<Self::Answer> {
        match self.planned(view) {
            Ok((effects, answer)) if effects.is_empty() => Decision::Answer(Ok(answer)),
            Ok((effects, answer)) => Decision::Change { effects, answer: Ok(answer) },
            Err(refusal) => Decision::Answer(Err(refusal)),
        }
    }

    fn finish(&mut self, answer: Self::Answer, numbers: &[SequenceNumber]) -> Self::Answer {
        answer.map(|written| Written { number: numbers.first().copied(), ..written })
    }
}

impl Write {
    fn planned(&self, view: &View<'_>) -> Result<(Vec<Effect>, Written), Refusal> {
        let table = view.table(0);
        let old = view.value(0).cloned().map(Row::from_stored);
        let new = self.step.new_row(table, old.as_ref())?;
        let mut written = Written { old, new, number: None, uses: Vec::new(), collection: None };
        let mut effects = Vec::new();
        let mut growth = 0;
        #[cfg(feature = "planted-bugs")]
        let recorded = view.planted() == Some(headwater_log::PlantedBug::NoOpRecorded) && written.new.is_some();
        #[cfg(not(feature = "planted-bugs"))]
        let recorded = false;
        if written.old != written.new || recorded {
            let (old, new) = (written.old.as_ref(), written.new.as_ref());
            let [touch, ..] = self.touches.as_slice() else { return Err(Refusal::Corrupt) };
            let planned = effect(table, touch, Origin::User, old, new)?;
            growth = collection::growth(old, new, &planned.uses);
            effects.push(planned.effect);
            written.uses = planned.uses;
        }
        if self.touches.as_slice().len() > 1 {
            let before = collection::stored(view.value(1))?;
            let after = before + growth;
            if !collection::fits(before, after) {
                return Err(Refusal::CollectionTooLarge);
            }
            written.collection = Some(after);
            if !effects.is_empty() {
                effects.push(collection::effect(after));
            }
        }
        Ok((effects, written))
    }
}

impl Step {
    /// About how many bytes it writes beside what it reads, for admission.
    pub fn size_hint(&self) -> usize {
        match &self.change {
            Change::Put(row) => 2 * row.bytes().len() + KEY_BYTES,
            Change::Update(_) | Change::Delete => KEY_BYTES,
        }
    }

    /// The item after the step; equal to `old` when nothing changes.
    pub fn new_row(&self, table: &TableDefinition, old: Option<&Row>) -> Result<Option<Row>, Refusal> {
        if matches!(table.state, TableState::Creating | TableState::Deleting) {
            return Err(Refusal::NotActive(table.state));
        }
        if let Change::Put(row) = &self.change {
            if row.size_bytes() > ITEM_SIZE_BYTES_MAX {
                return Err(Refusal::ItemTooLarge { update: false });
            }
            check_index_keys(table, row, false)?;
        }
        if let Some(condition) = &self.condition
            && !holds(condition, old)?
        {
            return Err(Refusal::ConditionFailed { old: old.cloned() });
        }
        match &self.change {
            Change::Put(row) => Ok(Some(row.clone())),
            Change::Delete => Ok(None),
            Change::Update(None) => Ok(Some(old.cloned().unwrap_or_else(|| Row::new(&self.key)))),
            Change::Update(Some(update)) => self.updated(table, old, update),
        }
    }

    fn updated(&self, table: &TableDefinition, old: Option<&Row>, update: &Update) -> Result<Option<Row>, Refusal> {
        let before = match old {
            Some(row) => row.item()?,
            None => self.key.clone(),
        };
        let after = update.apply(&before, old.is_some()).map_err(Refusal::Expression)?;
        if old.is_none() && !update.creates_item() {
            return Ok(None);
        }
        if after.values().map(AttributeValue::depth).max().unwrap_or(0) >= NESTING_LEVELS_MAX {
            return Err(Refusal::Nesting);
        }
        let row = Row::new(&after);
        if row.size_bytes() > ITEM_SIZE_BYTES_MAX {
            return Err(Refusal::ItemTooLarge { update: true });
        }
        check_index_keys(table, &row, true)?;
        Ok(Some(row))
    }
}

fn check_index_keys(table: &TableDefinition, row: &Row, update: bool) -> Result<(), Refusal> {
    index::check(table, row)?.map_err(|error| Refusal::IndexKey { error, update })
}

/// Whether a condition holds for the item as it is.
pub(crate) fn holds(condition: &Condition, old: Option<&Row>) -> Result<bool, Refusal> {
    let Some(row) = old else { return Ok(condition.evaluate(&Missing)) };
    let stored = row.stored()?;
    let attributes: &dyn Attributes = &stored;
    Ok(condition.evaluate(attributes))
}

/// What changing the item of `touch` from `old` to `new` writes: the item, its index entries, its record.
pub(crate) fn effect(
    table: &TableDefinition,
    touch: &Touch,
    origin: Origin,
    old: Option<&Row>,
    new: Option<&Row>,
) -> Result<PlannedItem, Corrupt> {
    let size = |row: Option<&Row>| row.map_or(0, |row| row.size_bytes() as i64);
    let (entries, uses) = index::changes(table, &touch.key, old, new)?;
    let effect = Effect {
        value: match new {
            Some(row) => ValueChange::Put(row.bytes().clone()),
            None => ValueChange::Delete,
        },
        items: i64::from(new.is_some()) - i64::from(old.is_some()),
        bytes: size(new) - size(old),
        record: table.log_lineage().is_some().then(|| change::encode(origin, old, new)),
        entries,
    };
    Ok(PlannedItem { effect, uses })
}
