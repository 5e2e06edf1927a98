//! Backfill of an index: the entries of items that were there before it, a page of items per command.
//!
//! Writers maintain the index from the commit that made it, so an entry written here is the one that a writer would have
//! left, and writing it again changes nothing. The cursor is committed with the entries.

use bytes::Bytes;
use headwater_catalog::{IndexState, TableDefinition, TimeToLiveState};
use headwater_log::{Command, Decision, Effect, Log, Touch, View};
use headwater_storage::contract::Direction;
use headwater_types::HashKey;
use headwater_types::stored::Corrupt;

use crate::command::Refusal;
use crate::index::{self, Changes};
use crate::read::ReadError;
use crate::row::Row;
use crate::schema::table_prefix;
use crate::ttl;

/// Bytes of items that one command reads again under their locks.
const PAGE_BYTES: usize = 256 * 1_024;

/// Items behind a cursor.
#[derive(Debug)]
pub struct Page {
    touches: Vec<Touch>,
    /// Items as they were scanned, to be entered as they were.
    #[cfg(feature = "planted-bugs")]
    stale: Option<Vec<Row>>,
    /// The cursor alone, without its entries: a planted bug.
    #[cfg(feature = "planted-bugs")]
    pub only_cursor: bool,
    /// Storage key of the last item; the next page starts behind it.
    pub last: Bytes,
    /// Their size. Unit: bytes.
    pub bytes: usize,
}

impl Page {
    /// Enters the items as they were scanned: a planted bug.
    #[cfg(feature = "planted-bugs")]
    pub fn keep_scanned(&mut self, log: &Log) {
        let snapshot = log.snapshot();
        let scanned = |touch: &Touch| snapshot.get(&touch.key).ok().flatten().map(Row::from_stored);
        self.stale = self.touches.iter().map(scanned).collect();
    }

    /// How many items.
    pub fn items(&self) -> usize {
        self.touches.len()
    }
}

/// What became of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filled {
    /// Its entries and the cursor are durable; how many entries.
    Entries(usize),
    /// The index is no longer being filled.
    Over,
}

/// The next items of a table behind `cursor`, at most `most`; `None` when there are none.
pub fn page(log: &Log, table: &TableDefinition, cursor: Option<&[u8]>, most: usize) -> Result<Option<Page>, ReadError> {
    let prefix = table_prefix(table.id);
    let start = cursor.map_or_else(|| prefix.clone(), |cursor| [cursor, &[0]].concat());
    let end = table_prefix(headwater_types::TableId(table.id.0 + 1));
    let snapshot = log.snapshot();
    let mut page = Page {
        touches: Vec::new(),
        #[cfg(feature = "planted-bugs")]
        stale: None,
        #[cfg(feature = "planted-bugs")]
        only_cursor: false,
        last: Bytes::new(),
        bytes: 0,
    };
    for entry in snapshot.scan(&start, &end, Direction::Forward).take(most) {
        let (key, value) = entry?;
        let place = key.get(prefix.len()..).and_then(|rest| rest.first_chunk::<16>()).ok_or(ReadError::Corrupt)?;
        page.last = key.clone();
        page.bytes += value.len();
        page.touches.push(Touch { table: Some(table.id), hash: HashKey(u128::from_be_bytes(*place)), key });
        if page.bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok((!page.touches.is_empty()).then_some(page))
}

/// Writes the entries of a page's items as they are now, and the cursor row `(key, value)`, in one commit.
pub async fn fill(log: &Log, page: &Page, index: u32, cursor: (Bytes, Bytes)) -> Result<Filled, Refusal> {
    let fill = Fill {
        touches: page.touches.clone(),
        #[cfg(feature = "planted-bugs")]
        stale: page.stale.clone(),
        #[cfg(feature = "planted-bugs")]
        only_cursor: page.only_cursor,
        index,
        cursor,
        bytes: page.bytes,
    };
    log.execute(fill).await.map_err(Refusal::Log)?
}

struct Fill {
    touches: Vec<Touch>,
    #[cfg(feature = "planted-bugs")]
    stale: Option<Vec<Row>>,
    #[cfg(feature = "planted-bugs")]
    only_cursor: bool,
    index: u32,
    cursor: (Bytes, Bytes),
    bytes: usize,
}

impl Command for Fill {
    type Answer = Result<Filled, Refusal>;

    fn touches(&self) -> &[Touch] {
        &self.touches
    }

    fn size_hint(&self) -> usize {
        self.bytes + self.touches.len() * 128
    }

    fn decide(&mut self, view: &View<'_>) -> Decision<Self::Answer> {
        match self.effects(view) {
            Ok(Some((effects, entries))) => Decision::Change { effects, answer: Ok(Filled::Entries(entries)) },
            Ok(None) => Decision::Answer(Ok(Filled::Over)),
            Err(Corrupt) => Decision::Answer(Err(Refusal::Corrupt)),
        }
    }
}

impl Fill {
    /// Effects and how many entries they hold; `None` when the index is not being filled.
    fn effects(&self, view: &View<'_>) -> Result<Option<(Vec<Effect>, usize)>, Corrupt> {
        let table = view.table(0);
        let mut effects = vec![Effect::default(); self.touches.len()];
        let mut count = 0;
        for (at, (touch, effect)) in self.touches.iter().zip(&mut effects).enumerate() {
            let row = view.value(at).cloned().map(Row::from_stored);
            #[cfg(feature = "planted-bugs")]
            let row = match &self.stale {
                Some(stale) => stale.get(at).cloned(),
                None => row,
            };
            let Some(entries) = entries(table, self.index, touch, row.as_ref())? else { return Ok(None) };
            count += entries.len();
            #[cfg(feature = "planted-bugs")]
            let entries = if self.only_cursor { Changes::new() } else { entries };
            effect.entries = entries;
        }
        if let Some(last) = effects.last_mut() {
            last.entries.push((self.cursor.0.clone(), Some(self.cursor.1.clone())));
        }
        Ok(Some((effects, count)))
    }
}

/// The entries of an item in the index with this number; `None` when it is not being filled.
fn entries(table: &TableDefinition, number: u32, touch: &Touch, row: Option<&Row>) -> Result<Option<Changes>, Corrupt> {
    let of_expiry = table.time_to_live.as_ref().filter(|expiry| expiry.index == number);
    if let Some(expiry) = of_expiry {
        if expiry.state != TimeToLiveState::Enabling {
            return Ok(None);
        }
        let key = row.map_or(Ok(None), |row| ttl::entry(table, &touch.key, row))?;
        return Ok(Some(key.map(|key| (key, Some(Bytes::new()))).into_iter().collect()));
    }
    let filled = |index: &&headwater_catalog::IndexDefinition| {
        index.id == number && matches!(index.state, IndexState::Creating | IndexState::Backfilling)
    };
    let Some(index) = table.indexes.iter().find(filled) else { return Ok(None) };
    let entry = row.map_or(Ok(None), |row| index::entry(table, index, &touch.key, row))?;
    Ok(Some(entry.map(|entry| (entry.key, Some(entry.row.bytes().clone()))).into_iter().collect()))
}
