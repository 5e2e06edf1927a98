//! A moment, as members of type timestamp hold it.

use headwater_types::Millis;

/// A moment.
///
/// Unit: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub i64);

impl From<Millis> for Instant {
    fn from(at: Millis) -> Self {
        Self(at.0)
    }
}

impl From<Instant> for Millis {
    fn from(at: Instant) -> Self {
        Self(at.0)
    }
}

impl Instant {
    /// The moment `seconds` after the epoch, to the millisecond.
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1000.0).round() as i64)
    }
}
