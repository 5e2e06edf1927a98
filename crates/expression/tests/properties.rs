//! Properties: no text makes the parser or the evaluator panic, and the evaluator agrees with a simple oracle.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use headwater_expression::{Condition, KeyCondition, Kind, Projection, Substitutions, Update};
use headwater_types::stored::{self, StoredItem};
use headwater_types::{AttributeValue, Item, Number};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

const TOKENS: [&str; 52] = [
    "SET",
    "REMOVE",
    "ADD",
    "DELETE",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "a",
    "b",
    "c",
    "a.b",
    "c[0]",
    "c[7]",
    "#n",
    "#m",
    "#x",
    ":s",
    ":n",
    ":l",
    ":ss",
    ":x",
    "(",
    ")",
    "(",
    ")",
    "[",
    "]",
    ".",
    ",",
    ",",
    "=",
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "size(",
    "contains(",
    "begins_with(",
    "attribute_exists(",
    "attribute_not_exists(",
    "attribute_type(",
    "if_not_exists(",
    "list_append(",
    "name",
    "é",
    "5",
];

/// The same cases in every run.
fn runner(cases: u32) -> TestRunner {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn number(n: i64) -> AttributeValue {
    AttributeValue::N(Number::from(n))
}

fn fixture() -> Item {
    let c = AttributeValue::L(vec![number(1), AttributeValue::S("x".into())]);
    let a = AttributeValue::M(BTreeMap::from([("b".to_owned(), number(3)), ("c".to_owned(), c.clone())]));
    let b = AttributeValue::Ss(BTreeSet::from(["x".to_owned(), "y".to_owned()]));
    Item(BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b), ("c".to_owned(), c)]))
}

fn substitutions() -> Substitutions {
    let names = BTreeMap::from([("#n".to_owned(), "a".to_owned()), ("#m".to_owned(), "b".to_owned())]);
    let values = BTreeMap::from([
        (":s".to_owned(), AttributeValue::S("x".into())),
        (":n".to_owned(), number(3)),
        (":l".to_owned(), AttributeValue::L(vec![number(1)])),
        (":ss".to_owned(), AttributeValue::Ss(BTreeSet::from(["x".to_owned()]))),
    ]);
    Substitutions::new(Some(names), Some(values)).expect("placeholders")
}

/// Parses a text as every kind and uses what parses; returns how many kinds took it.
fn use_everywhere(text: &str) -> usize {
    let (item, mut taken) = (fixture(), 0);
    if let Ok(condition) = Condition::parse(Kind::Filter, text, &mut substitutions()) {
        condition.evaluate(&item);
        condition.paths(&mut |path| assert!(!path.top().is_empty()));
        taken += 1;
    }
    if let Ok(update) = Update::parse(text, &mut substitutions()) {
        for (old, existed) in [(&item, true), (&Item::default(), false)] {
            if let Ok(new) = update.apply(old, existed) {
                update.touched().apply(old);
                update.touched().apply(&new);
            }
        }
        taken += 1;
    }
    if let Ok(projection) = Projection::parse(text, &mut substitutions()) {
        projection.apply(&item);
        taken += 1;
    }
    taken + usize::from(KeyCondition::parse(text, &mut substitutions()).is_ok())
}

#[test]
fn no_text_makes_anything_panic() {
    let (ran, taken) = (Cell::new(0), Cell::new(0));
    let mut runner = runner(6_000);
    let soup = prop::collection::vec(prop::sample::select(&TOKENS[..]), 0..14).prop_map(|words| words.join(" "));
    // Sentences that mostly parse, so that what follows the parser is reached too.
    let operand = prop::sample::select(vec!["a", "#n.b", "c[0]", "c[9]", "a.b", "a.c", "zz", ":n", ":l", ":s", "#m"]);
    let verb = prop::sample::select(vec!["SET zz =", "SET a.b =", "SET c[5] =", "SET c[0] =", "REMOVE c[0] SET a.q ="]);
    let plain = prop::sample::select(vec!["", "+ :n", "- c[0]"]);
    let update =
        (verb, operand.clone(), operand.clone(), plain, 0..4).prop_map(|(verb, x, y, tail, form)| match form {
            0 => format!("{verb} {x} {tail}"),
            1 => format!("{verb} if_not_exists({x}, {y}) {tail}"),
            2 => format!("{verb} list_append({x}, {y})"),
            _ => format!("{verb} {x} DELETE b :ss"),
        });
    let test = (operand.clone(), operand, 0..6).prop_map(|(x, y, form)| match form {
        0 => format!("{x} < {y}"),
        1 => format!("contains({x}, {y})"),
        2 => format!("NOT size({x}) = {y}"),
        3 => format!("{x} BETWEEN {y} AND :n"),
        4 => format!("{x} IN ({y}, :s)"),
        _ => format!("attribute_exists({x}) OR begins_with({y}, :s)"),
    });
    let texts = prop_oneof![2 => soup, 1 => "\\PC{0,60}", 2 => update, 2 => test];
    let result = runner.run(&texts, |text| {
        ran.set(ran.get() + 1);
        taken.set(taken.get() + usize::from(use_everywhere(&text) > 0));
        Ok(())
    });
    println!("{} texts, {} of them valid", ran.get(), taken.get());
    result.expect("no panic");
    assert!(taken.get() > 1_000, "too few texts reached the evaluator: {}", taken.get());
}

