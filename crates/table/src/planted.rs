//! Planted bugs of the background commands, which the simulator has to find; their code is there only with the feature
//! `planted-bugs`, and each has to be switched on.

/// Which promise is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlantedBug {
    /// A backfill writes the entries of the items that it scanned, not of the items as they are under their locks.
    BackfillStale,
    /// An item that had expired when it was looked for is deleted without another look.
    TtlBlind,
    /// A backfill commits its cursor first, and the entries it stands for after it.
    CursorApart,
}
