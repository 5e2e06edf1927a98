//! Commands and definition changes of the tests: counters whose records tell what they did.

use bytes::{Buf, BufMut, Bytes};
use headwater_catalog::{KeyAttribute, KeyKind, KeySchema, Snapshot as Catalog, StreamView, TableDefinition};
use headwater_storage::keyspace::prefix;
use headwater_types::{HashKey, Millis, Scope, SequenceNumber, TableId};

use crate::{Change, Command, Decision, Defined, Definition, Effect, Touch, ValueChange, View};

/// What a record of a counter tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    pub key: u64,
    pub old: u64,
    pub new: u64,
    /// Who did it.
    pub tag: u64,
    /// Version of the definition it was decided under.
    pub version: u64,
}

impl Step {
    fn encode(self) -> Bytes {
        let mut bytes = Vec::with_capacity(40);
        for part in [self.key, self.old, self.new, self.tag, self.version] {
            bytes.put_u64(part);
        }
        bytes.into()
    }

    pub fn decode(mut payload: &[u8]) -> Self {
        let mut part = || payload.get_u64();
        Self { key: part(), old: part(), new: part(), tag: part(), version: part() }
    }
}

pub(super) fn touch(table: TableId, key: u64) -> Touch {
    let hash = HashKey::of(&key.to_be_bytes());
    let mut bytes = vec![prefix::ITEM];
    bytes.extend(table.0.to_be_bytes());
    bytes.extend(hash.0.to_be_bytes());
    bytes.extend(key.to_be_bytes());
    Touch { table: Some(table), hash, key: bytes.into() }
}

pub(super) fn count(value: Option<&Bytes>) -> u64 {
    value.map_or(0, |value| value.as_ref().get_u64())
}

/// What a command does with its counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Deed {
    /// One more on every key.
    Add,
    /// One more on every key if the first counter is even, else nothing.
    AddIfEven,
    /// Nothing.
    Look,
    /// The first counter is only compared, the others get one more.
    AddBesideFirst,
}

pub(super) struct Count {
    pub deed: Deed,
    pub keys: Vec<u64>,
    pub tag: u64,
    touches: Vec<Touch>,
}

/// What a counting command answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Counted {
    pub changed: bool,
    /// The counters it leaves, in order of its keys.
    pub counts: Vec<u64>,
    pub numbers: Vec<SequenceNumber>,
}

impl Count {
    pub fn new(table: TableId, deed: Deed, keys: &[u64], tag: u64) -> Self {
        Self::across(|_| table, deed, keys, tag)
    }

    /// Keys of several tables.
    pub fn across(table: impl Fn(u64) -> TableId, deed: Deed, keys: &[u64], tag: u64) -> Self {
        let touches = keys.iter().map(|key| touch(table(*key), *key)).collect();
        Self { deed, keys: keys.to_vec(), tag, touches }
    }
}

impl Command for Count {
    type Answer = Counted;

    fn touches(&self) -> &[Touch] {
        &self.touches
    }

    fn size_hint(&self) -> usize {
        64
    }

    fn decide(&mut self, view: &View<'_>) -> Decision<Counted> {
        let old: Vec<u64> = (0..self.keys.len()).map(|at| count(view.value(at))).collect();
        let adds = match self.deed {
            Deed::Add | Deed::AddBesideFirst => true,
            Deed::AddIfEven => old[0].is_multiple_of(2),
            Deed::Look => false,
        };
        if !adds {
            return Decision::Answer(Counted { changed: false, counts: old, numbers: Vec::new() });
        }
        let (mut effects, mut counts) = (Vec::new(), Vec::new());
        for (at, old) in old.into_iter().enumerate() {
            if at == 0 && self.deed == Deed::AddBesideFirst {
                effects.push(Effect::default());
                counts.push(old);
                continue;
            }
            let version = view.table(at).version;
            let step = Step { key: self.keys[at], old, new: old + 1, tag: self.tag, version };
            effects.push(Effect {
                value: ValueChange::Put(step.new.to_be_bytes().to_vec().into()),
                items: i64::from(old == 0),
                bytes: if old == 0 { 8 } else { 0 },
                record: Some(step.encode()),
                entries: Vec::new(),
            });
            counts.push(step.new);
        }
        Decision::Change { effects, answer: Counted { changed: true, counts, numbers: Vec::new() } }
    }

    fn finish(&mut self, answer: Counted, numbers: &[SequenceNumber]) -> Counted {
        Counted { numbers: numbers.to_vec(), ..answer }
    }
}

pub(super) fn scope() -> Scope {
    Scope::new("000000000000", "eu-west-1")
}

/// Makes a table; `None` when the name is taken.
pub(super) struct CreateTable(pub &'static str, pub Option<StreamView>);

impl Definition for CreateTable {
    type Answer = Option<TableId>;

    fn decide(&mut self, catalog: &Catalog, _now: Millis) -> Defined<Option<TableId>> {
        if catalog.table(&scope(), self.0).is_some() {
            return Defined::Answer(None);
        }
        let key_schema = KeySchema { hash: KeyAttribute { name: "id".into(), kind: KeyKind::N }, range: None };
        let table = Box::new(TableDefinition::new(scope(), self.0, key_schema));
        Defined::Change(vec![Change::Create { table, stream: self.1 }])
    }

    fn answer(&mut self, catalog: &Catalog) -> Option<TableId> {
        catalog.table(&scope(), self.0).map(|table| table.id)
    }
}

/// Counts in the definition's tags.
pub(super) struct Retag(pub TableId);

impl Retag {
    pub fn count(table: &TableDefinition) -> u64 {
        table.tags.get("n").and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

impl Definition for Retag {
    type Answer = Option<u64>;

    fn decide(&mut self, catalog: &Catalog, _now: Millis) -> Defined<Option<u64>> {
        let Some(table) = catalog.table_by_id(self.0) else { return Defined::Answer(None) };
        let mut table = Box::new((**table).clone());
        let next = Self::count(&table) + 1;
        table.tags.insert("n".into(), next.to_string());
        // With the short state and without it, by turns.
        Defined::Change(vec![if next.is_multiple_of(2) { Change::Record { table } } else { Change::Update { table } }])
    }

    fn answer(&mut self, catalog: &Catalog) -> Option<u64> {
        catalog.table_by_id(self.0).map(|table| Self::count(table))
    }
}

/// Switches a table's stream on or off, as it is not.
pub(super) struct Toggle(pub TableId);

impl Definition for Toggle {
    type Answer = ();

    fn decide(&mut self, catalog: &Catalog, _now: Millis) -> Defined<()> {
        let table = self.0;
        Defined::Change(vec![match catalog.table_by_id(table).and_then(|table| table.stream) {
            Some(_) => Change::DisableStream { table },
            None => Change::EnableStream { table, view: StreamView::OldImage },
        }])
    }

    fn answer(&mut self, _catalog: &Catalog) {}
}

/// These changes, whatever the catalog says.
pub(super) struct Just(pub Vec<Change>);

impl Definition for Just {
    type Answer = ();

    fn decide(&mut self, _catalog: &Catalog, _now: Millis) -> Defined<()> {
        Defined::Change(self.0.clone())
    }

    fn answer(&mut self, _catalog: &Catalog) {}
}
