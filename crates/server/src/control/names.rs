//! Which table, stream or shard is meant.

use std::sync::Arc;

use headwater_catalog::{DataStreamDefinition, Snapshot as Catalog, StreamDefinition, TableDefinition};
use headwater_types::arn::StreamArn;
use headwater_types::{Scope, StreamUid, TableId};

use super::view::Refused;

/// What a command is about, as its caller names it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// The name of a table or, where no table has it, of a data stream, or of a table's stream as Kinesis's operations know
    /// it; or the ARN of a stream, an old one too.
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
    is_data_stream: bool,
}

impl Target {
    fn of_data_stream(stream: &DataStreamDefinition) -> Self {
        Self { table: Some(stream.id), stream: Some(stream.uid), is_data_stream: true }
    }

    /// With its table, if it is switched on.
    fn of_table_stream(catalog: &Catalog, stream: &StreamDefinition) -> Self {
        let table = catalog.table_by_id(stream.table).filter(|table| table.stream == Some(stream.uid));
        Self { table: table.map(|table| table.id), stream: Some(stream.uid), is_data_stream: false }
    }

    /// Whether it is a Kinesis data stream, whose partitions go by the table's identity too.
    pub fn is_data_stream(self) -> bool {
        self.is_data_stream
    }

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

/// Finds a table with its newest stream, a stream with its table if it is switched on, or a data stream.
pub(super) fn find(catalog: &Catalog, names: &Names) -> Result<Target, Refused> {
    if names.table.is_empty() {
        return Err(Refused::invalid("name a table, or a stream by its ARN"));
    }
    if names.table.starts_with("arn:") {
        return by_arn(catalog, &names.table);
    }
    let wanted = |scope: &Scope| {
        names.account.as_deref().is_none_or(|account| account == &*scope.account)
            && names.region.as_deref().is_none_or(|region| region == &*scope.region)
    };
    let tables = catalog.all_tables().filter(|table| table.name == names.table && wanted(&table.scope));
    let table = |table: &Arc<TableDefinition>| Target {
        table: Some(table.id),
        stream: table.latest_stream,
        is_data_stream: false,
    };
    let mut found: Vec<(&Scope, Target)> = tables.map(|each| (&each.scope, table(each))).collect();
    if found.is_empty() {
        let streams = catalog.all_data_streams();
        let streams = streams.filter(|stream| stream.name == names.table && wanted(&stream.scope));
        found.extend(streams.map(|stream| (&stream.scope, Target::of_data_stream(stream))));
        let streams = catalog.all_streams();
        let streams = streams.filter(|stream| stream.kinesis_name() == names.table && wanted(&stream.scope));
        found.extend(streams.map(|stream| (&stream.scope, Target::of_table_stream(catalog, stream))));
    }
    match (found.pop(), found.is_empty()) {
        (Some((_, target)), true) => Ok(target),
        (Some(last), false) => {
            let scopes = found.iter().chain([&last]).map(|(scope, _)| scope.to_string()).collect::<Vec<_>>();
            let kind = if last.1.is_data_stream { "streams" } else { "tables" };
            let reason = format!("several {kind} are named {}: say which account and Region", names.table);
            Err(Refused::invalid(format!("{reason} ({})", scopes.join(", "))))
        }
        (None, _) => Err(Refused::not_found(format!("no table {}, and no data stream", names.table))),
    }
}

fn by_arn(catalog: &Catalog, arn: &str) -> Result<Target, Refused> {
    if let Some(stream) = catalog.all_data_streams().find(|stream| stream.arn() == arn) {
        return Ok(Target::of_data_stream(stream));
    }
    let bears = |name: &StreamArn| name.to_string() == arn || name.kinesis_arn() == arn;
    let found = catalog.all_streams().find(|stream| bears(&stream.arn()));
    let stream = found.ok_or_else(|| Refused::not_found(format!("no stream {arn}")))?;
    Ok(Target::of_table_stream(catalog, stream))
}
