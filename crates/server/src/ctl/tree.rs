//! A stream's lineage as a tree.

use std::collections::{BTreeMap, BTreeSet};

use crate::control::{ShardView, Shards};

/// Parents above their children; what has lost its parent to the retention stands at the left.
pub(super) fn render(list: &Shards) -> String {
    let known: BTreeSet<&str> = list.shards.iter().map(|shard| shard.id.as_str()).collect();
    let mut children: BTreeMap<&str, Vec<&ShardView>> = BTreeMap::new();
    let mut roots = Vec::new();
    for shard in &list.shards {
        // Of two parents the first: a merge is shown once.
        match shard.parents.iter().find(|parent| known.contains(parent.as_str())) {
            Some(parent) => children.entry(parent).or_default().push(shard),
            None => roots.push(shard),
        }
    }
    let open = list.shards.iter().filter(|shard| shard.closed.is_none()).count();
    let mut text =
        format!("{}  {}  {open} open, {} closed\n", list.stream.arn, list.stream.state, list.shards.len() - open);
    // Depth first, without recursion: a shard that rolls over for a day has six generations, one that is split at will more.
    let mut waiting: Vec<(&ShardView, String, bool)> =
        roots.into_iter().rev().map(|root| (root, String::new(), true)).collect();
    while let Some((shard, indent, last)) = waiting.pop() {
        let below = children.get(shard.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let is_root = !shard.parents.iter().any(|parent| known.contains(parent.as_str()));
        let (branch, deeper) = match (is_root, last) {
            (true, _) => ("", ""),
            (false, true) => ("└─ ", "   "),
            (false, false) => ("├─ ", "│  "),
        };
        text.push_str(&format!("{indent}{branch}{}\n", line(shard)));
        let indent = format!("{indent}{deeper}");
        for (at, child) in below.iter().enumerate().rev() {
            waiting.push((child, indent.clone(), at + 1 == below.len()));
        }
    }
    text
}

fn line(shard: &ShardView) -> String {
    let [start, end] = &shard.hash_range;
    let share = |hash: &str| hash.get(..8).unwrap_or(hash).to_owned();
    let range = format!("{}…–{}…", share(start), share(end));
    match (&shard.closed, &shard.heat) {
        (Some(closed), _) => format!("{}  closed {closed}  {range}", shard.id),
        (None, Some(heat)) => format!("{}  open  {range}  {:.1} writes/s", shard.id, heat.writes_per_second),
        (None, None) => format!("{}  open  {range}", shard.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{SequenceRange, StreamView};

    fn shard(id: &str, parents: &[&str], closed: bool) -> ShardView {
        ShardView {
            id: id.to_owned(),
            kinesis: None,
            parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
            hash_range: ["0".repeat(32), "f".repeat(32)],
            numbers: SequenceRange { start: "1".to_owned(), end: None },
            created: "then".to_owned(),
            closed: closed.then(|| "now".to_owned()),
            heat: None,
        }
    }

    #[test]
    fn lineage_is_drawn_with_parents_above_their_children() {
        let [arn, table, state] = ["arn", "t", "ENABLED"].map(str::to_owned);
        let stream = StreamView { arn, table, state, kinesis: None };
        let shards = vec![
            shard("a", &["gone"], true),
            shard("b", &["a"], true),
            shard("c", &["a"], false),
            shard("d", &["b"], false),
            shard("e", &[], false),
        ];
        let text = render(&Shards { stream, shards });
        let ids: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split("  ").next()).collect();
        let range = "  open  00000000…–ffffffff…";
        let drawn = format!(
            "arn  ENABLED  3 open, 2 closed\na  closed now  00000000…–ffffffff…\n├─ b  closed now  \
             00000000…–ffffffff…\n│  └─ d{range}\n└─ c{range}\ne{range}\n"
        );
        assert_eq!(text, drawn, "{ids:?}");
    }
}
