//! The log's refusals.

use std::fmt;

use headwater_catalog::BadRow;
use headwater_storage as storage;
use headwater_types::TableId;

/// Why a command or a change of definitions was not done.
#[derive(Debug)]
pub enum Error {
    /// The table was dropped, or never was.
    NoTable(TableId),
    /// The disk is full: try again once there is room.
    Full,
    /// This node's log is closed (a stop, a failed sync): what was under way may or may not be found at the next start.
    Closed,
    /// A plan larger than any group may be.
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The call makes no sense in the present state.
    Invalid(String),
    /// The engine's error.
    Storage(storage::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable(id) => write!(f, "no table with identity {}", id.0),
            Self::Full => f.write_str("the disk is full"),
            Self::Closed => f.write_str("the log is closed"),
            Self::TooLarge { bytes } => write!(f, "a plan of {bytes} bytes is larger than a group may be"),
            Self::Invalid(reason) => f.write_str(reason),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage(error) => Some(error),
            _ => None,
        }
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        match error.kind {
            storage::Kind::Closed => Self::Closed,
            storage::Kind::Full => Self::Full,
            storage::Kind::Conflict | storage::Kind::Unavailable | storage::Kind::Corrupt | storage::Kind::Invalid => {
                Self::Storage(error)
            }
        }
    }
}

impl From<BadRow> for Error {
    fn from(error: BadRow) -> Self {
        Self::Storage(storage::Error::new(storage::Kind::Corrupt, error.to_string()))
    }
}
