//! Transactions: several items of several tables, all or nothing, in one plan; and reading several at one moment.
//!
//! ```text
//! touches = the items, in order of the actions | collections of tables with local indexes, each once | the token, if any
//! token's value = store time of its end (8, big-endian) | hash of the request (16)
//! ```
//! All keys are locked, all conditions judged on one state, all changes committed in one group or not at all. Isolation
//! from single writes follows from the same locks and heads.

use std::sync::Arc;

use bytes::Bytes;
use headwater_catalog::{TableDefinition, TableState};
use headwater_expression::Condition;
use headwater_log::{Command, Decision, Effect, Log, Touch, ValueChange, View};
use headwater_types::key::ItemKey;
use headwater_types::limits::{ITEM_SIZE_BYTES_MAX, TOKEN_LIFE_MS};
use headwater_types::{HashKey, Item, TableId};

use crate::change::Origin;
use crate::collection;
use crate::command::{Action, Change, Refusal, Step, Written};
use crate::index::IndexKeyFault;
use crate::plan;
use crate::read::ReadError;
use crate::row::Row;
use crate::schema::storage_key;

/// One action of a transaction.
pub struct TransactAction {
    touch: Touch,
    collection: Option<Touch>,
    kind: Kind,
}

enum Kind {
    Write(Step),
    Check(Condition),
}

impl TransactAction {
    /// A write of the item at `key`, whose attributes are `key_item`, under a condition.
    pub fn write(
        table: &TableDefinition,
        key: &ItemKey,
        key_item: Item,
        action: Action,
        condition: Option<Condition>,
    ) -> Self {
        Self::new(table, key, Kind::Write(Step::new(key_item, action, condition)))
    }

    /// A condition on the item at `key`, which stays as it is.
    pub fn check(table: &TableDefinition, key: &ItemKey, condition: Condition) -> Self {
        Self::new(table, key, Kind::Check(condition))
    }

    fn new(table: &TableDefinition, key: &ItemKey, kind: Kind) -> Self {
        let touch = Touch { table: Some(table.id), hash: key.hash, key: storage_key(table.id, key) };
        let collection = match kind {
            Kind::Write(_) => collection::touch(table, &touch),
            Kind::Check(_) => None,
        };
        Self { touch, collection, kind }
    }
}

/// What makes a repeated request known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// Hash of all that names it: account, Region, the client's token.
    pub name: HashKey,
    /// Hash of the request.
    pub request: HashKey,
}

/// What became of a transaction.
#[derive(Debug)]
pub enum Transacted {
    /// Done, per action; a check changes nothing.
    Done(Vec<Written>),
    /// It was done before, under the same token; sizes of the items as they are now. Unit: bytes.
    Replayed(Vec<usize>),
}

/// Why a transaction was not done. Nothing of it was.
#[derive(Debug)]
pub enum TransactRefusal {
    /// Per action what is against it, or nothing.
    Canceled(Vec<Option<Refusal>>),
    /// The token belongs to another request.
    OtherRequest,
    /// A table is not in a state that takes writes.
    NotActive(TableState),
    /// The log's own refusal.
    Log(headwater_log::Error),
}

/// Does a transaction and waits until it, or what its refusal is based on, is durable. No two actions are on one item.
pub async fn transact(
    log: &Log,
    actions: Vec<TransactAction>,
    token: Option<Token>,
) -> Result<Transacted, TransactRefusal> {
    log.execute(Transaction::new(actions, token)).await.map_err(TransactRefusal::Log)?
}

/// The items at these keys, all as of one published state.
pub fn get(log: &Log, keys: &[(TableId, ItemKey)]) -> Result<Vec<Option<Row>>, ReadError> {
    let snapshot: Arc<dyn headwater_storage::Snapshot> = log.snapshot();
    keys.iter().map(|(table, key)| Ok(snapshot.get(&storage_key(*table, key))?.map(Row::from_stored))).collect()
}

struct Transaction {
    touches: Vec<Touch>,
    actions: Vec<Kind>,
    /// Per action, the touch of its collection.
    collections: Vec<Option<usize>>,
    /// The token and its touch.
    token: Option<(Token, usize)>,
}

