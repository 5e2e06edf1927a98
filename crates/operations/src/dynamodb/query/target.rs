//! What a Query or Scan reads: a table or one of its indexes, and what may be asked of it.

use std::sync::Arc;

use bytes::Bytes;
use headwater_api::dynamodb::{ReturnConsumedCapacity, Select};
use headwater_api::{Call, Error, dynamodb as api};
use headwater_catalog::{IndexDefinition, IndexKind, IndexState, KeyAttribute, Projected, TableDefinition};
use headwater_expression::{Condition, KeyQuery, Projection, RangeCondition};
use headwater_table::query::Page;
use headwater_table::{KeyError, Source, capacity, schema};
use headwater_types::{AttributeValue, Item};

use crate::dynamodb::consumed::{Shown, Used};
use crate::dynamodb::error;
use crate::dynamodb::item::{lookup, projected_keys, scalar_keys};
use crate::dynamodb::validation::STARTING_KEY;
use crate::service::Operations;

/// A table, and the index that is read if not the table itself.
pub(super) struct Target {
    table: Arc<TableDefinition>,
    index: Option<usize>,
    /// Whole items are wanted of a local index that holds only parts.
    fetch: bool,
}

impl Target {
    /// Finds the table and the index.
    ///
    /// Errors: ResourceNotFoundException for the table; ValidationException for the index, one that is being filled, and
    ///         a consistent read of a global one.
    pub fn find(
        service: &Operations,
        call: &Call,
        table: &str,
        index: Option<&str>,
        consistent: bool,
    ) -> Result<Self, Error> {
        let table = lookup(service, call, table)?;
        let Some(name) = index else { return Ok(Self { table, index: None, fetch: false }) };
        let missing = || Error::validation(format!("The table does not have the specified index: {name}"));
        let at = table.indexes.iter().position(|index| index.name == name).ok_or_else(missing)?;
        let index = table.indexes.get(at).ok_or_else(missing)?;
        match index.state {
            IndexState::Active | IndexState::Updating => {}
            IndexState::Creating | IndexState::Backfilling => {
                return Err(Error::validation(format!("Cannot read from backfilling global secondary index: {name}")));
            }
            IndexState::Deleting => return Err(missing()),
        }
        if consistent && index.kind == IndexKind::Global {
            return Err(Error::validation("Consistent reads are not supported on global secondary indexes"));
        }
        Ok(Self { table, index: Some(at), fetch: false })
    }

    /// Holds what is to be shown to what an index has: a global one gives its own attributes, of a local one the rest is
    /// fetched from the table.
    pub fn show(&mut self, select: Option<Select>, projection: Option<&Projection>) -> Result<(), Error> {
        let Some(index) = self.index() else { return Ok(()) };
        let fetch = match index.kind {
            IndexKind::Global => {
                global_gives(&self.table, index, select, projection)?;
                false
            }
            IndexKind::Local => {
                let whole = select == Some(Select::AllAttributes);
                index.projected != Projected::All && (whole || !unprojected(&self.table, index, projection).is_empty())
            }
        };
        self.fetch = fetch;
        Ok(())
    }