/// What the oracle knows of conditions: values are small numbers, missing, or of another type.
#[derive(Clone, Debug)]
enum Tree {
    Compare(&'static str, usize, Result<usize, i64>),
    Between(usize, i64, i64),
    In(usize, Vec<i64>),
    Exists(usize, bool),
    Not(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
}

const ATTRIBUTES: [&str; 4] = ["w", "x", "y", "z"];

/// An attribute of the oracle's items.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Held {
    Nothing,
    Number(i64),
    Text,
}

fn trees() -> impl Strategy<Value = Tree> {
    let attribute = || 0..ATTRIBUTES.len();
    let operator = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        3 => (operator, attribute(), prop_oneof![attribute().prop_map(Ok), (0i64..4).prop_map(Err)])
            .prop_filter("operands are distinct", |(_, a, b)| *b != Ok(*a))
            .prop_map(|(operator, a, b)| Tree::Compare(operator, a, b)),
        1 => (attribute(), 0i64..4, 0i64..4).prop_map(|(a, x, y)| Tree::Between(a, x.min(y), x.max(y))),
        1 => (attribute(), prop::collection::vec(0i64..4, 1..4)).prop_map(|(a, list)| Tree::In(a, list)),
        1 => (attribute(), any::<bool>()).prop_map(|(a, exists)| Tree::Exists(a, exists)),
    ];
    leaf.prop_recursive(5, 40, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Tree::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| Tree::Or(Box::new(a), Box::new(b))),
        ]
    })
}

impl Tree {
    /// How tightly it binds: OR 0, AND 1, NOT 2, the rest 3.
    fn level(&self) -> u8 {
        match self {
            Self::Or(..) => 0,
            Self::And(..) => 1,
            Self::Not(_) => 2,
            _ => 3,
        }
    }

    /// As text with as few parentheses as the precedence allows.
    fn text(&self, least: u8) -> String {
        let text = match self {
            Self::Compare(operator, a, b) => {
                let right = b.map_or_else(|n| format!(":n{n}"), |b| ATTRIBUTES[b].to_owned());
                format!("{} {operator} {right}", ATTRIBUTES[*a])
            }
            Self::Between(a, low, high) => format!("{} BETWEEN :n{low} AND :n{high}", ATTRIBUTES[*a]),
            Self::In(a, list) => {
                let list: Vec<_> = list.iter().map(|n| format!(":n{n}")).collect();
                format!("{} IN ({})", ATTRIBUTES[*a], list.join(", "))
            }
            Self::Exists(a, true) => format!("attribute_exists({})", ATTRIBUTES[*a]),
            Self::Exists(a, false) => format!("attribute_not_exists({})", ATTRIBUTES[*a]),
            Self::Not(inner) => format!("NOT {}", inner.text(2)),
            Self::And(a, b) => format!("{} AND {}", a.text(1), b.text(1)),
            Self::Or(a, b) => format!("{} OR {}", a.text(0), b.text(0)),
        };
        if self.level() < least { format!("({text})") } else { text }
    }

    fn holds(&self, item: &[Held]) -> bool {
        let compare = |operator: &str, a: Held, b: Held| match (a, b) {
            (Held::Nothing, _) | (_, Held::Nothing) => operator == "<>",
            (Held::Number(a), Held::Number(b)) => match operator {
                "=" => a == b,
                "<>" => a != b,
                "<" => a < b,
                "<=" => a <= b,
                ">" => a > b,
                _ => a >= b,
            },
            (Held::Text, Held::Text) => ["=", "<=", ">="].contains(&operator),
            _ => operator == "<>",
        };
        match self {
            Self::Compare(operator, a, b) => compare(operator, item[*a], b.map_or_else(Held::Number, |b| item[b])),
            Self::Between(a, low, high) => matches!(item[*a], Held::Number(n) if (*low..=*high).contains(&n)),
            Self::In(a, list) => matches!(item[*a], Held::Number(n) if list.contains(&n)),
            Self::Exists(a, exists) => (item[*a] != Held::Nothing) == *exists,
            Self::Not(inner) => !inner.holds(item),
            Self::And(a, b) => a.holds(item) & b.holds(item),
            Self::Or(a, b) => a.holds(item) | b.holds(item),
        }
    }
}

#[test]
fn the_evaluator_agrees_with_an_oracle() {
    let (ran, held) = (Cell::new(0), Cell::new(0));
    let mut runner = runner(4_000);
    let attribute = prop_oneof![
        1 => Just(Held::Nothing),
        3 => (0i64..4).prop_map(Held::Number),
        1 => Just(Held::Text),
    ];
    let items = prop::collection::vec(attribute, ATTRIBUTES.len());
    let result = runner.run(&(trees(), items), |(tree, item)| {
        let text = tree.text(0);
        let values = (0..4).map(|n| (format!(":n{n}"), number(n))).collect();
        let mut substitutions = Substitutions::new(None, Some(values)).expect("placeholders");
        let condition = Condition::parse(Kind::Condition, &text, &mut substitutions);
        let condition = condition.map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let attributes = ATTRIBUTES.iter().zip(&item).filter_map(|(name, held)| match held {
            Held::Nothing => None,
            Held::Number(n) => Some(((*name).to_owned(), number(*n))),
            Held::Text => Some(((*name).to_owned(), AttributeValue::S("1".into()))),
        });
        let found: Item = attributes.collect();
        let mut bytes = Vec::new();
        stored::encode(&found, &mut bytes);
        let expected = tree.holds(&item);
        ran.set(ran.get() + 1);
        held.set(held.get() + usize::from(expected));
        prop_assert_eq!(condition.evaluate(&found), expected, "{}", text);
        prop_assert_eq!(condition.evaluate(&StoredItem::new(&bytes).expect("just written")), expected, "{}", text);
        Ok(())
    });
    println!("{} conditions, {} of them true", ran.get(), held.get());
    result.expect("agreement");
    assert!(held.get() > 500 && ran.get() - held.get() > 500);
}
