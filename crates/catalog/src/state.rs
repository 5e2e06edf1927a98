//! The states of tables and streams, and which may follow which.
//!
//! ```text
//! table:   Creating ──► Active ◄──► Updating        stream:  Enabling ──► Enabled ──► Disabling ──► Disabled ──► (gone)
//!                          │                                     └───────────────────────────────────►│
//!                          └──► Deleting ──► (gone)
//! ```

use serde::{Deserialize, Serialize};

/// State of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TableState {
    /// Made, not yet usable.
    Creating,
    /// Usable.
    Active,
    /// Usable, a change of its definition is under way.
    Updating,
    /// Going away, not usable.
    Deleting,
}

/// State of a table's stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StreamState {
    /// On; shown as being switched on.
    Enabling,
    /// On.
    Enabled,
    /// Off; shown as being switched off.
    Disabling,
    /// Off; readable for its retention.
    Disabled,
}

impl TableState {
    /// Whether items may be read and written.
    pub fn serves(self) -> bool {
        match self {
            Self::Active | Self::Updating => true,
            Self::Creating | Self::Deleting => false,
        }
    }

    /// Whether `next` may follow.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Creating => matches!(next, Self::Active),
            Self::Active => matches!(next, Self::Updating | Self::Deleting),
            Self::Updating => matches!(next, Self::Active),
            Self::Deleting => false,
        }
    }

    /// The state that ends a short one; `None` when the state lasts (a deleting table ends by going away).
    pub fn end(self) -> Option<Self> {
        match self {
            Self::Creating | Self::Updating => Some(Self::Active),
            Self::Active | Self::Deleting => None,
        }
    }
}

impl StreamState {
    /// Whether changes of the table go into this stream.
    pub fn on(self) -> bool {
        match self {
            Self::Enabling | Self::Enabled => true,
            Self::Disabling | Self::Disabled => false,
        }
    }

    /// The state that ends a short one; itself when the state lasts.
    #[must_use]
    pub fn end(self) -> Self {
        match self {
            Self::Enabling | Self::Enabled => Self::Enabled,
            Self::Disabling | Self::Disabled => Self::Disabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_deleted_from_active_only_and_nothing_follows() {
        let all = [TableState::Creating, TableState::Active, TableState::Updating, TableState::Deleting];
        let before: Vec<_> = all.into_iter().filter(|s| s.may_become(TableState::Deleting)).collect();
        assert_eq!(before, [TableState::Active]);
        assert!(all.into_iter().all(|s| !TableState::Deleting.may_become(s)));
        for state in all {
            assert!(state.end().is_none_or(|end| state.may_become(end)), "{state:?}");
        }
    }
}
