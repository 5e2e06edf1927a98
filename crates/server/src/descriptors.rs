//! File descriptors: every connection and every open file of the store takes one.
//!
//! A process begins with a soft limit that is low for old programs' sake (often 1,024) and may raise it to the hard one by
//! itself. The program does so; a server in another's process leaves that process's limits alone and lives with them.

use std::io;

/// Kept for the store's files and the listeners, whatever clients do. Source: ours.
const RESERVE: u64 = 512;

/// How many descriptors the process may have open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// What holds now; `u64::MAX`: no limit.
    pub soft: u64,
    /// What it may be raised to.
    pub hard: u64,
}

impl Limit {
    /// The process's; none where a system has no such limit.
    pub fn of_process() -> Option<Self> {
        system::limit()
    }

    /// Raises the process's soft limit to the hard one and gives what holds then.
    ///
    /// Errors: the system refuses; the limit is as it was.
    pub fn raise() -> Result<Option<Self>, NotRaised> {
        let Some(limit) = Self::of_process() else { return Ok(None) };
        limit.raise_by(system::set).map(Some)
    }

    fn raise_by(self, set: impl FnOnce(Self) -> io::Result<()>) -> Result<Self, NotRaised> {
        if self.soft == self.hard {
            return Ok(self);
        }
        let raised = Self { soft: self.hard, ..self };
        set(raised).map(|()| raised).map_err(|cause| NotRaised { limit: self, cause })
    }

    /// How many connections of `wanted` may be open at once, so that the store still opens its files.
    pub fn connections(self, wanted: usize) -> usize {
        let most = self.soft - RESERVE.min(self.soft / 2);
        wanted.min(usize::try_from(most).unwrap_or(usize::MAX))
    }
}

/// The system does not let the process have its own hard limit.
#[derive(Debug)]
pub struct NotRaised {
    limit: Limit,
    cause: io::Error,
}

impl std::fmt::Display for NotRaised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Limit { soft, hard }, cause) = (self.limit, &self.cause);
        write!(f, "the limit of {soft} open file descriptors cannot be raised to the hard one, {hard}: {cause}")
    }
}

impl std::error::Error for NotRaised {}

#[cfg(unix)]
mod system {
    use std::io;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::Limit;

    pub fn limit() -> Option<Limit> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        Some(Limit { soft: current.unwrap_or(u64::MAX), hard: maximum.unwrap_or(u64::MAX) })
    }

    pub fn set(limit: Limit) -> io::Result<()> {
        let limited = |most: u64| (most != u64::MAX).then_some(most);
        let limit = Rlimit { current: limited(limit.soft), maximum: limited(limit.hard) };
        Ok(setrlimit(Resource::Nofile, limit)?)
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;

    use super::Limit;

    pub fn limit() -> Option<Limit> {
        None
    }

    pub fn set(_: Limit) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_both_limits_and_changes_nothing() {
        let limit = Limit { soft: 1_024, hard: 4_096 };
        let refused = limit.raise_by(|_| Err(io::ErrorKind::PermissionDenied.into())).expect_err("refused");
        let text = refused.to_string();
        assert!(text.contains("1024") && text.contains("4096") && text.contains("permission denied"), "{text}");
        let raised = limit.raise_by(|wanted| {
            assert_eq!(wanted, Limit { soft: 4_096, hard: 4_096 });
            Ok(())
        });
        assert_eq!(raised.expect("raised"), Limit { soft: 4_096, hard: 4_096 });
        let full = Limit { soft: 9, hard: 9 };
        assert_eq!(full.raise_by(|_| panic!("nothing is to be raised")).expect("as it is"), full);
    }

    #[test]
    fn the_store_keeps_its_share() {
        let connections = |soft| Limit { soft, hard: soft }.connections(4_096);
        assert_eq!(
            [0, 1, 200, 1_024, 2_000, 1 << 20, u64::MAX].map(connections),
            [0, 1, 100, 512, 1_488, 4_096, 4_096]
        );
    }
}
