//! Takes the engines through their rounds. With several rounds they take turns and whoever is not at it stands still
//! (stopped by a signal, its compactions too): none disturbs another, and each finds its own work as it left it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::Arguments;
use crate::child::{Answer, Order};
use crate::report::Row;
use crate::usage::folder_bytes;

struct Engine {
    process: Process,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    folder: PathBuf,
    row: Row,
}

impl Engine {
    fn start(name: &str, arguments: &Arguments) -> Result<Self> {
        let folder = arguments.directory.join(name);
        ensure!(!folder.exists(), "{} is there already", folder.display());
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--serve").arg(name).args(arguments.for_engine());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = process.stdin.take().context("its input is a pipe")?;
        let answers = BufReader::new(process.stdout.take().context("its output is a pipe")?);
        let row = Row { name: name.to_owned(), ..Row::default() };
        let engine = Self { process, orders, answers, folder, row };
        engine.signal(Signal::STOP)?;
        Ok(engine)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.process), signal)?)
    }

    /// Lets it go on for one order.
    fn perform(&mut self, order: Order) -> Result<Answer> {
        self.signal(Signal::CONT)?;
        writeln!(self.orders, "{}", serde_json::to_string(&order)?)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let name = &self.row.name;
        ensure!(!line.is_empty(), "{name} ended at {order:?}");
        let answer: Answer = serde_json::from_str(&line)?;
        if let Order::End = order {
            ensure!(self.process.wait()?.success(), "{name} did not end well");
        } else {
            self.signal(Signal::STOP)?;
        }
        let (seconds, mib) = (answer.elapsed_us / 1_000_000, answer.folder_bytes >> 20);
        let cpu = answer.cpu_us as f64 / answer.count.max(1) as f64;
        eprintln!("{name:<20} {order:?}: {} in {seconds} s, {cpu:.1} µs of CPU each, {mib} MiB on disk", answer.count);
        self.row.folder_bytes[2] = self.row.folder_bytes[2].max(answer.folder_bytes);
        Ok(answer)
    }

    fn end(mut self) -> Result<Row> {
        self.row.folder_bytes[0] = folder_bytes(&self.folder)?;
        let answer = self.perform(Order::End)?;
        self.row.folder_bytes[1] = answer.folder_bytes;
        self.row.whole = answer.whole.context("the end says what it came to")?;
        Ok(std::mem::take(&mut self.row))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // One that has ended is not there to be killed; a folder that cannot be removed is seen by whoever looks.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// All engines' figures. With one round each engine's folder is gone before the next one begins.
pub fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    fs::create_dir_all(&arguments.directory)?;
    if arguments.rounds > 1 {
        return together(&arguments.engines, arguments);
    }
    let one = |name: &String| together(std::slice::from_ref(name), arguments);
    Ok(arguments.engines.iter().map(one).collect::<Result<Vec<_>>>()?.concat())
}

fn together(names: &[String], arguments: &Arguments) -> Result<Vec<Row>> {
    let mut engines: Vec<Engine> = names.iter().map(|name| Engine::start(name, arguments)).collect::<Result<_>>()?;
    let share = |of: u64, round: u64| of * (round + 1) / arguments.rounds - of * round / arguments.rounds;
    for round in 0..arguments.rounds {
        let order = Order::Load { items: share(arguments.items, round), group: arguments.load_group };
        for engine in &mut engines {
            let answer = engine.perform(order)?;
            engine.row.load.push(answer);
            hold_bounds(arguments)?;
        }
    }
    for round in 0..arguments.rounds {
        let seconds = share(arguments.seconds, round);
        let order = Order::Overwrite { seconds, rate: arguments.rate, group: arguments.load_group };
        for engine in &mut engines {
            let answer = engine.perform(order)?;
            engine.row.overwrite.push(answer);
            if engine.row.name != "nothing" {
                let answer = engine.perform(Order::Read { count: arguments.reads })?;
                engine.row.read.push(answer);
            }
            hold_bounds(arguments)?;
        }
    }
    engines.into_iter().map(Engine::end).collect()
}

/// Errors: the disk would get fuller than was asked for.
fn hold_bounds(arguments: &Arguments) -> Result<()> {
    let used = folder_bytes(&arguments.directory)?;
    ensure!(used <= arguments.disk_bytes_max, "the engines take {used} bytes of disk");
    let free = free_bytes(&arguments.directory)?;
    ensure!(free >= arguments.free_bytes_min, "only {free} bytes of disk are free");
    Ok(())
}

fn free_bytes(folder: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail * disk.f_frsize)
}
