//! Who had the machine's cores: a server, the load (this process), or nobody. Linux only.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};

use crate::subject::Subject;

/// CPU time up to a moment.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    server: Duration,
    load: Duration,
    machine: Machine,
}

/// Time of all cores together since the machine was started. Unit: ticks of the kernel, mostly 10 ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Machine {
    /// Nothing to do, or waiting for a disk and nothing else.
    idle: u64,
    /// All of it, what a hypervisor kept for others too.
    all: u64,
}

/// What went between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The server's CPU.
    pub server: Duration,
    /// This process's CPU.
    pub load: Duration,
    /// Part of the machine's time in which a core had nothing to do, from 0 to 1. NaN if not one tick passed.
    pub idle: f64,
}

impl Cores {
    /// As of now.
    pub fn now(server: &Subject) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("benches need Linux")?;
        Ok(Self {
            server: server.cpu()?,
            load: clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into(),
            machine: Machine::read(&stat)?,
        })
    }

    /// What went since `before`.
    pub fn since(self, before: Self) -> Share {
        let (all, idle) =
            (self.machine.all - before.machine.all, self.machine.idle.saturating_sub(before.machine.idle));
        Share { server: self.server - before.server, load: self.load - before.load, idle: idle as f64 / all as f64 }
    }
}

impl Machine {
    /// From the text of `/proc/stat`. Source: proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; guests,
    /// which follow, are in user and nice already.
    fn read(stat: &str) -> Result<Self> {
        let line =
            stat.lines().find_map(|line| line.strip_prefix("cpu ")).context("no line of all cores in /proc/stat")?;
        let ticks: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>()?;
        let &[_, _, _, idle, iowait, ..] = ticks.as_slice() else { anyhow::bail!("/proc/stat: {line}") };
        Ok(Self { idle: idle + iowait, all: ticks.iter().sum() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_idle_and_waiting_and_guests_count_once() {
        let stat = "cpu  10 20 30 400 50 6 7 8 9 1\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 5\n";
        assert_eq!(Machine::read(stat).expect("a line"), Machine { idle: 450, all: 531 });
        assert!(Machine::read("cpu0 1 1 1 1 1\n").is_err());
        assert!(Machine::read("cpu  1 1 1\n").is_err());
    }

    #[test]
    fn a_share_is_a_difference() {
        let at = |server, load, idle, all| Cores {
            server: Duration::from_millis(server),
            load: Duration::from_millis(load),
            machine: Machine { idle, all },
        };
        let share = at(300, 250, 150, 1_200).since(at(100, 200, 100, 1_000));
        assert_eq!((share.server, share.load), (Duration::from_millis(200), Duration::from_millis(50)));
        assert!((share.idle - 0.25).abs() < 1e-9, "{}", share.idle);
    }

    #[test]
    fn this_machine_tells() {
        let stat = fs::read_to_string("/proc/stat").expect("Linux");
        let machine = Machine::read(&stat).expect("a line");
        assert!(machine.all > machine.idle && machine.idle > 0, "{machine:?}");
    }
}
