//! Legacy parameters of requests, checked in the service's order and lowered to the trees of expressions.
//!
//! Source: texts and order as observed by dynalite's tests (putItem, updateItem, query, scan).

use std::collections::{BTreeMap, BTreeSet};

use headwater_api::Error;
use headwater_api::dynamodb as api;
use headwater_api::dynamodb::{AttributeAction, ComparisonOperator, ConditionalOperator, ExpectedAttributeValue};
use headwater_expression::legacy::{self, Change, Operator};
use headwater_expression::{Condition, KeyCondition, Path, Projection, Update};
use headwater_types::AttributeValue;

use super::error;
use super::table::invalid;

/// Holds ConditionalOperator to the conditions that it joins: how many, or none at all.
pub(super) fn joins(operator: Option<ConditionalOperator>, conditions: Option<usize>) -> Result<(), Error> {
    match (operator, conditions) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Error::validation("ConditionalOperator cannot be used without Filter or Expected")),
        (Some(_), Some(0 | 1)) => Err(Error::validation(
            "ConditionalOperator can only be used when Filter or Expected has two or more elements",
        )),
        (Some(_), Some(_)) => Ok(()),
    }
}

/// Expected as a condition; none when nothing is expected.
pub(super) fn expected(
    given: Option<BTreeMap<String, ExpectedAttributeValue>>,
    operator: Option<ConditionalOperator>,
) -> Result<Option<Condition>, Error> {
    let any = operator == Some(ConditionalOperator::Or);
    let conditions = given.unwrap_or_default().into_iter().map(|(name, wanted)| expectation(&name, wanted));
    Ok(legacy::joined(conditions.collect::<Result<Vec<_>, _>>()?, any))
}

fn expectation(name: &str, wanted: ExpectedAttributeValue) -> Result<Condition, Error> {
    let (list, single) = (wanted.attribute_value_list, wanted.value);
    if list.is_some() && single.is_some() {
        return invalid(format!("Value and AttributeValueList cannot be used together for Attribute: {name}"));
    }
    let Some(operator) = wanted.comparison_operator.map(lowered) else {
        if list.is_some() {
            return invalid(format!(
                "AttributeValueList can only be used with a ComparisonOperator for Attribute: {name}"
            ));
        }
        return existence(name, wanted.exists, single);
    };
    if wanted.exists.is_some() {
        return invalid(format!("Exists and ComparisonOperator cannot be used together for Attribute: {name}"));
    }
    if !operator.is_unary() && list.is_none() && single.is_none() {
        return invalid(format!(
            "Value or AttributeValueList must be used with ComparisonOperator: {} for Attribute: {name}",
            operator.as_str()
        ));
    }
    compared(name, operator, list.unwrap_or_else(|| single.into_iter().collect()))
}

/// The oldest form: a value that the attribute has, or that it must not exist.
fn existence(
    name: &str,
    exists: Option<bool>,
    value: Option<headwater_api::AttributeValue>,
) -> Result<Condition, Error> {
    match (exists, value) {
        (None | Some(true), Some(value)) => Ok(Operator::Eq.condition(name, vec![value.check()?])),
        (None | Some(true), None) => {
            let exists = exists.map_or("null", |_| "true");
            invalid(format!("Value must be provided when Exists is {exists} for Attribute: {name}"))
        }
        (Some(false), Some(_)) => invalid(format!("Value cannot be used when Exists is false for Attribute: {name}")),
        (Some(false), None) => Ok(Operator::Null.condition(name, Vec::new())),
    }
}

/// QueryFilter or ScanFilter as a condition; none when it is empty.
pub(super) fn filter(
    given: Option<BTreeMap<String, api::Condition>>,
    operator: Option<ConditionalOperator>,
) -> Result<Option<Condition>, Error> {
    let any = operator == Some(ConditionalOperator::Or);
    let conditions = given.unwrap_or_default().into_iter().map(|(name, wanted)| {
        compared(&name, lowered(wanted.comparison_operator), wanted.attribute_value_list.unwrap_or_default())
    });
    Ok(legacy::joined(conditions.collect::<Result<Vec<_>, _>>()?, any))
}

