//! PutResourcePolicy, GetResourcePolicy, DeleteResourcePolicy, and the policy that a table is made with.
//!
//! Policies are kept and shown, not enforced: where callers are verified they are refused, so that nobody relies on one.
//! Source: moto's tests of resource policies, verified by its authors against the service; observations of the service in
//! AWS Controllers for Kubernetes (DynamoDB quirks, October 2026: DDB-TABLE-205 to DDB-TABLE-212).

mod document;

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::{access, errors};
use headwater_api::{Call, Error};
use headwater_catalog::{Snapshot, TableDefinition, TableState};
use headwater_log::{Change, Defined, Definition};
use headwater_types::Millis;
use headwater_types::arn::StreamArn;
use serde_json::{Map, Value, json};

pub(crate) use self::document::Document;
use super::error;
use super::resource::{Asking, Resource};
use super::table::{in_use, not_found};
use crate::service::Operations;

/// Member of `TableDefinition::recorded`: the table's policy, `{ Policy, RevisionId }`, without `Policy` after a deletion.
const TABLE: &str = "ResourcePolicy";
/// Member of `TableDefinition::recorded`: the same for each of the table's streams, by label.
const STREAMS: &str = "StreamResourcePolicies";
/// What stands for a revision when there must be no policy. Source: "PutResourcePolicy", DynamoDB API reference.
const NO_POLICY: &str = "NO_POLICY";

/// PutResourcePolicy.
pub(crate) async fn put(
    service: &Operations,
    call: &Call,
    input: api::PutResourcePolicyInput,
) -> Result<api::PutResourcePolicyOutput, Error> {
    let resource = Resource::parse(call, &input.resource_arn, Asking::Policy)?;
    let document = Document::parse(&input.policy)?;
    call.authorize(&access::put_resource_policy(call, &input))?;
    unenforced(service)?;
    let edit = Edit { resource, expected: input.expected_revision_id, document: Some(document), revision: None };
    let revision_id = service.log.define(edit).await.map_err(error::defining)??;
    Ok(api::PutResourcePolicyOutput { revision_id })
}

/// GetResourcePolicy.
pub(crate) async fn get(
    service: &Operations,
    call: &Call,
    input: api::GetResourcePolicyInput,
) -> Result<api::GetResourcePolicyOutput, Error> {
    let resource = Resource::parse(call, &input.resource_arn, Asking::Policy)?;
    call.authorize(&access::get_resource_policy(call, &input))?;
    let catalog = service.log.catalog().map_err(error::defining)?;
    let table = owner(&catalog, &resource)?;
    let kept = Kept::of(table, &resource);
    let Some(document) = kept.document else { return Err(missing(&input.resource_arn)) };
    Ok(api::GetResourcePolicyOutput { policy: Some(document.render()), revision_id: kept.revision })
}

/// DeleteResourcePolicy: without a policy it is no error.
pub(crate) async fn delete(
    service: &Operations,
    call: &Call,
    input: api::DeleteResourcePolicyInput,
) -> Result<api::DeleteResourcePolicyOutput, Error> {
    let resource = Resource::parse(call, &input.resource_arn, Asking::Policy)?;
    call.authorize(&access::delete_resource_policy(call, &input))?;
    let edit = Edit { resource, expected: input.expected_revision_id, document: None, revision: None };
    let revision_id = service.log.define(edit).await.map_err(error::defining)??;
    Ok(api::DeleteResourcePolicyOutput { revision_id })
}

/// The policy that a table is made with, checked.
pub(crate) fn of_new(service: &Operations, policy: Option<&str>) -> Result<Option<Document>, Error> {
    let Some(policy) = policy else { return Ok(None) };
    let document = Document::parse(policy)?;
    unenforced(service)?;
    Ok(Some(document))
}

/// Keeps a policy with a table that is being made.
pub(crate) fn keep(table: &mut TableDefinition, document: &Document, now: Millis) {
    let kept = Kept { document: Some(document.clone()), revision: Some(now.0.to_string()) };
    table.recorded.insert(TABLE.to_owned(), kept.encode());
}

/// A policy that looks kept and is not enforced would be a hole where callers are verified.
pub(crate) fn unenforced(service: &Operations) -> Result<(), Error> {
    if !service.verifies_callers {
        return Ok(());
    }
    Err(Error::validation(
        "This server does not enforce resource-based policies yet, so it keeps none while it verifies credentials",
    ))
}

fn missing(arn: &str) -> Error {
    errors::policy_not_found(format!("Resource-based policy not found for the provided ResourceArn: {arn}"))
}

/// The table that a resource is or belongs to; a stream must be there.
fn owner<'c>(catalog: &'c Snapshot, resource: &Resource) -> Result<&'c TableDefinition, Error> {
    let arn = resource.table();
    let Some(table) = catalog.table(&arn.scope, &arn.table) else { return Err(not_found(&arn.table)) };
    match resource {
        Resource::Stream(stream) if !has_stream(catalog, table, stream) => Err(errors::resource_not_found(format!(
            "Requested resource not found: Stream: {} not found for Table: {}",
            stream.label, table.name
        ))),
        Resource::Stream(_) | Resource::Table(_) => Ok(table),
    }
}

