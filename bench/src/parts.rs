//! Parts of the report. Each starts its own servers, so that none meets what another left in memory.

mod growth;
mod items;
mod operations;
mod peers;
mod start;
mod synced;

use anyhow::Result;

use crate::lab::{Lab, Section};
use crate::peers::Peers;

/// Names of the parts that need nothing from outside.
pub const OWN: [&str; 8] = ["operations", "sizes", "streams", "indexes", "keys", "synced", "growth", "start"];
/// The part that fetches and starts other servers.
pub const PEERS: &str = "peers";

/// Measures a part.
pub fn measure(name: &str, lab: &Lab, peers: Option<&Peers>) -> Result<Section> {
    match (name, peers) {
        ("operations", _) => operations::measure(lab),
        ("sizes", _) => items::sizes(lab),
        ("streams", _) => items::streams(lab),
        ("indexes", _) => items::indexes(lab),
        ("keys", _) => items::keys(lab),
        ("synced", _) => synced::measure(lab),
        ("growth", _) => growth::measure(lab),
        ("start", _) => start::measure(lab),
        (PEERS, Some(peers)) => peers::measure(lab, peers),
        _ => anyhow::bail!("no such part: {name}; there are {}", OWN.join(", ")),
    }
}
