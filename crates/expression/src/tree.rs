//! The tree as written: names and values not substituted yet.

/// An element of a path as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RawElement {
    /// A bare name.
    Name(String),
    /// `#name`, the sigil included.
    Ref(String),
    /// `[n]`.
    Index(usize),
}

pub type RawPath = Vec<RawElement>;

/// An operand as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RawOperand {
    Path(RawPath),
    /// `:value`, the sigil included.
    Value(String),
    Function {
        name: String,
        arguments: Vec<RawOperand>,
    },
}

/// A condition as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RawCondition {
    And(Box<RawCondition>, Box<RawCondition>),
    Or(Box<RawCondition>, Box<RawCondition>),
    Not(Box<RawCondition>),
    /// Comparator, left, right.
    Compare(String, RawOperand, RawOperand),
    /// Tested, lower, upper.
    Between(RawOperand, RawOperand, RawOperand),
    /// Tested, candidates.
    In(RawOperand, Vec<RawOperand>),
    /// A function that stands for a condition.
    Function {
        name: String,
        arguments: Vec<RawOperand>,
    },
}

/// One right side of SET.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawValue {
    pub left: RawOperand,
    /// `+` or `-`, and what follows.
    pub right: Option<(char, RawOperand)>,
}

/// One action of an update as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RawAction {
    Set(RawPath, RawValue),
    Remove(RawPath),
    Add(RawPath, RawOperand),
    Delete(RawPath, RawOperand),
}

/// An update as written; `repeated` names the first section that stands twice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RawUpdate {
    pub actions: Vec<RawAction>,
    pub repeated: Option<&'static str>,
}
