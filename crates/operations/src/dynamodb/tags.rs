//! TagResource, UntagResource, ListTagsOfResource, and what is checked of tags wherever they are given.
//!
//! Source: observations of the service in AWS Controllers for Kubernetes (DynamoDB quirks, October 2026: DDB-TABLE-071,
//! DDB-TABLE-101 to DDB-TABLE-110, DDB-TABLE-372); "Tagging restrictions in DynamoDB", DynamoDB developer guide.

use std::collections::{BTreeMap, BTreeSet};

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::{access, errors};
use headwater_api::{Call, Error};
use headwater_catalog::{Snapshot, TableDefinition, TableState};
use headwater_log::{Change, Defined, Definition};
use headwater_types::Millis;
use headwater_types::arn::TableArn;

use super::error;
use super::resource::{Asking, Resource};
use super::table::in_use;
use crate::service::Operations;

/// Of one resource, and of one request. Source: "Tagging restrictions in DynamoDB".
const TAGS_MAX: usize = 50;
/// Unit: characters. Source: as above.
const KEY_CHARS_MAX: usize = 128;
/// Unit: characters. Source: as above.
const VALUE_CHARS_MAX: usize = 256;

/// TagResource.
pub(crate) async fn tag(
    service: &Operations,
    call: &Call,
    input: api::TagResourceInput,
) -> Result<api::TagResourceOutput, Error> {
    let resource = Resource::parse(call, &input.resource_arn, Asking::Tags)?;
    if input.tags.is_empty() {
        return Err(Error::validation("Atleast one Tag needs to be provided as Input."));
    }
    let set = checked(&input.tags)?;
    call.authorize(&access::tag_resource(call, &input))?;
    change(service, resource, input.resource_arn, Edit::Set(set)).await?;
    Ok(api::TagResourceOutput {})
}

/// UntagResource: a key that is not there is no error.
pub(crate) async fn untag(
    service: &Operations,
    call: &Call,
    input: api::UntagResourceInput,
) -> Result<api::UntagResourceOutput, Error> {
    let resource = Resource::parse(call, &input.resource_arn, Asking::Tags)?;
    if input.tag_keys.is_empty() {
        return Err(Error::validation("Atleast one Tag Key needs to be provided as Input."));
    }
    input.tag_keys.iter().try_for_each(|key| check_key(Some(key)).map(drop))?;
    if input.tag_keys.len() > TAGS_MAX {
        return Err(too_many());
    }
    call.authorize(&access::untag_resource(call, &input))?;
    let keys = input.tag_keys.iter().cloned().collect();
    change(service, resource, input.resource_arn, Edit::Remove(keys)).await?;
    Ok(api::UntagResourceOutput {})
}

/// ListTagsOfResource: all of them, on one page.
pub(crate) async fn list(
    service: &Operations,
    call: &Call,
    input: api::ListTagsOfResourceInput,
) -> Result<api::ListTagsOfResourceOutput, Error> {
    let resource = Resource::parse(call, &input.resource_arn, Asking::Tags)?;
    call.authorize(&access::list_tags_of_resource(call, &input))?;
    let catalog = service.log.catalog().map_err(error::defining)?;
    let Some(table) = tagged(&catalog, &resource) else { return Err(not_found(&input.resource_arn)) };
    let tag = |(key, value): (&String, &String)| api::Tag { key: Some(key.clone()), value: Some(value.clone()) };
    Ok(api::ListTagsOfResourceOutput { tags: Some(table.tags.iter().map(tag).collect()), next_token: None })
}

/// The tags of a request, each and all together checked.
///
/// Errors: ValidationException.
pub(crate) fn checked(tags: &[api::Tag]) -> Result<BTreeMap<String, String>, Error> {
    let mut set = BTreeMap::new();
    for tag in tags {
        let key = check_key(tag.key.as_deref())?;
        let value = check_value(tag.value.as_deref())?;
        if set.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Error::validation(format!(
                "Duplicate Tag Keys provided as input: Duplicate Tag Key found {key}"
            )));
        }
    }
    if tags.len() > TAGS_MAX { Err(too_many()) } else { Ok(set) }
}

fn check_key(key: Option<&str>) -> Result<&str, Error> {
    let fits = key.filter(|key| !key.is_empty() && fits(key, KEY_CHARS_MAX));
    let Some(key) = fits else {
        return Err(Error::validation(format!("The Tag Key provided is invalid, Key: {}", key.unwrap_or("null"))));
    };
    if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
        return Err(Error::validation(format!("Tag Key cannot be prefixed with aws:, Key: {key}")));
    }
    Ok(key)
}

fn check_value(value: Option<&str>) -> Result<&str, Error> {
    value.filter(|value| fits(value, VALUE_CHARS_MAX)).ok_or_else(|| {
        Error::validation(format!("The Tag Value provided is invalid, Value: {}", value.unwrap_or("null")))
    })
}

/// Letters, digits and blanks of any script, and `+ - = . _ : / @`.
fn fits(text: &str, chars_max: usize) -> bool {
    let allowed = |c: char| {
        c.is_alphanumeric()
            || (c.is_whitespace() && !c.is_control())
            || matches!(c, '+' | '-' | '=' | '.' | '_' | ':' | '/' | '@')
    };
    text.chars().count() <= chars_max && text.chars().all(allowed)
}

fn too_many() -> Error {
    Error::validation("Number of Tags exceed the current limit for the provided ResourceArn")
}

fn not_found(arn: &str) -> Error {
    errors::resource_not_found(format!("Requested resource not found: ResourceArn: {arn} not found"))
}

/// Only tables bear tags: a stream's ARN names nothing that does.
fn tagged<'c>(catalog: &'c Snapshot, resource: &Resource) -> Option<&'c TableDefinition> {
    match resource {
        Resource::Table(TableArn { scope, table }) => catalog.table(scope, table).map(|table| &**table),
        Resource::Stream(_) => None,
    }
}

async fn change(service: &Operations, resource: Resource, arn: String, edit: Edit) -> Result<(), Error> {
    service.log.define(Retag { resource, arn, edit }).await.map_err(error::defining)?
}

enum Edit {
    Set(BTreeMap<String, String>),
    Remove(BTreeSet<String>),
}

struct Retag {
    resource: Resource,
    arn: String,
    edit: Edit,
}

impl Definition for Retag {
    type Answer = Result<(), Error>;

    fn decide(&mut self, catalog: &Snapshot, _now: Millis) -> Defined<Self::Answer> {
        let Some(table) = tagged(catalog, &self.resource) else {
            return Defined::Answer(Err(not_found(&self.arn)));
        };
        let state = match table.state {
            TableState::Active | TableState::Updating => None,
            TableState::Creating => Some("created"),
            TableState::Deleting => Some("deleted"),
        };
        if let Some(state) = state {
            return Defined::Answer(Err(in_use(&format!("Table is being {state}: {}", table.name))));
        }
        let mut changed = table.clone();
        match &self.edit {
            Edit::Set(tags) => changed.tags.extend(tags.clone()),
            Edit::Remove(keys) => changed.tags.retain(|key, _| !keys.contains(key)),
        }
        if changed.tags.len() > TAGS_MAX {
            return Defined::Answer(Err(too_many()));
        }
        if changed.tags == table.tags {
            return Defined::Answer(Ok(()));
        }
        Defined::Change(vec![Change::Record { table: Box::new(changed) }])
    }

    fn answer(&mut self, _catalog: &Snapshot) -> Self::Answer {
        Ok(())
    }
}
