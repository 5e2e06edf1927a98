//! A process that keeps a store on the real disk busy and writes down what was acknowledged. Run under the recorder.
//!
//! Arguments: the recorded folder, how many steps each driver takes at least, and perhaps `no-sync`: a planted bug.
//! Drivers go on until the tree has made its tables, which a slow machine does later.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_crash::workload;
use headwater_storage::embedded::{self, Planted};
use headwater_storage::ledger::Driver;
use headwater_types::runtime::tokio_runtime;
use headwater_types::{Clock, Millis};
use parking_lot::Mutex;

/// How much longer than asked for a driver goes on.
const STEPS_FACTOR_MAX: u64 = 100;

/// Tables that were ever made: they are named by a counter.
fn made(tables: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(tables) else { return 0 };
    let number = |file: std::io::Result<std::fs::DirEntry>| file.ok()?.file_name().to_str()?.parse::<u64>().ok();
    files.filter_map(number).max().map_or(0, |last| last + 1)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().expect("the recorded folder"));
    let steps: u64 = arguments.next().expect("steps").parse().expect("a number of steps");
    let planted = arguments.next().map(|word| {
        assert_eq!(word, "no-sync");
        Planted::NoSync
    });
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("threads start");
    let runtime = tokio_runtime::on(tokio.handle().clone());
    let acknowledged = std::fs::File::create(root.join(workload::ACKNOWLEDGED)).expect("the list can be made");
    let acknowledged = Arc::new(Mutex::new(acknowledged));
    tokio.block_on(async {
        let clock = Clock::new(runtime.clone(), Millis::default());
        let settings = workload::settings(&root.join(workload::DATA), planted);
        let (cell, _) = embedded::open(settings, runtime.clone(), clock).await.expect("the store opens");
        let mut drivers = Vec::new();
        for partitions in workload::drivers() {
            let mut driver = Driver::new(cell.clone(), runtime.clone(), partitions);
            let list = acknowledged.clone();
            let tables = root.join(workload::TABLES);
            drivers.push(runtime.spawn(async move {
                for step in 0..steps * STEPS_FACTOR_MAX {
                    if step >= steps && made(&tables) >= workload::TABLES_MIN {
                        break;
                    }
                    let (acknowledged, error) = driver.step().await;
                    assert!(error.is_none(), "{error:?}");
                    let lines: String = acknowledged.into_iter().map(|each| each.to_line()).collect();
                    list.lock().write_all(lines.as_bytes()).expect("the list can be written");
                }
            }));
        }
        for driver in drivers {
            driver.await.expect("a driver ends");
        }
        let stats = cell.stats();
        println!("{} groups, {} plans, {} syncs", stats.groups, stats.plans, stats.syncs);
    });
    // No clean end: the power fails while flushes and compactions are under way.
    std::process::exit(0);
}