fn has_stream(catalog: &Snapshot, table: &TableDefinition, stream: &StreamArn) -> bool {
    catalog.stream_by_arn(stream).is_some_and(|stream| stream.table == table.id)
}

/// What is kept for a resource: a policy with its revision, the revision of a deletion, or nothing.
#[derive(Default)]
struct Kept {
    document: Option<Document>,
    revision: Option<String>,
}

impl Kept {
    fn of(table: &TableDefinition, resource: &Resource) -> Self {
        let value = match resource {
            Resource::Table(_) => table.recorded.get(TABLE),
            Resource::Stream(stream) => table.recorded.get(STREAMS).and_then(|streams| streams.get(&stream.label)),
        };
        let text = |name: &str| value?.get(name)?.as_str().map(str::to_owned);
        Self { document: value.and_then(|value| Document::decode(value.get("Policy")?)), revision: text("RevisionId") }
    }

    fn encode(&self) -> Value {
        match &self.document {
            Some(document) => json!({ "Policy": document.encode(), "RevisionId": self.revision }),
            None => json!({ "RevisionId": self.revision }),
        }
    }

    /// Keeps it with its table; policies of streams that are gone go with this occasion.
    fn put(&self, catalog: &Snapshot, table: &mut TableDefinition, resource: &Resource) {
        let label = match resource {
            Resource::Table(_) => {
                table.recorded.insert(TABLE.to_owned(), self.encode());
                return;
            }
            Resource::Stream(stream) => &stream.label,
        };
        let mut streams = match table.recorded.remove(STREAMS) {
            Some(Value::Object(streams)) => streams,
            Some(_) | None => Map::new(),
        };
        let arn = table.arn();
        streams.retain(|label, _| has_stream(catalog, table, &StreamArn { table: arn.clone(), label: label.clone() }));
        streams.insert(label.clone(), self.encode());
        table.recorded.insert(STREAMS.to_owned(), Value::Object(streams));
    }

    /// Whether the caller expects what is there.
    fn expected(&self, expected: Option<&str>, table: &str) -> Result<(), Error> {
        let Some(expected) = expected else { return Ok(()) };
        let why = match (expected, &self.document, &self.revision) {
            (NO_POLICY, None, _) => return Ok(()),
            (expected, Some(_), Some(revision)) if expected == revision => return Ok(()),
            (NO_POLICY, Some(_), revision) => format!(
                "Requested policy update expecting none to be present for table {table}, but a policy exists with \
                 revision id {}.",
                revision.as_deref().unwrap_or_default()
            ),
            (_, _, Some(revision)) => format!(
                "Requested update for policy with revision id {expected}, but the policy associated to target table \
                 {table} has revision id {revision}."
            ),
            (_, _, None) => format!(
                "Requested update for policy with revision id {expected}, but table {table} has no associated policy."
            ),
        };
        Err(missing(&why))
    }

    /// A revision is the moment of the change, later than the one before.
    fn next_revision(&self, now: Millis) -> String {
        let before = self.revision.as_ref().and_then(|revision| revision.parse().ok()).unwrap_or(i64::MIN);
        now.0.max(before.saturating_add(1)).to_string()
    }
}

/// Puts a policy, or with no document deletes the one there is.
struct Edit {
    resource: Resource,
    expected: Option<String>,
    document: Option<Document>,
    /// What is answered once the change is durable.
    revision: Option<String>,
}

impl Definition for Edit {
    type Answer = Result<Option<String>, Error>;

    fn decide(&mut self, catalog: &Snapshot, now: Millis) -> Defined<Self::Answer> {
        let table = match owner(catalog, &self.resource) {
            Ok(table) => table,
            Err(refusal) => return Defined::Answer(Err(refusal)),
        };
        let kept = Kept::of(table, &self.resource);
        if let Err(refusal) = kept.expected(self.expected.as_deref(), &table.name) {
            return Defined::Answer(Err(refusal));
        }
        if kept.document == self.document {
            return Defined::Answer(Ok(kept.revision));
        }
        if let Err(refusal) = changeable(table) {
            return Defined::Answer(Err(refusal));
        }
        let next = Kept { document: self.document.clone(), revision: Some(kept.next_revision(now)) };
        // A deletion answers with the revision it has removed.
        self.revision = if self.document.is_some() { next.revision.clone() } else { kept.revision };
        let mut changed = table.clone();
        next.put(catalog, &mut changed, &self.resource);
        Defined::Change(vec![Change::Record { table: Box::new(changed) }])
    }

    fn answer(&mut self, _catalog: &Snapshot) -> Self::Answer {
        Ok(self.revision.take())
    }
}

fn changeable(table: &TableDefinition) -> Result<(), Error> {
    match table.state {
        TableState::Active | TableState::Updating => Ok(()),
        TableState::Creating => Err(in_use(&format!("Table is being created: {}", table.name))),
        TableState::Deleting => Err(in_use(&format!("Table is being deleted: {}", table.name))),
    }
}
