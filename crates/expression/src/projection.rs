//! Projections: which parts of an item are shown.

use std::collections::BTreeMap;

use headwater_types::{AttributeValue, Item};

use crate::bind::Substitutions;
use crate::error::{Error, Kind};
use crate::parser::Parser;
use crate::path::{Element, Path, Relation};
use crate::rules::Mentions;

/// A bound projection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Projection {
    paths: Vec<Path>,
    tree: Node,
}

/// What is shown below one place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Node {
    whole: bool,
    names: BTreeMap<String, Node>,
    indexes: BTreeMap<usize, Node>,
}

impl Projection {
    /// Parses and binds a projection; paths that overlap or conflict are refused.
    pub fn parse(text: &str, substitutions: &mut Substitutions) -> Result<Self, Error> {
        let kind = Kind::Projection;
        let raw = Parser::new(kind, text)?.projection()?;
        let mentions = Mentions::of_paths(&raw);
        mentions.check_reserved(kind)?;
        mentions.check_names_then_values(kind, substitutions)?;
        let paths = raw.iter().map(|path| substitutions.path(kind, path)).collect::<Result<Vec<_>, _>>()?;
        check_apart(kind, &paths)?;
        Ok(Self::of(paths))
    }

    /// A projection on paths that lie apart, or of which one may lie in another.
    pub fn of(paths: Vec<Path>) -> Self {
        let mut tree = Node::default();
        for path in &paths {
            let mut node = &mut tree;
            for element in &path.0 {
                node = match element {
                    Element::Name(name) => node.names.entry(name.clone()).or_default(),
                    Element::Index(index) => node.indexes.entry(*index).or_default(),
                };
            }
            node.whole = true;
        }
        Self { paths, tree }
    }

    /// The paths as given.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// The shown parts of an item; parts that are missing are left out, lists close up.
    pub fn apply(&self, item: &Item) -> Item {
        let shown = self.tree.names.iter();
        shown.filter_map(|(name, node)| Some((name.clone(), node.show(item.get(name)?)?))).collect()
    }
}

impl Node {
    fn show(&self, value: &AttributeValue) -> Option<AttributeValue> {
        if self.whole {
            return Some(value.clone());
        }
        match value {
            AttributeValue::M(map) => {
                let shown =
                    self.names.iter().filter_map(|(name, node)| Some((name.clone(), node.show(map.get(name)?)?)));
                let shown: BTreeMap<_, _> = shown.collect();
                (!shown.is_empty()).then_some(AttributeValue::M(shown))
            }
            AttributeValue::L(list) => {
                let shown: Vec<_> =
                    self.indexes.iter().filter_map(|(index, node)| node.show(list.get(*index)?)).collect();
                (!shown.is_empty()).then_some(AttributeValue::L(shown))
            }
            _ => None,
        }
    }
}

/// Refuses paths that overlap, then paths that conflict.
pub(crate) fn check_apart(kind: Kind, paths: &[Path]) -> Result<(), Error> {
    for (relation, text) in [
        (Relation::Overlap, "Two document paths overlap with each other; must remove or rewrite one of these paths;"),
        (Relation::Conflict, "Two document paths conflict with each other; must remove or rewrite one of these paths;"),
    ] {
        for (i, second) in paths.iter().enumerate() {
            if let Some(first) = paths[..i].iter().find(|first| first.relation(second) == relation) {
                return Err(Error::in_expression(kind, format!("{text} path one: {first}, path two: {second}")));
            }
        }
    }
    Ok(())
}
