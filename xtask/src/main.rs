//! Chores of this repository, run as `cargo xtask <command>`.
#![allow(clippy::disallowed_methods, reason = "chores run on the real clock and real threads")]

mod bench;
mod cases;
mod ci;
mod codegen;
mod demo;
mod fuzz;
mod golang;
mod java;
mod matrix;
mod node;
mod postgres;
mod process;
mod proofs;
mod python;
mod sim;
mod streams_conformance;
mod tidy;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of this repository")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures the released server beside a bare one; further arguments go to the bench (`-- --help`). With
    /// `data-streams` first: data streams, beside the disk.
    Bench {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measures the storage engine beside rivals (decision 0009), by the hour with its defaults; further arguments go to
    /// the bench (`-- --help`).
    BenchEngine {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Replays requests with known answers against an endpoint (`--endpoint URL`; none: a server of its own), or lists
    /// the unverified ones (`--unverified`); arguments go to `headwater-cases` (`-- --help`).
    Cases {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs every check and every test, the SDKs' included.
    Ci,
    /// Writes the generated shapes, constraints and operation traits of `crates/api`.
    Codegen(codegen::Options),
    /// Shows the main job on real data in a minute: writers, a stream reader, a killed server.
    Demo,
    /// Sends the server what is nearly right, for `--seconds N` from `--seed S` on; `--planted` looks for planted faults.
    Fuzz {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Counts allocations, file calls and bytes per operation; fails over a limit.
    Guard,
    /// Counts instructions per operation under valgrind; further arguments go to the counter (`-- --help`).
    Instructions {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs the Kinesis Client Library in all its versions and its other clients: all, or those named (`matrix kcl2`).
    Matrix {
        /// Which.
        names: Vec<String>,
    },
    /// Runs the tests of the PostgreSQL engine on a real server, fetched from Maven Central.
    Postgres,
    /// Runs the long proofs behind docs/proofs.md: all, or those named (sim, planted, kill, replication, soak,
    /// power-loss, streams-conformance).
    Proofs {
        /// Which.
        names: Vec<String>,
    },
    /// Runs the seeded simulator; arguments go to it (`--seeds N`, `--mode`, `--start`, `--planted`).
    Sim {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Asks an endpoint, DynamoDB Local or a Headwater of its own what it does with each case of DynamoDB Streams.
    StreamsConformance(streams_conformance::Options),
    /// Checks the house rules: dependency edges, licences, sources, dead files, limits, links.
    Tidy,
}

fn main() -> anyhow::Result<()> {
    let root = root()?;
    match Arguments::parse().command {
        Command::Bench { arguments } => bench::run(&root, &arguments),
        Command::BenchEngine { arguments } => bench::engine(&root, &arguments),
        Command::Cases { arguments } => cases::run(&root, &arguments),
        Command::Ci => ci::run(&root),
        Command::Codegen(options) => codegen::run(&options),
        Command::Demo => demo::run(&root),
        Command::Fuzz { arguments } => fuzz::run(&root, &arguments),
        Command::Guard => bench::guard(&root),
        Command::Instructions { arguments } => bench::instructions(&root, &arguments),
        Command::Matrix { names } => matrix::run(&root, &names),
        Command::Postgres => postgres::run(&root),
        Command::Proofs { names } => proofs::run(&root, &names),
        Command::Sim { arguments } => sim::run(&root, &arguments),
        Command::StreamsConformance(options) => streams_conformance::run(&root, &options),
        Command::Tidy => tidy::run(&root),
    }
}

/// The repository's root.
fn root() -> anyhow::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    Ok(here.to_path_buf())
}