/// KeyConditions as tests of keys.
pub(super) fn key_conditions(given: BTreeMap<String, api::Condition>) -> Result<KeyCondition, Error> {
    let mut tests = Vec::with_capacity(given.len());
    for (name, wanted) in given {
        let operator = lowered(wanted.comparison_operator);
        let values = checked(operator, wanted.attribute_value_list.unwrap_or_default())?;
        tests.push((name, operator, values));
    }
    if !(1..=2).contains(&tests.len()) {
        return Err(Error::validation("Conditions can be of length 1 or 2 only"));
    }
    let test = |(name, operator, values): (String, Operator, Vec<AttributeValue>)| {
        Ok((name, operator.key_test(values).map_err(error::expression)?))
    };
    Ok(KeyCondition::of(tests.into_iter().map(test).collect::<Result<_, Error>>()?))
}

/// AttributeUpdates as an update; none when there are none.
pub(super) fn updates(given: Option<BTreeMap<String, api::AttributeValueUpdate>>) -> Result<Option<Update>, Error> {
    let Some(given) = given.filter(|given| !given.is_empty()) else { return Ok(None) };
    let mut changes = Vec::with_capacity(given.len());
    for (name, wanted) in given {
        let value = wanted.value.map(|value| value.check()).transpose()?;
        let change = match (wanted.action.unwrap_or(AttributeAction::Put), value) {
            (AttributeAction::Delete, value) => Change::Delete(value),
            (AttributeAction::Put, Some(value)) => Change::Put(value),
            (AttributeAction::Add, Some(value)) => Change::Add(value),
            (AttributeAction::Put | AttributeAction::Add, None) => {
                return invalid("Only DELETE action is allowed when no attribute value is specified");
            }
        };
        changes.push((name, change));
    }
    legacy::update(changes).map(Some).map_err(error::expression)
}

/// AttributesToGet as a projection on whole attributes.
pub(super) fn attributes_to_get(names: Option<&[String]>) -> Result<Option<Projection>, Error> {
    let Some(names) = names else { return Ok(None) };
    let mut seen = BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(*name)) {
        return invalid(format!("Duplicate value in attribute name: {twice}"));
    }
    Ok(Some(Projection::of(names.iter().map(Path::attribute).collect())))
}

fn compared(name: &str, operator: Operator, values: Vec<headwater_api::AttributeValue>) -> Result<Condition, Error> {
    Ok(operator.condition(name, checked(operator, values)?))
}

fn checked(operator: Operator, values: Vec<headwater_api::AttributeValue>) -> Result<Vec<AttributeValue>, Error> {
    let values = values.into_iter().map(|value| value.check()).collect::<Result<Vec<_>, _>>()?;
    operator.check(&values).map_err(error::expression)?;
    Ok(values)
}

fn lowered(operator: ComparisonOperator) -> Operator {
    match operator {
        ComparisonOperator::Eq => Operator::Eq,
        ComparisonOperator::Ne => Operator::Ne,
        ComparisonOperator::Le => Operator::Le,
        ComparisonOperator::Lt => Operator::Lt,
        ComparisonOperator::Ge => Operator::Ge,
        ComparisonOperator::Gt => Operator::Gt,
        ComparisonOperator::NotNull => Operator::NotNull,
        ComparisonOperator::Null => Operator::Null,
        ComparisonOperator::Contains => Operator::Contains,
        ComparisonOperator::NotContains => Operator::NotContains,
        ComparisonOperator::BeginsWith => Operator::BeginsWith,
        ComparisonOperator::In => Operator::In,
        ComparisonOperator::Between => Operator::Between,
    }
}
