//! The one error of expressions: a text for the client.

use std::fmt;

/// Which parameter an expression came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// UpdateExpression.
    Update,
    /// ConditionExpression.
    Condition,
    /// FilterExpression.
    Filter,
    /// ProjectionExpression.
    Projection,
    /// KeyConditionExpression.
    KeyCondition,
}

impl Kind {
    /// The parameter's name.
    pub fn parameter(self) -> &'static str {
        match self {
            Self::Update => "UpdateExpression",
            Self::Condition => "ConditionExpression",
            Self::Filter => "FilterExpression",
            Self::Projection => "ProjectionExpression",
            Self::KeyCondition => "KeyConditionExpression",
        }
    }
}

/// Why an expression was refused; always a ValidationException to the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The whole text for the client.
    pub message: String,
}

impl Error {
    /// A text that stands alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    /// `Invalid {parameter}: {detail}`.
    pub fn in_expression(kind: Kind, detail: impl fmt::Display) -> Self {
        Self { message: format!("Invalid {}: {detail}", kind.parameter()) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
