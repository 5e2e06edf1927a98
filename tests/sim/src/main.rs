//! `headwater-sim`: runs seeds until there are enough of them, or one breaks a promise.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use headwater_sim::plan::Mode;
use headwater_sim::report::{self, Total};
use headwater_sim::run::run;
use headwater_sim::stopwatch::Stopwatch;

/// Seeded simulation of whole requests, with checkers.
#[derive(Parser)]
#[command(name = "headwater-sim")]
struct Arguments {
    /// Seeds per mode, or for each planted bug; 100, or as many as fit into `--seconds`.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    start: u64,
    /// What the nodes stand on.
    #[arg(long, value_enum, default_value = "all")]
    mode: Modes,
    /// Stop after so many seconds, however many seeds are left.
    #[arg(long)]
    seconds: Option<u64>,
    /// Look for each planted bug instead; fails when one is not found.
    #[arg(long)]
    planted: bool,
    /// With `--planted`: only this one, by its name.
    #[arg(long, requires = "planted")]
    bug: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Modes {
    Memory,
    TwoNodes,
    Embedded,
    Relaxed,
    All,
}

impl Modes {
    fn list(self) -> Vec<Mode> {
        match self {
            Self::Memory => vec![Mode::Memory],
            Self::TwoNodes => vec![Mode::TwoNodes],
            Self::Embedded => vec![Mode::Embedded],
            Self::Relaxed => vec![Mode::Relaxed],
            Self::All => Mode::ALL.to_vec(),
        }
    }
}

/// Seeds per mode, if nobody says.
const SEEDS: u64 = 100;
/// Seeds in which each planted bug must be found.
const HUNT_SEEDS_MAX: u64 = 200;
/// One seed in so many is run twice: the same seed gives the same trace.
const REPEAT_EVERY: u64 = 10;
/// Seeds from which on a mode must have met every kind of fault.
const FAULTS_FROM: u64 = 20;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.planted {
        return headwater_sim::planted::hunt(arguments.seeds.unwrap_or(HUNT_SEEDS_MAX), arguments.bug.as_deref());
    }
    let seeds = arguments.seeds.unwrap_or(if arguments.seconds.is_some() { u64::MAX } else { SEEDS });
    let modes = arguments.mode.list();
    let each = arguments.seconds.map(|seconds| Duration::from_secs(seconds) / modes.len() as u32);
    let mut code = ExitCode::SUCCESS;
    for mode in modes {
        let mut total = Total::new(mode);
        let watch = Stopwatch::start();
        for seed in arguments.start..arguments.start.saturating_add(seeds) {
            if each.is_some_and(|each| watch.elapsed() > each) {
                break;
            }
            let outcome = run(seed, mode, None);
            total.add(&outcome);
            if !outcome.violations.is_empty() {
                print!("{}", report::violations(&outcome));
                println!("{}", total.lines(watch.elapsed()));
                return ExitCode::FAILURE;
            }
            if seed.is_multiple_of(REPEAT_EVERY) {
                total.repeated += 1;
                let again = run(seed, mode, None);
                if (again.trace, again.steps) != (outcome.trace, outcome.steps) {
                    println!("seed {seed} in mode {} gives two traces: something is not seeded", mode.name());
                    return ExitCode::FAILURE;
                }
            }
        }
        println!("{}", total.lines(watch.elapsed()));
        let empty = total.empty();
        if total.seeds >= FAULTS_FROM && !empty.is_empty() {
            println!("mode {}: nothing to show for {}", mode.name(), empty.join(", "));
            code = ExitCode::FAILURE;
        }
    }
    code
}
