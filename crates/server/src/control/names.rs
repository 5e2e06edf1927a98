//! Which table, stream or shard is meant.

use headwater_catalog::Snapshot as Catalog;
use headwater_types::{Scope, StreamUid, TableId};

use super::view::Refused;

/// What a command is about, as its caller names it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// A table's name, or the ARN of a stream, an old one too.
    pub table: String,
    /// Id of a shard of it; not every command takes one.
    pub shard: Option<String>,
    /// Which account's; needed when tables of several bear the name.
    pub account: Option<String>,
    /// Which Region's; likewise.
    pub region: Option<String>,
}

impl Names {
    /// A table, or a stream by its ARN.
    pub fn table(name: &str) -> Self {
        Self { table: name.to_owned(), ..Self::default() }
    }

    /// The same, and one shard of it.
    #[must_use]
    pub fn with_shard(self, id: &str) -> Self {
        Self { shard: Some(id.to_owned()), ..self }
    }
}

/// What was found under the names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    table: Option<TableId>,
    stream: Option<StreamUid>,
}

impl Target {
    pub fn table(self) -> Result<TableId, Refused> {
        self.table.ok_or_else(|| Refused::invalid("the stream is switched off, or its table is gone"))
    }

    pub fn stream(self) -> Result<StreamUid, Refused> {
        self.stream.ok_or_else(|| Refused::invalid("the table has no stream and never had one"))
    }

    /// The stream, if there is one.
    pub fn maybe_stream(self) -> Option<StreamUid> {
        self.stream
    }

    /// The table, unless the stream is an ended one.
    pub fn maybe_table(self) -> Option<TableId> {
        self.table
    }
}

/// Finds a table with its newest stream, or a stream with its table if it is switched on.
pub(super) fn find(catalog: &Catalog, names: &Names) -> Result<Target, Refused> {
    if names.table.is_empty() {
        return Err(Refused::invalid("name a table, or a stream by its ARN"));
    }
    if names.table.starts_with("arn:") {
        let found = catalog.all_streams().find(|stream| stream.arn().to_string() == names.table);
        let stream = found.ok_or_else(|| Refused::not_found(format!("no stream {}", names.table)))?;
        let table = catalog.table_by_id(stream.table).filter(|table| table.stream == Some(stream.uid));
        return Ok(Target { table: table.map(|table| table.id), stream: Some(stream.uid) });
    }
    let wanted = |scope: &Scope| {
        names.account.as_deref().is_none_or(|account| account == &*scope.account)
            && names.region.as_deref().is_none_or(|region| region == &*scope.region)
    };
    let mut found: Vec<_> =
        catalog.all_tables().filter(|table| table.name == names.table && wanted(&table.scope)).collect();
    match (found.pop(), found.is_empty()) {
        (Some(table), true) => Ok(Target { table: Some(table.id), stream: table.latest_stream }),
        (Some(last), false) => {
            let scopes = found.iter().chain([&last]).map(|table| table.scope.to_string()).collect::<Vec<_>>();
            let reason = format!("several tables are named {}: say which account and Region", names.table);
            Err(Refused::invalid(format!("{reason} ({})", scopes.join(", "))))
        }
        (None, _) => Err(Refused::not_found(format!("no table {}", names.table))),
    }
}
