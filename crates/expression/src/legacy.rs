//! Legacy parameters lowered to the trees of expressions: comparison operators, conditional operators, update actions.
//!
//! Source: "Legacy conditional parameters", DynamoDB developer guide; texts and order of the refusals as dynalite's tests
//! recorded them of the service.

use headwater_types::AttributeValue;

use crate::condition::{Comparator, Condition, scalar_order};
use crate::error::Error;
use crate::key_condition::RangeCondition;
use crate::operand::Operand;
use crate::path::Path;
use crate::update::{Action, Term, Update, Value};

/// A comparison operator of Expected, KeyConditions, QueryFilter and ScanFilter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are the service's")]
pub enum Operator {
    Eq,
    Ne,
    Le,
    Lt,
    Ge,
    Gt,
    NotNull,
    Null,
    Contains,
    NotContains,
    BeginsWith,
    In,
    Between,
}

/// An update action.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// PUT: the attribute becomes this.
    Put(AttributeValue),
    /// ADD: a number is added, a set united, a list appended.
    Add(AttributeValue),
    /// DELETE: the attribute goes, or these members of a set.
    Delete(Option<AttributeValue>),
}

impl Operator {
    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "EQ",
            Self::Ne => "NE",
            Self::Le => "LE",
            Self::Lt => "LT",
            Self::Ge => "GE",
            Self::Gt => "GT",
            Self::NotNull => "NOT_NULL",
            Self::Null => "NULL",
            Self::Contains => "CONTAINS",
            Self::NotContains => "NOT_CONTAINS",
            Self::BeginsWith => "BEGINS_WITH",
            Self::In => "IN",
            Self::Between => "BETWEEN",
        }
    }

    /// Whether it takes no value.
    pub fn is_unary(self) -> bool {
        matches!(self, Self::Null | Self::NotNull)
    }

    /// Checks how many values it is given, of which types, and their order.
    ///
    /// Errors: a type that it does not take, too many or too few values, values of several types, bounds in a wrong order.
    pub fn check(self, values: &[AttributeValue]) -> Result<(), Error> {
        self.check_types(values)?;
        let fits = match self {
            Self::Null | Self::NotNull => values.is_empty(),
            Self::In => !values.is_empty(),
            Self::Between => values.len() == 2,
            _ => values.len() == 1,
        };
        if !fits {
            return Err(invalid(format!("Invalid number of argument(s) for the {} ComparisonOperator", self.as_str())));
        }
        if values.windows(2).any(|pair| matches!(pair, [a, b] if a.type_code() != b.type_code())) {
            return Err(invalid("AttributeValues inside AttributeValueList must be of same type"));
        }
        match (self, values) {
            (Self::Between, [low, high]) if scalar_order(low, high) == Some(std::cmp::Ordering::Greater) => {
                Err(Error::new(
                    "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound",
                ))
            }
            _ => Ok(()),
        }
    }

    fn check_types(self, values: &[AttributeValue]) -> Result<(), Error> {
        let takes: &[&str] = match self {
            Self::Le
            | Self::Lt
            | Self::Ge
            | Self::Gt
            | Self::Contains
            | Self::NotContains
            | Self::In
            | Self::Between => &["S", "N", "B"],
            Self::BeginsWith => &["S", "B"],
            Self::Eq | Self::Ne | Self::Null | Self::NotNull => return Ok(()),
        };
        match values.iter().find(|value| !takes.contains(&value.type_code())) {
            Some(value) => Err(invalid(format!(
                "ComparisonOperator {} is not valid for {} AttributeValue type",
                self.as_str(),
                value.type_code()
            ))),
            None => Ok(()),
        }
    }

    /// The condition that an attribute meets this with checked values.
    pub fn condition(self, attribute: &str, values: Vec<AttributeValue>) -> Condition {
        let path = Path::attribute(attribute);
        let tested = Operand::Path(path.clone());
        let mut values = values.into_iter().map(Operand::Value);
        let mut next = || values.next().unwrap_or(Operand::Value(AttributeValue::Null));
        let compare = |comparator, value| Condition::Compare(comparator, tested.clone(), value);
        match self {
            Self::Eq => compare(Comparator::Equal, next()),
            Self::Ne => compare(Comparator::NotEqual, next()),
            Self::Le => compare(Comparator::LessOrEqual, next()),
            Self::Lt => compare(Comparator::Less, next()),
            Self::Ge => compare(Comparator::GreaterOrEqual, next()),
            Self::Gt => compare(Comparator::Greater, next()),
            Self::NotNull => Condition::Exists(path),
            Self::Null => Condition::NotExists(path),
            Self::Contains => Condition::Contains(tested, next()),
            // A missing attribute contains nothing, and yet fails this.
            Self::NotContains => Condition::And(
                Box::new(Condition::Exists(path)),
                Box::new(Condition::Not(Box::new(Condition::Contains(tested, next())))),
            ),
            Self::BeginsWith => Condition::BeginsWith(tested, next()),
            Self::In => Condition::In(tested, values.collect()),
            Self::Between => Condition::Between(tested, next(), next()),
        }
    }

    /// The test of a key with checked values.
    ///
    /// Errors: an operator that no index serves.
    pub fn key_test(self, values: Vec<AttributeValue>) -> Result<RangeCondition, Error> {
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap_or(AttributeValue::Null);
        Ok(match self {
            Self::Eq => RangeCondition::Equal(next()),
            Self::Le => RangeCondition::LessOrEqual(next()),
            Self::Lt => RangeCondition::Less(next()),
            Self::Ge => RangeCondition::GreaterOrEqual(next()),
            Self::Gt => RangeCondition::Greater(next()),
            Self::BeginsWith => RangeCondition::BeginsWith(next()),
            Self::Between => RangeCondition::Between(next(), next()),
            Self::Ne | Self::NotNull | Self::Null | Self::Contains | Self::NotContains | Self::In => {
                return Err(Error::new("Attempted conditional constraint is not an indexable operation"));
            }
        })
    }
}

