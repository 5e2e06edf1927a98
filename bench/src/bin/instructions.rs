//! `cargo xtask instructions`: user-space instructions per operation, counted by valgrind, and where they go.
//!
//! Repeatable to about a percent whatever else the machine does, which CPU time is not; it leaves out the kernel. Each
//! workload's profile stays beside the server's data for `callgrind_annotate`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use headwater_bench::load::Connection;
use headwater_bench::subject::Subject;
use headwater_bench::workload;

#[derive(Parser)]
struct Arguments {
    /// The server's release binary; with debug information the profiles name functions.
    #[arg(long)]
    server: PathBuf,
    /// The bare server's release binary.
    #[arg(long)]
    bare: PathBuf,
    /// Where the profiles go.
    #[arg(long)]
    profiles: PathBuf,
    /// Operations counted per workload.
    #[arg(long, default_value_t = 500)]
    operations: usize,
    /// Bytes of an item.
    #[arg(long, default_value_t = 1_000)]
    item_bytes: usize,
    /// Only workloads whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
    /// Counts on a store on disk too.
    #[arg(long)]
    disk: bool,
}

/// One server under valgrind and what it is asked.
struct Run<'a> {
    arguments: &'a Arguments,
    profile: PathBuf,
    subject: Subject,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.profiles)?;
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    println!("| server | workload | instructions per operation |\n|---|---|---|");
    let bare = Run::start(&arguments, "bare", &arguments.bare, &[])?;
    bare.count("put", &workload::puts("plain", arguments.item_bytes, 1))?;
    bare.count("get", &workload::gets("plain"))?;
    drop(bare);
    let (audit, data) = (path("memory.jsonl"), path("data"));
    let common = ["--listen", "127.0.0.1:0", "--audit", &audit];
    measure(&Run::start(&arguments, "memory", &arguments.server, &[&common[..], &["--in-memory"]].concat())?)?;
    if arguments.disk {
        measure(&Run::start(&arguments, "disk", &arguments.server, &[&common[..], &["--data-dir", &data]].concat())?)?;
    }
    Ok(())
}

fn measure(run: &Run<'_>) -> Result<()> {
    let size = run.arguments.item_bytes;
    // Keys that are there, and partition keys with all their items.
    let keys: Vec<usize> = (0..run.arguments.operations).collect();
    let mut queries = workload::queries("plain");
    queries.truncate(keys.len() / workload::QUERY_ITEMS);
    ensure!(!queries.is_empty(), "a query wants {} operations", workload::QUERY_ITEMS);
    let mut connection = Connection::open(run.subject.address)?;
    workload::create_table(&mut connection, "plain", false)?;
    workload::create_table(&mut connection, "streamed", true)?;
    run.send(&mut connection, &workload::puts_in_order("plain", size, 0))?;
    run.count("put", &workload::puts_in_order("plain", size, 1))?;
    run.count("get", &workload::gets_of("plain", &keys))?;
    run.count("update", &workload::updates_of("plain", &keys))?;
    run.count("query 25", &queries)?;
    run.count("batch-write 25", &workload::batch_writes("plain", size, 2))?;
    run.count("transact 4", &workload::transactions("plain", size, 1))?;
    run.send(&mut connection, &workload::puts_in_order("streamed", size, 0))?;
    run.count("put with stream", &workload::puts_in_order("streamed", size, 1))
}

impl<'a> Run<'a> {
    fn start(arguments: &'a Arguments, name: &str, program: &Path, of_server: &[&str]) -> Result<Self> {
        let profile = arguments.profiles.join(name);
        let (out, program) = (format!("--callgrind-out-file={}", profile.display()), program.display().to_string());
        let valgrind = ["-q", "--tool=callgrind", "--instr-atstart=no", &out, &program];
        let subject = Subject::start(Path::new("valgrind"), &[&valgrind[..], of_server].concat())
            .context("valgrind is needed: it counts instructions")?;
        Ok(Self { arguments, profile, subject })
    }

    fn send(&self, connection: &mut Connection, requests: &[Vec<u8>]) -> Result<()> {
        requests
            .iter()
            .cycle()
            .take(self.arguments.operations)
            .try_for_each(|request| connection.call(request).map(drop))
    }

    /// Counts a workload over one connection after a tenth of it to warm up.
    fn count(&self, workload: &str, requests: &[Vec<u8>]) -> Result<()> {
        if !workload.contains(&self.arguments.only) {
            return Ok(());
        }
        let mut connection = Connection::open(self.subject.address)?;
        for request in requests.iter().take(self.arguments.operations.div_ceil(10)) {
            connection.call(request)?;
        }
        self.control(&["--instr=on"])?;
        self.send(&mut connection, requests)?;
        self.control(&["--instr=off"])?;
        let name = workload.replace(' ', "-");
        self.control(&[&format!("--dump={name}")])?;
        let instructions = self.take_profile(&name)?;
        let server = self.profile.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        println!("| {server} | {workload} | {} |", instructions / self.arguments.operations as u64);
        Ok(())
    }

    fn control(&self, arguments: &[&str]) -> Result<()> {
        let id = self.subject.id().to_string();
        let done = Command::new("callgrind_control").args(arguments).arg(&id).output().context("callgrind_control")?;
        ensure!(done.status.success(), "callgrind_control: {}", String::from_utf8_lossy(&done.stdout));
        Ok(())
    }

    /// Renames the profile that was dumped last and reads its total.
    fn take_profile(&self, workload: &str) -> Result<u64> {
        let numbered = |number: u32| PathBuf::from(format!("{}.{number}", self.profile.display()));
        let dumped = (1..100).map(numbered).find(|path| path.exists()).context("valgrind has dumped nothing")?;
        let text = std::fs::read_to_string(&dumped)?;
        std::fs::rename(&dumped, format!("{}-{workload}.callgrind", self.profile.display()))?;
        let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: ")).context("no total")?;
        Ok(total.trim().parse()?)
    }
}