impl Transaction {
    fn new(actions: Vec<TransactAction>, token: Option<Token>) -> Self {
        let mut touches: Vec<Touch> = actions.iter().map(|action| action.touch.clone()).collect();
        let items = touches.len();
        let mut collections = Vec::with_capacity(items);
        for action in &actions {
            collections.push(action.collection.as_ref().map(|wanted| {
                let known = touches.iter().skip(items).position(|touch| touch == wanted);
                known.map_or_else(
                    || {
                        touches.push(wanted.clone());
                        touches.len() - 1
                    },
                    |at| items + at,
                )
            }));
        }
        let token = token.map(|token| {
            touches.push(Touch::token(token.name));
            (token, touches.len() - 1)
        });
        Self { touches, actions: actions.into_iter().map(|action| action.kind).collect(), collections, token }
    }
}

/// A decided transaction before it is turned into effects.
struct Decided {
    effects: Vec<Effect>,
    written: Vec<Written>,
    /// Per touch of a collection, its size afterwards.
    sizes: Vec<(usize, i64)>,
    refusals: Vec<Option<Refusal>>,
}

impl Command for Transaction {
    type Answer = Result<Transacted, TransactRefusal>;

    fn touches(&self) -> &[Touch] {
        &self.touches
    }

    fn size_hint(&self) -> usize {
        let steps = self.actions.iter().map(|kind| match kind {
            Kind::Write(step) => step.size_hint(),
            Kind::Check(_) => 0,
        });
        steps.sum::<usize>() + self.touches.len() * 64
    }

    fn decide(&mut self, view: &View<'_>) -> Decision<Self::Answer> {
        if let Some(answer) = self.known(view) {
            return Decision::Answer(answer);
        }
        let closed = (0..self.actions.len()).map(|at| view.table(at).state).find(|state| !state.serves());
        if let Some(state) = closed {
            return Decision::Answer(Err(TransactRefusal::NotActive(state)));
        }
        let decided = self.decided(view);
        if decided.refusals.iter().any(Option::is_some) {
            return Decision::Answer(Err(TransactRefusal::Canceled(decided.refusals)));
        }
        let answer = Ok(Transacted::Done(decided.written));
        if decided.effects.iter().all(|effect| *effect == Effect::default()) {
            return Decision::Answer(answer);
        }
        Decision::Change { effects: decided.effects, answer }
    }
}

impl Transaction {
    /// The answer to a request whose token is in use.
    fn known(&self, view: &View<'_>) -> Option<Result<Transacted, TransactRefusal>> {
        let (token, at) = self.token?;
        let value = view.value(at)?;
        let (end, request) = (value.first_chunk::<8>()?, value.get(8..)?.first_chunk::<16>()?);
        if i64::from_be_bytes(*end) <= view.now().0 {
            return None;
        }
        if u128::from_be_bytes(*request) != token.request.0 {
            return Some(Err(TransactRefusal::OtherRequest));
        }
        let size = |at| view.value(at).cloned().map_or(0, |value| Row::from_stored(value).size_bytes());
        Some(Ok(Transacted::Replayed((0..self.actions.len()).map(size).collect())))
    }

    fn decided(&self, view: &View<'_>) -> Decided {
        let mut decided = Decided {
            effects: vec![Effect::default(); self.touches.len()],
            written: Vec::with_capacity(self.actions.len()),
            sizes: Vec::new(),
            refusals: Vec::with_capacity(self.actions.len()),
        };
        // What is wrong with the request itself is told first and alone; of that, what refuses the request comes first.
        let all = self.actions.iter().enumerate().filter_map(|(at, kind)| Some((at, wrong(view.table(at), kind)?)));
        if let Some((at, refusal)) = all.min_by_key(|(at, refusal)| (!refusal.refuses_request(), *at)) {
            decided.refusals.extend(self.actions.iter().map(|_| None));
            if let Some(place) = decided.refusals.get_mut(at) {
                *place = Some(refusal);
            }
            return decided;
        }
        for (at, kind) in self.actions.iter().enumerate() {
            let refusal = self.act(view, at, kind, &mut decided).err();
            decided.refusals.push(refusal);
        }
        for (at, size) in &decided.sizes {
            if let Some(effect) = decided.effects.get_mut(*at) {
                *effect = collection::effect(*size);
            }
        }
        if let Some((token, at)) = self.token
            && let Some(effect) = decided.effects.get_mut(at)
        {
            let end = view.now().0.saturating_add(TOKEN_LIFE_MS);
            let value = [&end.to_be_bytes()[..], &token.request.0.to_be_bytes()[..]].concat();
            effect.value = ValueChange::Put(Bytes::from(value));
        }
        decided
    }