    /// For the table room.
    pub fn source(&self) -> Source<'_> {
        Source { index: self.index(), fetch: self.fetch, ..Source::table(&self.table) }
    }

    fn index(&self) -> Option<&IndexDefinition> {
        self.index.and_then(|at| self.table.indexes.get(at))
    }

    /// Attributes of the partition key that is queried.
    pub fn hash(&self) -> &[KeyAttribute] {
        match self.index() {
            Some(index) => &index.hash,
            None => std::slice::from_ref(&self.table.key_schema.hash),
        }
    }

    /// Attributes of its sort key.
    pub fn range(&self) -> &[KeyAttribute] {
        match self.index() {
            Some(index) => &index.range,
            None => self.table.key_schema.range.as_slice(),
        }
    }

    /// Names of the key attributes that are queried.
    fn keys(&self) -> impl Iterator<Item = &str> {
        self.hash().iter().chain(self.range()).map(|key| key.name.as_str())
    }

    /// Names of all key attributes that a page's last key has: the table's and the index's.
    fn start_keys(&self) -> Vec<&KeyAttribute> {
        let mut keys: Vec<&KeyAttribute> = self.hash().iter().chain(self.range()).collect();
        for key in self.table.keys() {
            if !keys.iter().any(|known| known.name == key.name) {
                keys.push(key);
            }
        }
        keys
    }

    /// Refuses empty and overlong values where keys are queried.
    pub fn check_values(&self, wanted: &KeyQuery) -> Result<(), Error> {
        schema::check_queried(self.hash().iter().zip(&wanted.hash), false).map_err(error::key)?;
        schema::check_queried(self.range().iter().zip(&wanted.equal), true).map_err(error::key)?;
        let tested = self.range().get(wanted.equal.len());
        let values = wanted.range.iter().flat_map(RangeCondition::values);
        schema::check_queried(tested.into_iter().cycle().zip(values), true).map_err(error::key)
    }

    /// Refuses a projection that goes into a key attribute, as keys are scalars.
    pub fn scalar_projection(&self, projection: Option<&Projection>) -> Result<(), Error> {
        projected_keys(&self.table, projection)
    }

    /// Refuses a filter that goes into a key attribute, as keys are scalars.
    pub fn scalar_filter(&self, filter: Option<&Condition>) -> Result<(), Error> {
        scalar_keys(&self.table, filter)
    }

    /// Refuses a query's filter on key attributes: what is queried is no filter's business.
    pub fn no_key_in_filter(&self, filter: Option<&Condition>, what: &str) -> Result<(), Error> {
        let Some(filter) = filter else { return Ok(()) };
        for key in self.keys() {
            let mut named = false;
            filter.paths(&mut |path| named |= path.top() == key);
            if named {
                return Err(Error::validation(format!(
                    "{what} can only contain non-primary key attributes: Primary key attribute: {key}"
                )));
            }
        }
        Ok(())
    }

    /// The start key has as many attributes as a page's last key, among them those of the key that is read.
    ///
    /// Source: order of this and the next checks as observed by dynalite's tests (query, scan).
    pub fn start_shape(&self, start: &Item) -> Result<(), Error> {
        let invalid = || Error::validation("The provided starting key is invalid");
        if start.len() != self.start_keys().len() {
            return Err(invalid());
        }
        for key in self.hash().iter().chain(self.range()) {
            let value = start.get(&key.name).ok_or_else(invalid)?;
            if value.type_code() != schema::type_code(key.kind) {
                return Err(error::key(KeyError::Mismatch));
            }
        }
        Ok(())
    }

    /// Where a query starts: where it reads.
    pub fn query_start(&self, start: &Item, wanted: &KeyQuery) -> Result<Bytes, Error> {
        let refusal: fn(KeyError) -> Error = if self.index.is_some() { refused } else { error::key };
        let position = self.position(start).map_err(refusal)?;
        self.start_within(start, wanted)?;
        Ok(position)
    }

    /// The start key lies where the query reads.
    fn start_within(&self, start: &Item, wanted: &KeyQuery) -> Result<(), Error> {
        let is = |(key, value): (&KeyAttribute, &AttributeValue)| start.get(&key.name) == Some(value);
        let tested = self.range().get(wanted.equal.len());
        if let (Some(test), Some(range)) = (&wanted.range, tested)
            && !start.get(&range.name).is_some_and(|value| test.accepts(value))
        {
            return Err(Error::validation("The provided starting key does not match the range key predicate"));
        }
        if self.hash().iter().zip(&wanted.hash).all(is) && self.range().iter().zip(&wanted.equal).all(is) {
            return Ok(());
        }
        Err(Error::validation(match wanted.range {
            Some(_) => "The query can return at most one row and cannot be restarted",
            None => "The provided starting key is outside query boundaries based on provided conditions",
        }))
    }

    /// Where a scan starts.
    pub fn scan_start(&self, start: &Item, segment: Option<(u32, u32)>) -> Result<Bytes, Error> {
        let position = self.position(start).map_err(refused)?;
        match segment {
            Some((segment, total)) if self.source().segment_of(&position, total) != segment => {
                Err(Error::validation(format!(
                    "{STARTING_KEY}Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. \
                     TotalSegments: {total} Segment: {segment}"
                )))
            }
            Some(_) | None => Ok(position),
        }
    }

    fn position(&self, start: &Item) -> Result<Bytes, KeyError> {
        let keys = self.start_keys();
        let fits = |key: &&KeyAttribute| {
            start.get(&key.name).is_some_and(|value| value.type_code() == schema::type_code(key.kind))
        };
        if start.len() != keys.len() || !keys.iter().all(fits) {
            return Err(KeyError::Mismatch);
        }
        let own = schema::keys_of(&self.table.key_schema, start);
        schema::key_of(&self.table.key_schema, &own)?;
        self.source().position(start).ok_or(KeyError::Mismatch)
    }

    /// ConsumedCapacity of a page.
    pub fn consumed(
        &self,
        wanted: Option<ReturnConsumedCapacity>,
        given: &str,
        page: &Page,
        consistent: bool,
    ) -> Option<api::ConsumedCapacity> {
        let units = capacity::read_units(page.bytes_read, consistent);
        let used = match self.index() {
            None => Used::table(units),
            Some(index) => {
                let fetched = page.fetched.iter().map(|size| capacity::read_units(*size, consistent)).sum();
                Used::index(&index.name, index.kind == IndexKind::Local, units, fetched)
            }
        };
        used.shown(wanted, given, Shown::Plain)
    }
}

