//! `headwater-cases`: replays the cases against an endpoint, or lists those whose answers no source is known for.
#![allow(clippy::disallowed_methods, reason = "a client on the real clock")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use aws_credential_types::Credentials;
use clap::Parser;
use futures_util::{StreamExt, stream};
use headwater_cases::control::ControlPoint;
use headwater_cases::http::Authority;
use headwater_cases::remote::{Endpoint, Session, Verdict};
use headwater_cases::signature::Signer;
use headwater_cases::{Case, Cases};

/// Replays requests with known answers against anything that speaks DynamoDB.
#[derive(Parser)]
#[command(name = "headwater-cases")]
struct Arguments {
    /// Where to send them: `http://HOST:PORT`
    #[arg(long, value_name = "URL", required_unless_present = "unverified")]
    endpoint: Option<String>,
    /// Lists the cases whose answer is known from no source, and sends nothing
    #[arg(long)]
    unverified: bool,
    /// Only cases whose `file::name` contains this
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    only: String,
    /// Access key to sign with
    #[arg(long, value_name = "K", env = "AWS_ACCESS_KEY_ID", default_value = "anyone")]
    access_key: String,
    /// Secret to sign with
    #[arg(long, value_name = "S", env = "AWS_SECRET_ACCESS_KEY", default_value = "anything", hide_env_values = true)]
    secret_key: String,
    /// Token of temporary credentials
    #[arg(long, value_name = "T", env = "AWS_SESSION_TOKEN", hide_env_values = true)]
    session_token: Option<String>,
    /// Region to sign for
    #[arg(long, value_name = "R", env = "AWS_REGION", default_value = "us-east-1")]
    region: String,
    /// The endpoint is Headwater: judge its documented differences too
    #[arg(long)]
    headwater: bool,
    /// The endpoint takes any Region: cases that need an empty account run in Regions of their own
    #[arg(long)]
    any_region: bool,
    /// Headwater's admin address, started with --control: cases that move time or shards run too, after the others
    #[arg(long, value_name = "URL", requires_all = ["headwater", "token"])]
    admin: Option<String>,
    /// The token of its control API
    #[arg(long, value_name = "T", env = "HEADWATER_CONTROL_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Cases at a time [default: 8 on this machine, else 2]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Milliseconds between two looks at a table in a short state [default: 25 on this machine, else 2000]
    #[arg(long, value_name = "MS")]
    pause_ms: Option<u64>,
    /// Folder of the case files [default: the repository's]
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Leaves out the lines of cases that passed
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("headwater-cases: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The number of failed cases.
fn run(arguments: &Arguments) -> Result<usize> {
    let folder = arguments.cases.clone().unwrap_or_else(Cases::folder);
    let cases = Cases::read(&folder).map_err(|why| anyhow!(why))?;
    ensure!(!cases.all.is_empty(), "{} holds no cases", folder.display());
    if arguments.unverified {
        unverified(&cases);
        return Ok(0);
    }
    let endpoint = endpoint(arguments)?;
    let jobs = arguments.jobs.unwrap_or(if endpoint.authority.is_loopback() { 8 } else { 2 }).max(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
    let chosen: Vec<&Case> = cases.all.iter().filter(|case| case.title().contains(&arguments.only)).collect();
    ensure!(!chosen.is_empty(), "no case is called {}", arguments.only);
    runtime.block_on(async {
        let session = Session::open(endpoint).await?;
        let session = &session;
        let fixtures = &cases.fixtures;
        // What moves the time of every table runs alone, at the end.
        let (moving, others): (Vec<_>, Vec<_>) =
            chosen.into_iter().enumerate().partition(|(_, case)| case.requires.as_deref() == Some("control"));
        let run = |(number, case)| async move { (case, session.case(number, case, fixtures).await) };
        let (moving, others) = (moving.into_iter().map(run), others.into_iter().map(run));
        let mut verdicts = stream::iter(others).buffered(jobs).chain(stream::iter(moving).buffered(1));
        let mut counts = Counts::default();
        while let Some((case, verdict)) = verdicts.next().await {
            counts.take(case, verdict, arguments.quiet);
        }
        counts.report()
    })
}

fn endpoint(arguments: &Arguments) -> Result<Endpoint> {
    let authority = Authority::of(arguments.endpoint.as_deref().context("--endpoint is missing")?)?;
    let near = authority.is_loopback();
    let (key, secret) = (arguments.access_key.clone(), arguments.secret_key.clone());
    let control = match (&arguments.admin, &arguments.token) {
        (Some(admin), Some(token)) => Some(ControlPoint { authority: Authority::of(admin)?, token: token.clone() }),
        _ => None,
    };
    let credentials = Credentials::new(key, secret, arguments.session_token.clone(), None, "arguments");
    Ok(Endpoint {
        authority,
        signer: Signer { credentials, region: arguments.region.clone() },
        headwater: arguments.headwater,
        any_region: arguments.any_region,
        control,
        pause: Duration::from_millis(arguments.pause_ms.unwrap_or(if near { 25 } else { 2_000 })),
    })
}

fn unverified(cases: &Cases) {
    for case in cases.all.iter().filter(|case| case.is_unverified()) {
        println!("{}: {}", case.title(), case.source);
    }
    println!();
    let (mut all, mut sum) = (0, 0);
    for (family, (of_family, unverified)) in cases.by_family() {
        println!("{unverified:5} of {of_family:4}  {family}");
        (all, sum) = (all + of_family, sum + unverified);
    }
    println!("{sum:5} of {all:4}  cases are unverified");
}

/// Passed, failed and skipped, by family.
#[derive(Default)]
struct Counts {
    families: BTreeMap<String, [usize; 3]>,
    judged: BTreeMap<String, usize>,
}

impl Counts {
    fn take(&mut self, case: &Case, verdict: Verdict, quiet: bool) {
        let place = match verdict {
            Verdict::Passed(judged) => {
                judged.into_iter().for_each(|(operation, count)| *self.judged.entry(operation).or_default() += count);
                if !quiet {
                    println!("pass  {}", case.title());
                }
                0
            }
            Verdict::Failed(why) => {
                println!("FAIL  {} (source: {})\n      {why}", case.title(), case.source);
                1
            }
            Verdict::Skipped(why) => {
                if !quiet {
                    println!("skip  {}: {why}", case.title());
                }
                2
            }
        };
        self.families.entry(case.family.clone()).or_default()[place] += 1;
    }

    fn report(&self) -> Result<usize> {
        println!("\npassed failed skipped");
        let mut sums = [0; 3];
        for (family, counts) in &self.families {
            println!("{:6} {:6} {:7}  {family}", counts[0], counts[1], counts[2]);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        let answers: usize = self.judged.values().sum();
        println!("{:6} {:6} {:7}  cases", sums[0], sums[1], sums[2]);
        println!("{answers} answers judged of {} operations", self.judged.len());
        ensure!(sums[0] + sums[1] > 0, "no case could be run");
        Ok(sums[1])
    }
}
