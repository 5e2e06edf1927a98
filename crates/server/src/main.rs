//! The `headwater` command.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use headwater_server::certs::Certs;
use headwater_server::ctl::Ctl;
use headwater_server::descriptors::Limit;
use headwater_server::{Config, ControlAccess, Options, RunningServer, Store, certs, start_in_process};
use mimalloc::MiMalloc;

/// A request allocates about a hundred times; the system's allocator takes a sixth of a put for that.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// DynamoDB, DynamoDB Streams and Kinesis Data Streams on your own machine.
#[derive(Parser)]
#[command(name = "headwater", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// A TOML file of the options below, dashes written as underscores; flags and environment win over it
    #[arg(long, value_name = "FILE", env = "HEADWATER_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// Make a certificate for this machine, and one that vouches for it
    Certs(Certs),
    /// Move the clock and the shards of a running server
    Ctl(Box<Ctl>),
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HEADWATER_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("headwater: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the time to readiness is a person's, not the store's")]
fn run() -> Result<()> {
    let start = Instant::now();
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Certs(certs)) => {
            print!("{}", certs.run()?);
            return Ok(());
        }
        Some(Command::Ctl(ctl)) => {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
            print!("{}", runtime.block_on(ctl.run())?);
            return Ok(());
        }
        None => {}
    }
    if let Err(refused) = Limit::raise() {
        tracing::warn!("{refused}");
    }
    let file = arguments.config.as_deref().map(Options::from_file).transpose()?.unwrap_or_default();
    let config = Config::check(arguments.options.or(file))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let mut stop = signals()?;
        let server = start_in_process(config.clone()).await?;
        announce(&server, &config, start);
        let failed = server.store_failed();
        tokio::select! {
            biased;
            () = failed => {
                // The store has said in the log what failed; what runs is answered, so that clients go elsewhere.
                if let Err(error) = server.stop().await {
                    tracing::warn!("after the failure: {error:#}");
                }
                bail!("the store has failed and takes no writes any more; start again to recover what the disk holds");
            }
            () = stop.recv() => {}
        }
        // Whoever read our output may be gone.
        let _ = writeln!(std::io::stdout(), "stopping");
        server.stop().await
    })
}

fn announce(server: &RunningServer, config: &Config, start: Instant) {
    let addresses = server.addresses();
    let store = match &config.store {
        Store::Memory => "nothing is kept (--in-memory)".to_owned(),
        Store::Directory(directory) => format!("data in {}", directory.display()),
    };
    println!("headwater {} ready in {} ms, {store}", env!("CARGO_PKG_VERSION"), start.elapsed().as_millis());
    if let Some(recovered) = server.recovered() {
        println!("  recovered  {recovered}");
    }
    let url = |of| addresses.url(of);
    println!("  dynamodb   {}", url(addresses.dynamodb));
    println!("  streams    {}", url(addresses.streams));
    println!("  kinesis    {} (encryption of streams is described, not done)", url(addresses.kinesis));
    println!("  firehose   {} (no operation of it is in this version)", url(addresses.firehose));
    if let Some(admin) = addresses.admin {
        println!("  admin      http://{admin}/metrics");
        match (&config.control, server.control_token()) {
            (ControlAccess::Drawn, Some(token)) => {
                println!("  control    headwater ctl --admin http://{admin} --token {token} clock");
            }
            (ControlAccess::Token(_), _) => println!("  control    headwater ctl --admin http://{admin} clock"),
            (ControlAccess::Off | ControlAccess::Drawn, _) => {}
        }
    }
    let trusted = config.tls.as_ref().and_then(|tls| certs::authority_beside(&tls.certificate));
    let trusted = trusted.map_or(String::new(), |file| format!("AWS_CA_BUNDLE={} ", file.display()));
    println!(
        "  try: {trusted}AWS_ACCESS_KEY_ID=anyone AWS_SECRET_ACCESS_KEY=anything aws dynamodb list-tables \
         --region eu-west-1 --endpoint-url {}",
        url(addresses.dynamodb)
    );
}

/// Ctrl-C and SIGTERM.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

fn signals() -> Result<Signals> {
    Ok(Signals {
        #[cfg(unix)]
        terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).context("signals")?,
    })
}

impl Signals {
    async fn recv(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}
