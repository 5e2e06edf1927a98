//! One engine in a process of its own, so that the kernel counts its processor time, bytes and memory apart. Orders come
//! as lines of JSON, answers go the same way.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use crate::load::{Load, Ran, Sample};
use crate::report::Quantiles;
use crate::subject::{self, Opening};
use crate::usage::{Used, folder_bytes, resident, used};
use crate::windows::{self, Kind, Window};

/// What the engine is to do.
#[derive(Clone, Copy, Serialize, Deserialize, Debug)]
pub enum Order {
    /// New items.
    Load { items: u64, group: u64 },
    /// Overwrites at a rate.
    Overwrite { seconds: u64, rate: u64, group: u64 },
    /// Reads of items, compared with what was written.
    Read { count: u64 },
    /// What all of it came to; then a clean end.
    End,
}

/// What an order came to.
#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Answer {
    /// Changes made or items read.
    pub count: u64,
    /// Groups.
    pub groups: u64,
    /// How long it took.
    pub elapsed_us: u64,
    /// Processor time meanwhile, work that was left over from before included.
    pub cpu_us: u64,
    /// Bytes given to the disk meanwhile.
    pub disk_bytes: u64,
    /// Bytes that were asked to be kept.
    pub logical_bytes: u64,
    /// Bytes in the engine's folder afterwards.
    pub folder_bytes: u64,
    /// Of reads.
    pub times: Option<Quantiles>,
    /// Of the whole, at the end.
    pub whole: Option<Whole>,
}

/// What all orders together came to.
#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Whole {
    /// Times from when an overwrite came due to its answer.
    pub all: Quantiles,
    /// Those of them that a flush falls into.
    pub flush: Quantiles,
    /// Those that a compaction falls into.
    pub compaction: Quantiles,
    /// Those that neither falls into.
    pub neither: Quantiles,
    /// How often it flushed and compacted.
    pub flushes: u64,
    /// See `flushes`.
    pub compactions: u64,
    /// Most memory resident, and in the end.
    pub resident_most: u64,
    /// See `resident_most`.
    pub resident: u64,
}

struct Child {
    load: Load,
    folder: PathBuf,
    samples: Vec<Sample>,
}

/// Opens the engine and does what it is told until the end.
pub fn run(name: &str, folder: PathBuf, opening: &Opening) -> Result<()> {
    // It stands still most of the time: left alone it would do so for ever.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    windows::listen()?;
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    tokio.block_on(serve(name, folder, opening))
}

async fn serve(name: &str, folder: PathBuf, opening: &Opening) -> Result<()> {
    let subject = subject::open(name, &folder, opening).await?;
    let mut child = Child { load: Load::new(subject.clone(), opening.shape), folder, samples: Vec::new() };
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout());
    for line in input.lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let mut answer = child.perform(order).await?;
        if let Order::End = order {
            subject.close().await?;
            answer.folder_bytes = folder_bytes(&child.folder)?;
        }
        writeln!(output, "{}", serde_json::to_string(&answer)?)?;
        if let Order::End = order {
            return Ok(());
        }
    }
    bail!("the orders ended without the last one")
}

impl Child {
    async fn perform(&mut self, order: Order) -> Result<Answer> {
        let (before, start) = (used()?, Instant::now());
        let mut answer = match order {
            Order::Load { items, group } => {
                let ran = self.load.load(items, group).await?;
                self.ran(ran)
            }
            Order::Overwrite { seconds, rate, group } => {
                let ran = self.load.overwrite(Duration::from_secs(seconds), rate, group).await?;
                self.ran(ran)
            }
            Order::Read { count } => {
                let times = tokio::task::block_in_place(|| self.load.read(count))?;
                Answer { count, times: Some(Quantiles::of(times)), ..Answer::default() }
            }
            Order::End => Answer { whole: Some(self.whole()?), ..Answer::default() },
        };
        answer.elapsed_us = start.elapsed().as_micros() as u64;
        let Used { cpu_us, disk_bytes } = used()?;
        (answer.cpu_us, answer.disk_bytes) = (cpu_us - before.cpu_us, disk_bytes - before.disk_bytes);
        answer.folder_bytes = folder_bytes(&self.folder)?;
        Ok(answer)
    }

    fn ran(&mut self, ran: Ran) -> Answer {
        self.samples.extend(ran.samples);
        let Ran { changes: count, groups, logical_bytes, .. } = ran;
        Answer { count, groups, logical_bytes, ..Answer::default() }
    }

    fn whole(&self) -> Result<Whole> {
        let windows = windows::all();
        let of = |kind| Cover::of(windows.iter().filter(|window| window.kind == kind));
        let (flush, compaction) = (of(Kind::Flush), of(Kind::Compaction));
        let times = |wanted: &dyn Fn(&Sample) -> bool| {
            let chosen = self.samples.iter().filter(|sample| wanted(sample));
            Quantiles::of(chosen.map(|sample| sample.done_us - sample.due_us).collect())
        };
        let (resident_most, resident) = resident()?;
        let count = |kind| windows.iter().filter(|window| window.kind == kind).count() as u64;
        Ok(Whole {
            all: times(&|_| true),
            flush: times(&|sample| flush.meets(sample)),
            compaction: times(&|sample| compaction.meets(sample)),
            neither: times(&|sample| !flush.meets(sample) && !compaction.meets(sample)),
            flushes: count(Kind::Flush),
            compactions: count(Kind::Compaction),
            resident_most,
            resident,
        })
    }
}

/// Windows of one kind, by their begin, overlapping ones joined.
struct Cover(Vec<(u64, u64)>);

impl Cover {
    fn of<'a>(windows: impl Iterator<Item = &'a Window>) -> Self {
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for window in windows {
            match joined.last_mut() {
                Some(last) if window.from_us <= last.1 => last.1 = last.1.max(window.to_us),
                _ => joined.push((window.from_us, window.to_us)),
            }
        }
        Self(joined)
    }

    /// Whether any of it falls between a sample's coming and its answer.
    fn meets(&self, sample: &Sample) -> bool {
        let next = self.0.partition_point(|(_, to)| *to < sample.due_us);
        self.0.get(next).is_some_and(|(from, _)| *from <= sample.done_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_meets_what_lies_between_its_coming_and_its_answer() {
        let window = |from_us, to_us| Window { kind: Kind::Flush, from_us, to_us };
        let cover = Cover::of([window(10, 20), window(15, 30), window(50, 60)].iter());
        assert_eq!(cover.0, [(10, 30), (50, 60)]);
        let meets = |due_us, done_us| cover.meets(&Sample { due_us, done_us });
        assert_eq!(
            [meets(0, 9), meets(0, 10), meets(25, 26), meets(31, 49), meets(40, 90), meets(61, 70)],
            [false, true, true, false, true, false]
        );
    }
}
