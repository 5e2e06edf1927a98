//! A few seeds of every mode pass, give one trace each, and meet what they are there to meet.

use headwater_sim::plan::Mode;
use headwater_sim::report::{self, Total};
use headwater_sim::run::run;
use headwater_sim::stopwatch::Stopwatch;

/// So many that what is rare in a seed, a stream that is deleted, occurs in each mode.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=40;

fn pass(mode: Mode) {
    let (mut total, watch) = (Total::new(mode), Stopwatch::start());
    for seed in SEEDS {
        let outcome = run(seed, mode, None);
        assert!(outcome.violations.is_empty(), "{}", report::violations(&outcome));
        total.add(&outcome);
        if seed.is_multiple_of(5) {
            let again = run(seed, mode, None);
            assert_eq!((outcome.trace, outcome.steps), (again.trace, again.steps), "seed {seed} has two traces");
        }
    }
    println!("{}", total.lines(watch.elapsed()));
    assert_eq!(total.empty(), [] as [&str; 0], "a mode that met none of these proves nothing");
}

#[test]
fn the_model_of_one_node_keeps_its_promises() {
    pass(Mode::Memory);
}

#[test]
fn two_nodes_on_one_cell_keep_their_promises() {
    pass(Mode::TwoNodes);
}

#[test]
fn the_embedded_engine_keeps_its_promises() {
    pass(Mode::Embedded);
}

#[test]
fn relaxed_engines_keep_what_readers_were_shown() {
    pass(Mode::Relaxed);
}

#[test]
fn two_seeds_differ() {
    assert_ne!(run(1, Mode::Memory, None).trace, run(2, Mode::Memory, None).trace);
}

#[cfg(feature = "planted-bugs")]
#[test]
fn every_planted_bug_is_found() {
    assert_eq!(headwater_sim::planted::hunt(200, None), std::process::ExitCode::SUCCESS);
}
