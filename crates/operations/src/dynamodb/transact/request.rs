//! The actions of a TransactWriteItems, each checked for itself, and what makes two requests the same.

use std::collections::BTreeMap;

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::ReturnValuesOnConditionCheckFailure;
use headwater_api::{Call, Error, NewItem};
use headwater_expression::{Condition, Kind, Update};
use headwater_table::Row;
use headwater_types::{Item, stored};

use crate::dynamodb::item::fits;
use crate::dynamodb::validation::{self, Attributes, Parameters};
use crate::dynamodb::{error, name};

/// What an action does.
pub(super) enum Deed {
    Put(Row),
    Update(Item, Update),
    Delete(Item),
    Check(Item),
}

/// A checked action.
pub(super) struct Request {
    /// The table as the request names it.
    pub given: String,
    /// Its name.
    pub table: String,
    pub deed: Deed,
    pub condition: Option<Condition>,
    /// Whether a failed condition hands the item out.
    pub show_old: bool,
    /// Size of its items and values. Unit: bytes.
    pub bytes: usize,
    /// All that it says, in one form.
    pub said: Vec<u8>,
}

/// The members that all kinds of actions have.
struct Members<'a> {
    kind: u8,
    table: &'a str,
    item: Given<'a>,
    update: Option<&'a str>,
    condition: Option<&'a str>,
    names: &'a Option<BTreeMap<String, String>>,
    values: &'a Option<Attributes>,
    on_failure: Option<ReturnValuesOnConditionCheckFailure>,
}