/// How refusals of a start key by the table's own key are told.
fn refused(cause: KeyError) -> Error {
    let text = error::key(cause);
    Error::validation(format!("{STARTING_KEY}{}", text.message().unwrap_or_default()))
}

/// What a global index can give: its own attributes.
///
/// Source: moto's tests that were run on the service (test_dynamodb_select); reported to LocalStack (issue 478).
fn global_gives(
    table: &TableDefinition,
    index: &IndexDefinition,
    select: Option<Select>,
    projection: Option<&Projection>,
) -> Result<(), Error> {
    let name = &index.name;
    if select == Some(Select::AllAttributes) && index.projected != Projected::All {
        return Err(Error::validation(format!(
            "One or more parameter values were invalid: Select type ALL_ATTRIBUTES is not supported for global secondary \
             index {name} because its projection type is not ALL"
        )));
    }
    let lacking = unprojected(table, index, projection);
    if !lacking.is_empty() {
        return Err(Error::validation(format!(
            "One or more parameter values were invalid: Global secondary index {name} does not project [{}]",
            lacking.join(", ")
        )));
    }
    Ok(())
}

/// Attributes that are asked for by name and that the index does not hold, in the order of asking.
fn unprojected<'a>(
    table: &TableDefinition,
    index: &IndexDefinition,
    projection: Option<&'a Projection>,
) -> Vec<&'a str> {
    let included: &[String] = match &index.projected {
        Projected::All => return Vec::new(),
        Projected::KeysOnly => &[],
        Projected::Include(names) => names,
    };
    let held = |name: &str| {
        table.keys().chain(index.keys()).any(|key| key.name == name) || included.iter().any(|known| known == name)
    };
    let mut lacking: Vec<&str> = Vec::new();
    for path in projection.into_iter().flat_map(Projection::paths) {
        if !held(path.top()) && !lacking.contains(&path.top()) {
            lacking.push(path.top());
        }
    }
    lacking
}
