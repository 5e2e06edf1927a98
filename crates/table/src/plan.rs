//! The pure decision of a write: (item as it is, command) → effects and answer.

use bytes::Bytes;
use headwater_catalog::TableState;
use headwater_expression::operand::Missing;
use headwater_expression::{Attributes, Condition, Update};
use headwater_log::{Command, Decision, Effect, Touch, ValueChange, View};
use headwater_types::limits::{ITEM_SIZE_BYTES_MAX, NESTING_LEVELS_MAX};
use headwater_types::{AttributeValue, SequenceNumber};

use crate::change::{self, Origin};
use crate::command::{Change, Refusal, Write, Written};
use crate::row::Row;

/// What the engine's key costs beside the value, for admission. Unit: bytes.
const KEY_BYTES: usize = 128;

impl Command for Write {
    type Answer = Result<Written, Refusal>;

    fn touches(&self) -> &[Touch] {
        &self.touch
    }

    fn size_hint(&self) -> usize {
        match &self.change {
            Change::Put(row) => 2 * row.bytes().len() + KEY_BYTES,
            Change::Update(_) | Change::Delete => KEY_BYTES,
        }
    }

    fn decide(&mut self, view: &View<'_>) -> Decision<Self::Answer> {
        let table = view.table(0);
        if matches!(table.state, TableState::Creating | TableState::Deleting) {
            return Decision::Answer(Err(Refusal::NotActive(table.state)));
        }
        let old = Self::stored(view.value(0));
        let new = match self.new_row(old.as_ref()) {
            Ok(new) => new,
            Err(refusal) => return Decision::Answer(Err(refusal)),
        };
        if old == new {
            return Decision::Answer(Ok(Written { old, new, number: None }));
        }
        let record = table.stream.is_some().then(|| change::encode(Origin::User, old.as_ref(), new.as_ref()));
        let effect = effect(old.as_ref(), new.as_ref(), record);
        Decision::Change { effects: vec![effect], answer: Ok(Written { old, new, number: None }) }
    }

    fn finish(&mut self, answer: Self::Answer, numbers: &[SequenceNumber]) -> Self::Answer {
        answer.map(|written| Written { number: numbers.first().copied(), ..written })
    }
}

impl Write {
    /// The item after the write; equal to `old` when nothing changes.
    fn new_row(&self, old: Option<&Row>) -> Result<Option<Row>, Refusal> {
        if let Some(condition) = &self.condition
            && !holds(condition, old)?
        {
            return Err(Refusal::ConditionFailed { old: old.cloned() });
        }
        match &self.change {
            Change::Put(row) if row.size_bytes() > ITEM_SIZE_BYTES_MAX => Err(Refusal::ItemTooLarge { update: false }),
            Change::Put(row) => Ok(Some(row.clone())),
            Change::Delete => Ok(None),
            Change::Update(None) => Ok(Some(old.cloned().unwrap_or_else(|| Row::new(&self.key)))),
            Change::Update(Some(update)) => self.updated(old, update),
        }
    }

    fn updated(&self, old: Option<&Row>, update: &Update) -> Result<Option<Row>, Refusal> {
        let before = match old {
            Some(row) => row.item()?,
            None => self.key.clone(),
        };
        let after = update.apply(&before, old.is_some()).map_err(Refusal::Expression)?;
        if old.is_none() && !update.creates_item() {
            return Ok(None);
        }
        if after.values().map(AttributeValue::depth).max().unwrap_or(0) > NESTING_LEVELS_MAX {
            return Err(Refusal::Nesting);
        }
        let row = Row::new(&after);
        if row.size_bytes() > ITEM_SIZE_BYTES_MAX {
            return Err(Refusal::ItemTooLarge { update: true });
        }
        Ok(Some(row))
    }
}

fn holds(condition: &Condition, old: Option<&Row>) -> Result<bool, Refusal> {
    let Some(row) = old else { return Ok(condition.evaluate(&Missing)) };
    let stored = row.stored()?;
    let attributes: &dyn Attributes = &stored;
    Ok(condition.evaluate(attributes))
}

fn effect(old: Option<&Row>, new: Option<&Row>, record: Option<Bytes>) -> Effect {
    let size = |row: Option<&Row>| row.map_or(0, |row| row.size_bytes() as i64);
    Effect {
        value: match new {
            Some(row) => ValueChange::Put(row.bytes().clone()),
            None => ValueChange::Delete,
        },
        items: i64::from(new.is_some()) - i64::from(old.is_some()),
        bytes: size(new) - size(old),
        record,
        entries: Vec::new(),
    }
}