/// What an action names: the item of a put, or a key.
#[derive(Clone, Copy)]
enum Given<'a> {
    Item(&'a NewItem),
    Key(&'a Attributes),
}

/// Refuses names that cannot be a table's, before anything else is looked at.
pub(super) fn tables_are_names(items: &[api::TransactWriteItem]) -> Result<(), Error> {
    let named = items.iter().enumerate().flat_map(|(at, item)| {
        let check = item.condition_check.as_ref().map(|check| ("conditionCheck", check.table_name.as_str()));
        let put = item.put.as_ref().map(|put| ("put", put.table_name.as_str()));
        let delete = item.delete.as_ref().map(|delete| ("delete", delete.table_name.as_str()));
        let update = item.update.as_ref().map(|update| ("update", update.table_name.as_str()));
        let each = [check, put, delete, update].into_iter().flatten();
        each.map(move |(kind, table)| (format!("transactItems.{}.member.{kind}.tableName", at + 1), table))
    });
    name::all(named)
}

impl Request {
    /// Errors: ValidationException for what is wrong whatever the table is.
    pub fn checked(call: &Call, item: &api::TransactWriteItem) -> Result<Self, Error> {
        let members = Members::of(item)?;
        let table = name::table(call, members.table)?;
        let condition_given = ("ConditionExpression", members.condition.is_some());
        let update_given = ("UpdateExpression", members.update.is_some());
        let expressions =
            if members.update.is_some() { vec![update_given, condition_given] } else { vec![condition_given] };
        Parameters {
            expressions: &expressions,
            legacy: &[],
            names: members.names.is_some(),
            values: members.values.is_some(),
        }
        .check()?;
        // Expressions come before a key, not before an item.
        let put = match members.item {
            // Source: observed on the service by dynamodb-conformance (deepRequests).
            Given::Item(item) if item.has_empty_name() => return Err(Error::validation("Empty attribute name")),
            Given::Item(item) => {
                let row = validation::new_row(item)?;
                fits(item, &row)?;
                Some(row)
            }
            Given::Key(_) => None,
        };
        let mut substitutions = validation::substitutions(members.names.clone(), members.values.clone())?;
        let update = members.update.map(|text| Update::parse(text, &mut substitutions));
        let update = update.transpose().map_err(error::expression)?;
        let condition = validation::condition(Kind::Condition, members.condition, &mut substitutions)?;
        substitutions.unused().map_err(error::expression)?;
        let key = match members.item {
            Given::Item(_) => Item::default(),
            Given::Key(key) => validation::item_ref(key)?,
        };
        let values = members.values.as_ref().map(validation::item_ref).transpose()?;
        let named_bytes = put.as_ref().map_or_else(|| key.size_bytes(), Row::size_bytes);
        let bytes = named_bytes + values.as_ref().map_or(0, Item::size_bytes);
        let named = match &put {
            Some(row) => row.item_bytes().map_err(error::corrupt)?,
            None => encoded(&key).into(),
        };
        let said = members.said(&table, &named, values.as_ref());
        let deed = match (put, members.kind, update) {
            (Some(row), _, _) => Deed::Put(row),
            (None, _, Some(update)) => Deed::Update(key, update),
            (None, DELETE, None) => Deed::Delete(key),
            (None, _, None) => Deed::Check(key),
        };
        let show_old = members.shows_old();
        Ok(Self { given: members.table.to_owned(), table, deed, condition, show_old, bytes, said })
    }
}

const PUT: u8 = 1;
const UPDATE: u8 = 2;
const DELETE: u8 = 3;
const CHECK: u8 = 4;

impl<'a> Members<'a> {
    fn of(item: &'a api::TransactWriteItem) -> Result<Self, Error> {
        match item {
            api::TransactWriteItem { put: Some(put), update: None, delete: None, condition_check: None } => Ok(Self {
                kind: PUT,
                table: &put.table_name,
                item: Given::Item(&put.item),
                update: None,
                condition: put.condition_expression.as_deref(),
                names: &put.expression_attribute_names,
                values: &put.expression_attribute_values,
                on_failure: put.return_values_on_condition_check_failure,
            }),
            api::TransactWriteItem { put: None, update: Some(update), delete: None, condition_check: None } => {
                Ok(Self {
                    kind: UPDATE,
                    table: &update.table_name,
                    item: Given::Key(&update.key),
                    update: Some(&update.update_expression),
                    condition: update.condition_expression.as_deref(),
                    names: &update.expression_attribute_names,
                    values: &update.expression_attribute_values,
                    on_failure: update.return_values_on_condition_check_failure,
                })
            }
            api::TransactWriteItem { put: None, update: None, delete: Some(delete), condition_check: None } => {
                Ok(Self {
                    kind: DELETE,
                    table: &delete.table_name,
                    item: Given::Key(&delete.key),
                    update: None,
                    condition: delete.condition_expression.as_deref(),
                    names: &delete.expression_attribute_names,
                    values: &delete.expression_attribute_values,
                    on_failure: delete.return_values_on_condition_check_failure,
                })
            }
            api::TransactWriteItem { put: None, update: None, delete: None, condition_check: Some(check) } => {
                Ok(Self {
                    kind: CHECK,
                    table: &check.table_name,
                    item: Given::Key(&check.key),
                    update: None,
                    condition: Some(&check.condition_expression),
                    names: &check.expression_attribute_names,
                    values: &check.expression_attribute_values,
                    on_failure: check.return_values_on_condition_check_failure,
                })
            }
            api::TransactWriteItem { put: None, update: None, delete: None, condition_check: None } => {
                Err(Error::validation(
                    "Invalid Request: TransactWriteRequest should contain Delete or Put or Update request",
                ))
            }
            _ => Err(Error::validation("TransactItems can only contain one of Check, Put, Update or Delete")),
        }
    }

    fn shows_old(&self) -> bool {
        self.on_failure == Some(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// All that an action says, whatever the order and spelling of its JSON.
    fn said(&self, table: &str, named: &[u8], values: Option<&Item>) -> Vec<u8> {
        let mut said = vec![self.kind, u8::from(self.shows_old())];
        let mut part = |bytes: Option<&[u8]>| {
            said.extend(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_be_bytes());
            said.extend(bytes.unwrap_or_default());
        };
        part(Some(table.as_bytes()));
        part(Some(named));
        part(values.map(encoded).as_deref());
        part(self.update.map(str::as_bytes));
        part(self.condition.map(str::as_bytes));
        for (name, attribute) in self.names.iter().flatten() {
            part(Some(name.as_bytes()));
            part(Some(attribute.as_bytes()));
        }
        said
    }
}

fn encoded(item: &Item) -> Vec<u8> {
    let mut bytes = Vec::new();
    stored::encode(item, &mut bytes);
    bytes
}
