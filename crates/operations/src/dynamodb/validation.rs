//! What is checked across the members of a request on items before any table is looked up.
//!
//! Order: expressions against legacy parameters → names and values without an expression → legacy parameters → attribute
//! values → ReturnValues → size → expressions. Each operation calls these in that order.
//! Source: texts and order as observed by dynalite's tests (putItem, updateItem, query, scan, …).

use std::collections::BTreeMap;

use headwater_api::dynamodb::{ReturnValue, Select};
use headwater_api::{AttributeValue, Error, NewItem};
use headwater_expression::{Condition, Kind, Projection, Substitutions};
use headwater_table::Row;
use headwater_types::Item;

use super::error;

/// A map of attributes as a request brings it.
pub(crate) type Attributes = BTreeMap<String, AttributeValue>;

/// Which parameters a request brings, by the two ways to say things.
pub(crate) struct Parameters<'p> {
    /// Expressions of the operation, in the order in which the service names them.
    pub expressions: &'p [(&'static str, bool)],
    /// Parameters that cannot stand beside them, in that order.
    pub legacy: &'p [(&'static str, bool)],
    /// Whether ExpressionAttributeNames is given.
    pub names: bool,
    /// Whether ExpressionAttributeValues is given.
    pub values: bool,
}

impl Parameters<'_> {
    /// Refuses a mix of both ways, and names or values that nothing can use.
    pub fn check(&self) -> Result<(), Error> {
        let given = |list: &[(&'static str, bool)]| -> Vec<&'static str> {
            list.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect()
        };
        let expressions = given(self.expressions);
        let key_expression = expressions.contains(&"KeyConditionExpression");
        let mut legacy = given(self.legacy);
        // Old key conditions go with a new filter.
        legacy.retain(|name| *name != "KeyConditions" || key_expression);
        if !expressions.is_empty() && !legacy.is_empty() {
            return Err(Error::validation(format!(
                "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: \
                 {{{}}} Expression parameters: {{{}}}",
                legacy.join(", "),
                expressions.join(", ")
            )));
        }
        if self.names && expressions.is_empty() {
            return Err(Error::validation("ExpressionAttributeNames can only be specified when using expressions"));
        }
        if !self.values {
            return Ok(());
        }
        let with_values: Vec<&(&str, bool)> =
            self.expressions.iter().filter(|(name, _)| *name != "ProjectionExpression").collect();
        if !with_values.is_empty() && with_values.iter().all(|(_, given)| !given) {
            let names: Vec<&str> = with_values.iter().map(|(name, _)| *name).collect();
            let verb = if names.len() == 1 { "is" } else { "are" };
            return Err(Error::validation(format!(
                "ExpressionAttributeValues can only be specified when using expressions: {} {verb} null",
                names.join(" and ")
            )));
        }
        Ok(())
    }
}

/// An item or a key whose values are all good.
///
/// Errors: ValidationException of the first value that is none.
pub(crate) fn item(attributes: Attributes) -> Result<Item, Error> {
    let mut item = Item::default();
    for (name, value) in attributes {
        item.insert(name, value.check()?);
    }
    Ok(item)
}

/// The item of a put, if its values are all good.
///
/// Errors: ValidationException of the first value that is none.
pub(crate) fn new_row(item: &NewItem) -> Result<Row, Error> {
    item.sized_bytes().map(|bytes| Row::from_stored(bytes.clone()))
}

/// An item whose values are all good, copied: the request itself is needed once more.
pub(crate) fn item_ref(attributes: &Attributes) -> Result<Item, Error> {
    let checked = |(name, value): (&String, &AttributeValue)| match value.as_valid() {
        Ok(value) => Ok((name.clone(), value.clone())),
        Err(invalid) => Err(Error::from(invalid.clone())),
    };
    attributes.iter().map(checked).collect()
}

/// A start key whose values are all good; most texts about its values have their own beginning.
pub(crate) fn start_key(attributes: Option<Attributes>) -> Result<Option<Item>, Error> {
    let Some(attributes) = attributes else { return Ok(None) };
    let bare = ["contains duplicates", "number set", "numeric value", "significant digits", "number with magnitude"];
    let wrapped = |(name, value): (String, AttributeValue)| match value {
        AttributeValue::Valid(value) => Ok((name, value)),
        AttributeValue::Invalid(invalid) => {
            let text = invalid.message();
            let beginning = if bare.iter().any(|part| text.contains(part)) { "" } else { STARTING_KEY };
            Err(Error::validation(format!("{beginning}{text}")))
        }
    };
    attributes.into_iter().map(wrapped).collect::<Result<Item, Error>>().map(Some)
}

/// Names and values for all expressions of a request.
///
/// Errors: ValidationException: an empty map, a wrong placeholder, then a value that is none.
pub(crate) fn substitutions(
    names: Option<BTreeMap<String, String>>,
    values: Option<Attributes>,
) -> Result<Substitutions, Error> {
    let mut wrong = None;
    let checked = values.map(|values| {
        let mut value = |(key, value): (String, AttributeValue)| match value {
            AttributeValue::Valid(value) => (key, value),
            AttributeValue::Invalid(invalid) => {
                let text =
                    format!("ExpressionAttributeValues contains invalid value: {} for key {key}", invalid.message());
                wrong.get_or_insert(text);
                (key, headwater_types::AttributeValue::Null)
            }
        };
        values.into_iter().map(&mut value).collect::<BTreeMap<_, _>>()
    });
    let substitutions = Substitutions::new(names, checked).map_err(error::expression)?;
    match wrong {
        Some(text) => Err(Error::validation(text)),
        None => Ok(substitutions),
    }
}

/// A condition or a filter, if there is one.
pub(crate) fn condition(
    kind: Kind,
    text: Option<&str>,
    substitutions: &mut Substitutions,
) -> Result<Option<Condition>, Error> {
    text.map(|text| Condition::parse(kind, text, substitutions)).transpose().map_err(error::expression)
}

/// A projection, if there is one.
pub(crate) fn projection(text: Option<&str>, substitutions: &mut Substitutions) -> Result<Option<Projection>, Error> {
    text.map(|text| Projection::parse(text, substitutions)).transpose().map_err(error::expression)
}

/// How refusals of a start key begin.
pub(crate) const STARTING_KEY: &str = "The provided starting key is invalid: ";

/// ReturnValues of PutItem and DeleteItem: whether the old item is asked for.
pub(crate) fn all_old(wanted: Option<ReturnValue>) -> Result<bool, Error> {
    match wanted {
        None | Some(ReturnValue::None) => Ok(false),
        Some(ReturnValue::AllOld) => Ok(true),
        Some(ReturnValue::UpdatedOld | ReturnValue::AllNew | ReturnValue::UpdatedNew) => {
            Err(Error::validation("ReturnValues can only be ALL_OLD or NONE"))
        }
    }
}

/// Select against the parameter that names attributes, if one does, and the index: whether only counts are asked for.
///
/// Source: moto's tests that were run on the service (test_dynamodb_select); Query has words in front that Scan has not.
pub(crate) fn select(wanted: Option<Select>, shows: Option<&str>, index: bool, beginning: &str) -> Result<bool, Error> {
    let refuse = |detail: &str| Err(Error::validation(format!("{beginning}{detail}")));
    match (wanted, shows) {
        (Some(Select::AllProjectedAttributes), _) if !index => {
            refuse("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
        }
        (Some(Select::SpecificAttributes), None) => {
            refuse("Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES")
        }
        (Some(all @ (Select::AllAttributes | Select::AllProjectedAttributes)), Some(parameter)) => {
            refuse(&format!("Cannot specify the {parameter} when choosing to get {}", all.as_str()))
        }
        (Some(Select::Count), Some(parameter)) => {
            refuse(&format!("Cannot specify the {parameter} when choosing to get only the Count"))
        }
        (wanted, _) => Ok(wanted == Some(Select::Count)),
    }
}

/// Segment and TotalSegments: both or none, and one within the other.
///
/// Shape: (segment, total).
pub(crate) fn segments(segment: Option<i32>, total: Option<i32>) -> Result<Option<(u32, u32)>, Error> {
    match (segment, total) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::validation(
            "The TotalSegments parameter is required but was not present in the request when Segment parameter is present",
        )),
        (None, Some(_)) => Err(Error::validation(
            "The Segment parameter is required but was not present in the request when parameter TotalSegments is present",
        )),
        (Some(segment), Some(total)) if segment >= total => Err(Error::validation(format!(
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: {segment} is not \
             less than TotalSegments: {total}"
        ))),
        // The model keeps both from being negative.
        (Some(segment), Some(total)) => Ok(Some((segment.unsigned_abs(), total.unsigned_abs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        expressions: &[(&'static str, bool)],
        legacy: &[(&'static str, bool)],
        names: bool,
        values: bool,
    ) -> String {
        let parameters = Parameters { expressions, legacy, names, values };
        parameters.check().map_or_else(|error| error.message().unwrap_or_default().to_owned(), |()| String::new())
    }

    #[test]
    fn parameters_are_of_one_way() {
        let query = |projection, filter, key| {
            [("ProjectionExpression", projection), ("FilterExpression", filter), ("KeyConditionExpression", key)]
        };
        let mixed = "Can not use both expression and non-expression parameters in the same request: Non-expression \
                     parameters: {QueryFilter, KeyConditions} Expression parameters: {KeyConditionExpression}";
        let legacy = [("QueryFilter", true), ("KeyConditions", true)];
        assert_eq!(check(&query(false, false, true), &legacy, false, false), mixed);
        assert_eq!(check(&query(true, false, false), &[("KeyConditions", true)], false, false), "");
        assert_eq!(check(&query(false, false, false), &legacy, false, false), "");
        let names = "ExpressionAttributeNames can only be specified when using expressions";
        assert_eq!(check(&query(false, false, false), &[], true, true), names);
        let values = "ExpressionAttributeValues can only be specified when using expressions: FilterExpression and \
                      KeyConditionExpression are null";
        assert_eq!(check(&query(true, false, false), &[], true, true), values);
        assert_eq!(check(&query(true, true, false), &[], true, true), "");
    }

    #[test]
    fn segments_come_in_pairs() {
        assert_eq!(segments(None, None).expect("none"), None);
        assert_eq!(segments(Some(0), Some(1)).expect("one"), Some((0, 1)));
        for (segment, total) in [(Some(0), None), (None, Some(1)), (Some(1), Some(1)), (Some(5), Some(2))] {
            assert!(segments(segment, total).is_err(), "{segment:?} of {total:?}");
        }
    }

    #[test]
    fn select_goes_with_projection_and_index() {
        assert!(!select(None, Some("ProjectionExpression"), false, "").expect("projection alone"));
        assert!(select(Some(Select::Count), None, false, "").expect("count"));
        assert!(!select(Some(Select::AllProjectedAttributes), None, true, "").expect("of an index"));
        for (wanted, projection) in [
            (Select::AllProjectedAttributes, false),
            (Select::SpecificAttributes, false),
            (Select::AllAttributes, true),
            (Select::Count, true),
        ] {
            let shows = projection.then_some("AttributesToGet");
            assert!(select(Some(wanted), shows, false, "").is_err(), "{wanted:?} {projection}");
        }
    }
}
