//! Key conditions: one test for the partition key, at most one for the sort key.

use headwater_types::AttributeValue;

use crate::bind::Substitutions;
use crate::condition::{Comparator, Condition, scalar_order};
use crate::error::{Error, Kind};
use crate::operand::Operand;
use crate::path::Path;

const KIND: Kind = Kind::KeyCondition;

/// A bound key condition, not held against a schema yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyCondition {
    /// Tests by attribute, in order of appearance; each attribute once.
    tests: Vec<(String, RangeCondition)>,
}

/// A test of a key attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RangeCondition {
    /// `=`
    Equal(AttributeValue),
    /// `<`
    Less(AttributeValue),
    /// `<=`
    LessOrEqual(AttributeValue),
    /// `>`
    Greater(AttributeValue),
    /// `>=`
    GreaterOrEqual(AttributeValue),
    /// Both bounds included.
    Between(AttributeValue, AttributeValue),
    /// A string or binary that begins so.
    BeginsWith(AttributeValue),
}

impl RangeCondition {
    /// The values it compares with.
    pub fn values(&self) -> Vec<&AttributeValue> {
        match self {
            Self::Equal(v) | Self::Less(v) | Self::LessOrEqual(v) | Self::Greater(v) | Self::GreaterOrEqual(v) => {
                vec![v]
            }
            Self::BeginsWith(v) => vec![v],
            Self::Between(low, high) => vec![low, high],
        }
    }

    /// Whether a key attribute's value meets the test.
    pub fn accepts(&self, value: &AttributeValue) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let order = |other: &AttributeValue| scalar_order(value, other);
        match self {
            Self::Equal(other) => order(other) == Some(Equal),
            Self::Less(other) => order(other) == Some(Less),
            Self::LessOrEqual(other) => matches!(order(other), Some(Less | Equal)),
            Self::Greater(other) => order(other) == Some(Greater),
            Self::GreaterOrEqual(other) => matches!(order(other), Some(Greater | Equal)),
            Self::Between(low, high) => {
                matches!(order(low), Some(Greater | Equal)) && matches!(order(high), Some(Less | Equal))
            }
            Self::BeginsWith(start) => match (value, start) {
                (AttributeValue::S(value), AttributeValue::S(start)) => value.starts_with(start.as_str()),
                (AttributeValue::B(value), AttributeValue::B(start)) => value.starts_with(start),
                _ => false,
            },
        }
    }
}

/// Names and type codes of the key attributes that a query runs on.
#[derive(Clone, Copy, Debug)]
pub struct KeyNames<'a> {
    /// Attributes of the partition key: name and type code. A table's has one, an index's up to four.
    pub hash: &'a [(&'a str, &'a str)],
    /// Attributes of the sort key, in order.
    pub range: &'a [(&'a str, &'a str)],
}

/// What a query reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyQuery {
    /// Values of the partition key's attributes.
    pub hash: Vec<AttributeValue>,
    /// Values of the sort key's first attributes, where it has several.
    pub equal: Vec<AttributeValue>,
    /// Test of the sort key's next attribute.
    pub range: Option<RangeCondition>,
}

impl KeyCondition {
    /// Parses and binds a key condition.
    pub fn parse(text: &str, substitutions: &mut Substitutions) -> Result<Self, Error> {
        let condition = Condition::parse(KIND, text, substitutions)?;
        let mut tests = Vec::new();
        collect(condition, &mut tests)?;
        for (i, (name, _)) in tests.iter().enumerate() {
            if tests[..i].iter().any(|(other, _)| other == name) {
                return Err(Error::new("KeyConditionExpressions must only contain one condition per key"));
            }
        }
        Ok(Self { tests })
    }

    /// Tests made by other means than an expression; each attribute is named once.
    pub fn of(tests: Vec<(String, RangeCondition)>) -> Self {
        Self { tests }
    }