/// All of the conditions, or with `any` one of them; none when there are none.
pub fn joined(conditions: impl IntoIterator<Item = Condition>, any: bool) -> Option<Condition> {
    conditions.into_iter().reduce(|a, b| {
        let (a, b) = (Box::new(a), Box::new(b));
        if any { Condition::Or(a, b) } else { Condition::And(a, b) }
    })
}

/// An update of whole attributes.
///
/// Errors: a value of a type that its action does not take.
pub fn update(changes: Vec<(String, Change)>) -> Result<Update, Error> {
    let actions = changes.into_iter().map(|(name, change)| action(Path::attribute(name), change));
    Ok(Update::of_legacy(actions.collect::<Result<_, _>>()?))
}

fn action(path: Path, change: Change) -> Result<Action, Error> {
    use AttributeValue::{Bs, L, N, Ns, Ss};
    Ok(match change {
        Change::Put(value) => Action::Set(path, Value::Plain(Term::Value(value))),
        Change::Add(value @ (N(_) | Ss(_) | Ns(_) | Bs(_))) => Action::Add(path, value),
        Change::Add(L(list)) => {
            let before = Term::IfNotExists(path.clone(), Box::new(Term::Value(L(Vec::new()))));
            Action::Set(path, Value::Plain(Term::ListAppend(Box::new(before), Box::new(Term::Value(L(list))))))
        }
        Change::Add(value) => {
            return Err(invalid(format!("ADD action is not supported for the type {}", value.type_code())));
        }
        Change::Delete(None) => Action::Remove(path),
        Change::Delete(Some(value @ (Ss(_) | Ns(_) | Bs(_)))) => Action::Delete(path, value),
        Change::Delete(Some(value)) => {
            let code = value.type_code();
            return Err(invalid(format!("DELETE action with value is not supported for the type {code}")));
        }
    })
}

fn invalid(detail: impl std::fmt::Display) -> Error {
    Error::new(format!("One or more parameter values were invalid: {detail}"))
}

#[cfg(test)]
mod tests {
    use headwater_types::{Item, Number};

    use super::*;
    use crate::operand::Missing;

    fn s(text: &str) -> AttributeValue {
        AttributeValue::S(text.to_owned())
    }

    fn n(number: i64) -> AttributeValue {
        AttributeValue::N(Number::from(number))
    }

    fn item(attributes: &[(&str, AttributeValue)]) -> Item {
        attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn operators_mean_what_the_guide_says() {
        let set = AttributeValue::Ss(["a".to_owned(), "b".to_owned()].into());
        let here =
            item(&[("n", n(5)), ("s", s("hello")), ("set", set), ("list", AttributeValue::L(vec![n(1), s("x")]))]);
        let cases = [
            (Operator::Eq, "n", vec![n(5)], true, false),
            (Operator::Ne, "n", vec![n(5)], false, true),
            (Operator::Ne, "n", vec![s("5")], true, true),
            (Operator::Lt, "n", vec![n(6)], true, false),
            (Operator::Le, "n", vec![n(5)], true, false),
            (Operator::Gt, "s", vec![s("hell")], true, false),
            (Operator::Ge, "s", vec![n(1)], false, false),
            (Operator::NotNull, "n", vec![], true, false),
            (Operator::Null, "n", vec![], false, true),
            (Operator::Contains, "s", vec![s("ell")], true, false),
            (Operator::Contains, "set", vec![s("a")], true, false),
            (Operator::Contains, "list", vec![n(1)], true, false),
            (Operator::NotContains, "set", vec![s("c")], true, false),
            (Operator::NotContains, "set", vec![s("a")], false, false),
            (Operator::BeginsWith, "s", vec![s("he")], true, false),
            (Operator::In, "n", vec![n(1), n(5)], true, false),
            (Operator::Between, "n", vec![n(5), n(7)], true, false),
        ];
        for (operator, name, values, present, missing) in cases {
            operator.check(&values).expect("sound values");
            let condition = operator.condition(name, values);
            assert_eq!(condition.evaluate(&here), present, "{operator:?} {name}");
            assert_eq!(condition.evaluate(&Missing), missing, "{operator:?} of a missing {name}");
        }
    }

    #[test]
    fn actions_change_whole_attributes() {
        let old = item(&[("n", n(5)), ("list", AttributeValue::L(vec![n(1)])), ("gone", s("x"))]);
        let changes = vec![
            ("n".to_owned(), Change::Add(n(2))),
            ("new.name".to_owned(), Change::Put(s("dotted"))),
            ("list".to_owned(), Change::Add(AttributeValue::L(vec![n(2)]))),
            ("fresh".to_owned(), Change::Add(AttributeValue::L(vec![n(3)]))),
            ("gone".to_owned(), Change::Delete(None)),
        ];
        let new = update(changes).expect("sound").apply(&old, true).expect("it fits");
        let expected = item(&[
            ("n", n(7)),
            ("new.name", s("dotted")),
            ("list", AttributeValue::L(vec![n(1), n(2)])),
            ("fresh", AttributeValue::L(vec![n(3)])),
        ]);
        assert_eq!(new, expected);
        let clash = update(vec![("gone".to_owned(), Change::Add(n(1)))]).expect("sound").apply(&old, true);
        assert_eq!(clash.expect_err("a string").message, "Type mismatch for attribute to update");
        let only_taking = update(vec![("gone".to_owned(), Change::Delete(None))]).expect("sound");
        assert!(!only_taking.creates_item());
    }
}