    fn act(&self, view: &View<'_>, at: usize, kind: &Kind, decided: &mut Decided) -> Result<(), Refusal> {
        let table = view.table(at);
        let old = view.value(at).cloned().map(Row::from_stored);
        let step = match kind {
            Kind::Write(step) => step,
            Kind::Check(condition) if plan::holds(condition, old.as_ref())? => {
                let new = old.clone();
                decided.written.push(Written { old, new, number: None, uses: Vec::new(), collection: None });
                return Ok(());
            }
            Kind::Check(_) => return Err(Refusal::ConditionFailed { old }),
        };
        let new = step.new_row(table, old.as_ref())?;
        let mut written = Written { old, new, number: None, uses: Vec::new(), collection: None };
        if written.old != written.new {
            let touch = self.touches.get(at).ok_or(Refusal::Corrupt)?;
            let planned = plan::effect(table, touch, Origin::User, written.old.as_ref(), written.new.as_ref())?;
            written.uses = planned.uses;
            *decided.effects.get_mut(at).ok_or(Refusal::Corrupt)? = planned.effect;
        }
        if let Some(touch) = self.collections.get(at).copied().flatten() {
            written.collection = Some(self.grow(view, touch, &written, decided)?);
        }
        decided.written.push(written);
        Ok(())
    }

    /// Size of a collection after one more of its items was changed.
    fn grow(&self, view: &View<'_>, touch: usize, written: &Written, decided: &mut Decided) -> Result<i64, Refusal> {
        let known = decided.sizes.iter().position(|(at, _)| *at == touch);
        let before = match known.and_then(|at| decided.sizes.get(at)) {
            Some((_, size)) => *size,
            None => collection::stored(view.value(touch))?,
        };
        let growth = collection::growth(written.old.as_ref(), written.new.as_ref(), &written.uses);
        let after = before + growth;
        if !collection::fits(before, after) {
            return Err(Refusal::CollectionTooLarge);
        }
        match known.and_then(|at| decided.sizes.get_mut(at)) {
            Some((_, size)) => *size = after,
            None if growth != 0 => decided.sizes.push((touch, after)),
            None => {}
        }
        Ok(after)
    }
}

impl Refusal {
    /// Whether it refuses a transaction's request rather than cancel the transaction.
    ///
    /// Source: observed on the service by dynamodb-conformance (transactIndexKeys, itemSizeBySurface): what is seen in the
    ///         request alone, even when only the table says what to look for.
    pub fn refuses_request(&self) -> bool {
        match self {
            Self::IndexKey { error, .. } => matches!(error.fault, IndexKeyFault::Empty { .. }),
            Self::ItemTooLarge { update } => !update,
            Self::NotActive(_) | Self::Corrupt | Self::Log(_) => true,
            Self::ConditionFailed { .. } | Self::Expression(_) | Self::Nesting | Self::CollectionTooLarge => false,
        }
    }
}

/// What is wrong with an action whatever the item is: known before any condition is judged.
fn wrong(table: &TableDefinition, kind: &Kind) -> Option<Refusal> {
    let Kind::Write(Step { change: Change::Put(row), .. }) = kind else { return None };
    if row.size_bytes() > ITEM_SIZE_BYTES_MAX {
        return Some(Refusal::ItemTooLarge { update: false });
    }
    match crate::index::check(table, row) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(Refusal::IndexKey { error, update: false }),
        Err(_) => Some(Refusal::Corrupt),
    }
}