    /// Holds the tests against the keys of a table or index.
    ///
    /// Errors: a key element without a test, a test that is none of a key's, an operator that the partition key does not
    /// take, a value of another type than the key's; of a sort key of several attributes, a gap before the last one tested
    /// or a test there that is no equality.
    pub fn against(self, keys: &KeyNames<'_>) -> Result<KeyQuery, Error> {
        match (keys.hash, keys.range) {
            ([hash], [] | [_]) => self.against_simple(*hash, keys.range.first().copied()),
            _ => self.against_several(keys),
        }
    }

    fn against_simple(mut self, hash_key: (&str, &str), range_key: Option<(&str, &str)>) -> Result<KeyQuery, Error> {
        if self.tests.len() > 2 {
            return Err(Error::new("Conditions can be of length 1 or 2 only"));
        }
        let Some(hash) = self.take(hash_key.0) else { return Err(missed(hash_key.0)) };
        let range = match (self.tests.pop(), range_key) {
            (None, _) => None,
            (Some((name, test)), Some((key, code))) if name == key => Some((test, code)),
            (Some(_), Some((key, _))) => return Err(missed(key)),
            (Some(_), None) => return Err(unsupported()),
        };
        let hash = equality(hash, hash_key.1)?;
        if let Some((test, code)) = &range {
            test.values().into_iter().try_for_each(|value| check_type(value, code))?;
        }
        Ok(KeyQuery { hash: vec![hash], equal: Vec::new(), range: range.map(|(test, _)| test) })
    }

    /// Source: "Multi-attribute keys", DynamoDB developer guide; texts of gaps observed on the service.
    fn against_several(mut self, keys: &KeyNames<'_>) -> Result<KeyQuery, Error> {
        let mut hash = Vec::with_capacity(keys.hash.len());
        for (name, code) in keys.hash {
            let test = self.take(name).ok_or_else(|| missed(name))?;
            hash.push(equality(test, code)?);
        }
        let tests: Vec<Option<RangeCondition>> = keys.range.iter().map(|(name, _)| self.take(name)).collect();
        if !self.tests.is_empty() {
            return Err(unsupported());
        }
        let Some(last) = tests.iter().rposition(Option::is_some) else {
            return Ok(KeyQuery { hash, equal: Vec::new(), range: None });
        };
        let (mut equal, mut wrong, mut range) = (Vec::new(), Vec::new(), None);
        for (at, (test, (name, code))) in tests.into_iter().zip(keys.range).enumerate().take(last + 1) {
            let values = test.iter().flat_map(RangeCondition::values);
            values.into_iter().try_for_each(|value| check_type(value, code))?;
            match test {
                test if at == last => range = test,
                Some(RangeCondition::Equal(value)) => equal.push(value),
                _ => wrong.push(*name),
            }
        }
        if !wrong.is_empty() {
            let (wrong, present) = (wrong.join(", "), keys.range.get(last).map_or("", |(name, _)| *name));
            return Err(Error::new(format!(
                "RANGE key attributes {wrong} must have equality conditions specified in the query because a condition is \
                 present on key attribute {present}"
            )));
        }
        Ok(KeyQuery { hash, equal, range })
    }

    fn take(&mut self, name: &str) -> Option<RangeCondition> {
        let at = self.tests.iter().position(|(tested, _)| tested == name)?;
        Some(self.tests.remove(at).1)
    }
}

fn missed(name: &str) -> Error {
    Error::new(format!("Query condition missed key schema element: {name}"))
}

fn unsupported() -> Error {
    Error::new("Query key condition not supported")
}

/// The value of a partition key's attribute.
fn equality(test: RangeCondition, code: &str) -> Result<AttributeValue, Error> {
    let RangeCondition::Equal(value) = test else { return Err(unsupported()) };
    check_type(&value, code)?;
    Ok(value)
}

fn check_type(value: &AttributeValue, code: &str) -> Result<(), Error> {
    if value.type_code() == code {
        return Ok(());
    }
    Err(Error::new("One or more parameter values were invalid: Condition parameter type does not match schema type"))
}

fn invalid_operator(operator: &str) -> Error {
    Error::new(format!("Invalid operator used in KeyConditionExpression: {operator}"))
}

