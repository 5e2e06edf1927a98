//! The same requests to other servers of the API, memory beside memory and disk beside disk, in the same rounds.

use anyhow::Result;

use super::operations::{self, ITEM_BYTES};
use crate::lab::{Lab, Section, with_tables};
use crate::load::Connection;
use crate::peers::{Peer, Peers};
use crate::report::{Row, median};
use crate::rounds::{self, Case};
use crate::subject::Subject;
use crate::workload;

/// Measures all of them in memory, then all on disk.
pub fn measure(lab: &Lab, peers: &Peers) -> Result<Section> {
    let mut rows = Vec::new();
    for on_disk in [false, true] {
        rows.extend(place(lab, peers, on_disk)?);
    }
    let names: Vec<String> = Peer::ALL.iter().map(|peer| peers.shown(*peer)).collect();
    let note = format!(
        "{}; 16 connections, items of {ITEM_BYTES} bytes. × is a peer's CPU per operation over ours for the same \
         requests in the same rounds. Compared as they come: our answers wait for fdatasync on disk, theirs do not all.",
        names.join(", ")
    );
    let text = summary(&rows);
    Ok(Section { title: "Peers", note, rounds: Some(lab.rounds), rows, text, ..Section::default() })
}

fn place(lab: &Lab, peers: &Peers, on_disk: bool) -> Result<Vec<Row>> {
    let name = if on_disk { "on disk" } else { "in memory" };
    let ours = if on_disk { lab.disk("peers-disk")? } else { lab.memory("peers-memory")? };
    let mut cases = operations::cases(&ours, &format!("headwater, {name}"), None);
    for (at, case) in cases.iter_mut().enumerate() {
        case.beside = Some(at);
    }
    let mut started: Vec<(Peer, Subject)> = Vec::new();
    for peer in Peer::ALL {
        let data = on_disk.then(|| lab.folder.path().join(format!("peer-{}", peer.name())));
        let subject = peers.start(peer, data.as_deref())?;
        if peer.is_whole() {
            started.push((peer, with_tables(subject)?));
        } else {
            workload::create_table(&mut Connection::open(subject.address)?, "plain", false)?;
            started.push((peer, subject));
        }
    }
    for (peer, subject) in &started {
        let theirs = operations::cases(subject, &format!("{}, {name}", peer.name()), None);
        for (at, case) in theirs.into_iter().enumerate() {
            if peer.is_whole() || !(case.name.contains("stream") || case.name.contains("transact")) {
                cases.push(Case { beside: Some(at), ..case });
            }
        }
    }
    rounds::run(&cases, lab.rounds)
}

/// One line per operation: everyone's CPU, and how many times ours it is.
fn summary(rows: &[Row]) -> String {
    let mut text =
        "| operation | headwater | DynamoDB Local | dynoxide | dynalite |\n|---|---|---|---|---|\n".to_owned();
    for row in rows.iter().filter(|row| row.name.contains("headwater")) {
        text.push_str(&format!("| {} | {:.1} µs |", row.name.replace("headwater, ", ""), median(&row.cpu_us)));
        for peer in Peer::ALL {
            let wanted = row.name.replace("headwater", peer.name());
            match rows.iter().find(|row| row.name == wanted) {
                Some(row) => {
                    text.push_str(&format!(" {:.0} µs, {:.1} × |", median(&row.cpu_us), median(&row.cpu_ratio)));
                }
                None => text.push_str(" – |"),
            }
        }
        text.push('\n');
    }
    text
}
