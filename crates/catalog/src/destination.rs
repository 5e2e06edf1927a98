//! Where a table's changes are replicated: a Kinesis data stream of the same account and Region.
//!
//! ```text
//! Enabling ──► Active ◄──► Updating
//!    │           └───────────┴──► Disabling ──► Disabled ──► (Enabling, as another incarnation)
//!    └──► EnableFailed ◄── Active (changes were lost)
//! ```
//! A destination wants its table's log from the commit that records it until the commit that disables it.

use headwater_types::{Millis, StreamUid};
use serde::{Deserialize, Serialize};

use crate::writer::{millis, stream_uid};

/// State of a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DestinationState {
    /// On; shown as being switched on, nothing is sent yet.
    Enabling,
    /// On.
    Active,
    /// On; shown as being changed.
    Updating,
    /// Off; what was committed before is still being sent.
    Disabling,
    /// Off; all that was committed while it was on has been sent.
    Disabled,
    /// Off: its stream took nothing when it was switched on, or changes were lost.
    EnableFailed,
}

impl DestinationState {
    /// Whether the changes committed now are to be sent.
    pub fn wants_log(self) -> bool {
        match self {
            Self::Enabling | Self::Active | Self::Updating => true,
            Self::Disabling | Self::Disabled | Self::EnableFailed => false,
        }
    }

    /// Whether something is sent.
    pub fn moves(self) -> bool {
        match self {
            Self::Active | Self::Updating | Self::Disabling => true,
            Self::Enabling | Self::Disabled | Self::EnableFailed => false,
        }
    }

    /// Whether it is over: another may be enabled.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Disabled | Self::EnableFailed)
    }
}

/// Unit of the creation times in records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Precision {
    /// 1 ms.
    Millisecond,
    /// 1 µs.
    Microsecond,
}

/// What became of changes that were not sent as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Changes sent.
    pub sent: u64,
    /// Changes left out because their record is larger than the stream takes.
    pub oversized: u64,
    /// Changes given up: they were older than they are kept, or their table was deleted before they were sent.
    pub lost: u64,
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { sent: self.sent + other.sent, oversized: self.oversized + other.oversized, lost: self.lost + other.lost }
    }
}

/// A table's destination.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KinesisDestination {
    /// Names its positions; another one at every enabling, never reused. Set by `log`.
    #[serde(with = "stream_uid")]
    pub incarnation: StreamUid,
    /// The data stream's name; one that is deleted and made again is the same destination.
    pub stream: String,
    /// What its records say of their times; none was ever asked for.
    #[serde(default)]
    pub precision: Option<Precision>,
    /// State.
    pub state: DestinationState,
    /// Store time of enabling.
    #[serde(with = "millis")]
    pub enabled: Millis,
    /// What it came to; kept up to date in its positions while it is on.
    #[serde(default)]
    pub tally: Tally,
    /// Why it failed.
    #[serde(default)]
    pub failure: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_neither_moves_nor_wants_anything() {
        use DestinationState::{Active, Disabled, Disabling, EnableFailed, Enabling, Updating};
        for state in [Enabling, Active, Updating, Disabling, Disabled, EnableFailed] {
            assert!(!state.is_over() || !state.moves() && !state.wants_log(), "{state:?}");
            assert!(state.is_over() || state.moves() || state.wants_log(), "{state:?}");
        }
        let tally = Tally { sent: 1, oversized: 2, lost: 3 };
        assert_eq!(tally + tally, Tally { sent: 2, oversized: 4, lost: 6 });
    }
}