fn collect(condition: Condition, tests: &mut Vec<(String, RangeCondition)>) -> Result<(), Error> {
    let test = match condition {
        Condition::And(a, b) => {
            collect(*a, tests)?;
            return collect(*b, tests);
        }
        Condition::Or(..) => return Err(invalid_operator("OR")),
        Condition::Not(_) => return Err(invalid_operator("NOT")),
        Condition::In(..) => return Err(invalid_operator("IN")),
        Condition::Exists(_) => return Err(invalid_operator("attribute_exists")),
        Condition::NotExists(_) => return Err(invalid_operator("attribute_not_exists")),
        Condition::Type(..) => return Err(invalid_operator("attribute_type")),
        Condition::Contains(..) => return Err(invalid_operator("contains")),
        Condition::Compare(Comparator::NotEqual, ..) => return Err(invalid_operator("<>")),
        Condition::Compare(comparator, a, b) => comparison(comparator, a, b)?,
        Condition::Between(tested, low, high) => {
            let name = key_attribute("BETWEEN", &tested, &[&low, &high])?;
            (name, RangeCondition::Between(given(low)?, given(high)?))
        }
        Condition::BeginsWith(tested, start) => {
            let name = key_attribute("begins_with", &tested, &[&start])?;
            (name, RangeCondition::BeginsWith(given(start)?))
        }
    };
    tests.push(test);
    Ok(())
}

fn comparison(comparator: Comparator, a: Operand, b: Operand) -> Result<(String, RangeCondition), Error> {
    // `:v = key` is read as `key = :v`.
    let (comparator, key, value) = match (&a, &b) {
        (Operand::Value(_), Operand::Path(_)) => (flipped(comparator), b, a),
        _ => (comparator, a, b),
    };
    let name = key_attribute("=", &key, &[&value])?;
    let value = given(value)?;
    let test = match comparator {
        Comparator::Less => RangeCondition::Less(value),
        Comparator::LessOrEqual => RangeCondition::LessOrEqual(value),
        Comparator::Greater => RangeCondition::Greater(value),
        Comparator::GreaterOrEqual => RangeCondition::GreaterOrEqual(value),
        Comparator::Equal | Comparator::NotEqual => RangeCondition::Equal(value),
    };
    Ok((name, test))
}

fn flipped(comparator: Comparator) -> Comparator {
    match comparator {
        Comparator::Less => Comparator::Greater,
        Comparator::LessOrEqual => Comparator::GreaterOrEqual,
        Comparator::Greater => Comparator::Less,
        Comparator::GreaterOrEqual => Comparator::LessOrEqual,
        Comparator::Equal | Comparator::NotEqual => comparator,
    }
}

/// The attribute that a test is about.
fn key_attribute(operator: &str, tested: &Operand, others: &[&Operand]) -> Result<String, Error> {
    let invalid = |text: &str| Error::new(format!("Invalid condition in KeyConditionExpression: {text}"));
    let all = || std::iter::once(tested).chain(others.iter().copied());
    if all().any(|operand| matches!(operand, Operand::Size(_))) {
        return Err(Error::new("KeyConditionExpressions cannot contain nested operations"));
    }
    let is_nested = |operand: &Operand| matches!(operand, Operand::Path(Path(elements)) if elements.len() > 1);
    if all().any(is_nested) {
        return Err(Error::new("KeyConditionExpressions cannot have conditions on nested attributes"));
    }
    let paths = all().filter(|operand| matches!(operand, Operand::Path(_))).count();
    match tested {
        _ if paths == 0 => Err(invalid("No key attribute specified")),
        _ if paths > 1 => Err(invalid("Multiple attribute names used in one condition")),
        Operand::Path(path) => Ok(path.top().to_owned()),
        Operand::Value(_) | Operand::Size(_) => {
            Err(invalid(&format!("{operator} operator must have the key attribute as its first operand")))
        }
    }
}

fn given(operand: Operand) -> Result<AttributeValue, Error> {
    match operand {
        Operand::Value(value) => Ok(value),
        Operand::Path(_) | Operand::Size(_) => Err(Error::new(
            "Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition",
        )),
    }
}
