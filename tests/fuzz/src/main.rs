//! `headwater-fuzz`: fuzzes for some seconds and prints what it counted.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use headwater_fuzz::planted::Bug;

/// Seeded fuzzers of expressions, numbers, keys and request bodies.
#[derive(Parser)]
#[command(name = "headwater-fuzz")]
struct Arguments {
    /// For how long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where to begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Looks for each planted fault instead
    #[arg(long)]
    planted: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let time = Duration::from_secs(arguments.seconds);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let result = runtime.block_on(async {
        if arguments.planted {
            for bug in [Bug::CutText, Bug::KeptPermit] {
                let found = headwater_fuzz::hunt(bug, arguments.seed, time).await?;
                println!("{bug:?}: {}", found.ok_or(format!("{bug:?} was not found"))?);
            }
            return Ok(());
        }
        let report = headwater_fuzz::run(arguments.seed, time).await?;
        println!("{report}");
        let idle = report.idle();
        if idle.is_empty() { Ok(()) } else { Err(format!("nothing was counted of {idle:?}")) }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("headwater-fuzz: {why}");
            ExitCode::FAILURE
        }
    }
}
