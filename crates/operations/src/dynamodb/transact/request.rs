//! The actions of a TransactWriteItems, each checked for itself, and what makes two requests the same.

use std::collections::BTreeMap;

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::ReturnValuesOnConditionCheckFailure;
use headwater_api::{Call, Error};
use headwater_expression::{Condition, Kind, Update};
use headwater_types::{Item, stored};

use crate::dynamodb::item::fits;
use crate::dynamodb::validation::{self, Attributes, Parameters};
use crate::dynamodb::{error, name};

/// What an action does.
pub(super) enum Deed {
    Put(Item),
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
    /// The item or the key.
    item: &'a Attributes,
    update: Option<&'a str>,
    condition: Option<&'a str>,
    names: &'a Option<BTreeMap<String, String>>,
    values: &'a Option<Attributes>,
    on_failure: Option<ReturnValuesOnConditionCheckFailure>,
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
        if members.kind == PUT && members.item.contains_key("") {
            // Source: observed on the service by dynamodb-conformance (deepRequests).
            return Err(Error::validation("Empty attribute name"));
        }
        // Expressions come before a key, not before an item.
        let put = (members.kind == PUT).then(|| validation::item_ref(members.item)).transpose()?;
        put.as_ref().map(fits).transpose()?;
        let mut substitutions = validation::substitutions(members.names.clone(), members.values.clone())?;
        let update = members.update.map(|text| Update::parse(text, &mut substitutions));
        let update = update.transpose().map_err(error::expression)?;
        let condition = validation::condition(Kind::Condition, members.condition, &mut substitutions)?;
        substitutions.unused().map_err(error::expression)?;
        let given = put.map_or_else(|| validation::item_ref(members.item), Ok)?;
        let values = members.values.as_ref().map(validation::item_ref).transpose()?;
        let bytes = given.size_bytes() + values.as_ref().map_or(0, Item::size_bytes);
        let said = members.said(&table, &given, values.as_ref());
        let deed = match (members.kind, update) {
            (PUT, _) => Deed::Put(given),
            (_, Some(update)) => Deed::Update(given, update),
            (DELETE, None) => Deed::Delete(given),
            (_, None) => Deed::Check(given),
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
                item: &put.item,
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
                    item: &update.key,
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
                    item: &delete.key,
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
                    item: &check.key,
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
    fn said(&self, table: &str, item: &Item, values: Option<&Item>) -> Vec<u8> {
        let mut said = vec![self.kind, u8::from(self.shows_old())];
        let mut part = |bytes: Option<&[u8]>| {
            said.extend(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_be_bytes());
            said.extend(bytes.unwrap_or_default());
        };
        let encoded = |item: &Item| {
            let mut bytes = Vec::new();
            stored::encode(item, &mut bytes);
            bytes
        };
        part(Some(table.as_bytes()));
        part(Some(&encoded(item)));
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
