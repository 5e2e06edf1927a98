//! `cargo xtask bench data-streams`: records in and out of a Kinesis data stream on disk, beside what the disk itself takes.
//!
//! Figures: PutRecords of large records in MB/s beside synced appends of the same blocks to the same disk, in interleaved
//! rounds; GetRecords in MB/s; time from acknowledgement to subscriber for several numbers of subscribers; server CPU per MB.
//! MB are 1,000,000 bytes of records' data, without base64 and JSON.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use headwater_bench::data_stream::{self, Subscriber};
use headwater_bench::load::{self, Connection, Limits, Ran};
use headwater_bench::report::median;
use headwater_bench::subject::Subject;

#[derive(Parser)]
struct Arguments {
    /// The server's release binary.
    #[arg(long)]
    server: PathBuf,
    /// MB put per round.
    #[arg(long, default_value_t = 256)]
    megabytes: usize,
    /// Interleaved rounds of appends and puts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Connections that put at once.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Bytes of a record that is put for throughput.
    #[arg(long, default_value_t = 100_000)]
    record_bytes: usize,
    /// Shards of the stream that is put to.
    #[arg(long, default_value_t = 4)]
    shards: usize,
    /// Subscribers at once, one row of results each.
    #[arg(long, value_delimiter = ',', default_value = "1,20,100")]
    subscribers: Vec<usize>,
    /// Small records that are pushed one at a time, for latency.
    #[arg(long, default_value_t = 1_000)]
    records: usize,
    /// MB delivered to all subscribers together, for CPU per MB.
    #[arg(long, default_value_t = 512)]
    delivered: usize,
}

/// Records of one PutRecords request.
const BATCH: usize = 10;
/// Requests made beforehand; they are sent again and again.
const REQUESTS: usize = 24;
/// Bytes of a record that is pushed for latency.
const SMALL_BYTES: usize = 200;
/// The quiet before a record that comes alone.
const QUIET: Duration = Duration::from_millis(10);
const MB: f64 = 1e6;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data").display().to_string();
    let flags = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir", &data];
    let subject = Subject::start(&arguments.server, &flags)?;
    throughput(&arguments, &subject, directory.path())?;
    println!(
        "\n| subscribers | records | p50 µs | p99 µs | after {} ms of quiet p50 µs | p99 µs | delivered MB/s | \
         CPU ms per delivered MB |\n|---|---|---|---|---|---|---|---|",
        QUIET.as_millis()
    );
    for &subscribers in &arguments.subscribers {
        let latency = pushed_one_at_a_time(&subject, subscribers, arguments.records, Duration::ZERO)?;
        let alone = pushed_one_at_a_time(&subject, subscribers, arguments.records, QUIET)?;
        let pushed = pushed_at_once(&arguments, &subject, subscribers)?;
        println!(
            "| {subscribers} | {} | {} | {} | {} | {} | {:.0} | {:.2} |",
            latency.operations,
            latency.quantile_us(0.5),
            latency.quantile_us(0.99),
            alone.quantile_us(0.5),
            alone.quantile_us(0.99),
            pushed.megabytes / pushed.elapsed.as_secs_f64(),
            pushed.cpu.as_secs_f64() * 1e3 / pushed.megabytes,
        );
    }
    println!("resident: {} MiB", subject.used()?.resident_bytes >> 20);
    Ok(())
}

/// What a phase moved and took.
struct Moved {
    megabytes: f64,
    elapsed: Duration,
    cpu: Duration,
}

fn throughput(arguments: &Arguments, subject: &Subject, directory: &std::path::Path) -> Result<()> {
    let mut connection = Connection::open(subject.address)?;
    data_stream::create_stream(&mut connection, "large", arguments.shards)?;
    let batch_bytes = BATCH * arguments.record_bytes;
    let requests = data_stream::batches("large", REQUESTS, BATCH, arguments.record_bytes);
    let operations = (arguments.megabytes * 1_000_000).div_ceil(batch_bytes);
    let (mut appended, mut put, mut share, mut cpu, mut disk) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..arguments.rounds {
        let rate = data_stream::synced_append_rate(directory, batch_bytes, arguments.megabytes * 1_000_000)? / MB;
        let before = subject.used()?;
        let request = |at: usize| requests[at % requests.len()].as_slice();
        let ran = load::run(subject.address, arguments.connections, Limits::all(operations), request)?;
        let after = subject.used()?;
        let megabytes = (ran.operations * batch_bytes) as f64 / MB;
        appended.push(rate);
        put.push(megabytes / ran.elapsed.as_secs_f64());
        share.push(megabytes / ran.elapsed.as_secs_f64() / rate);
        cpu.push((after.cpu - before.cpu).as_secs_f64() * 1e3 / megabytes);
        disk.push((after.disk_bytes - before.disk_bytes) as f64 / MB / megabytes);
    }
    let wanted = operations * BATCH * arguments.rounds;
    let got = polled(subject, wanted, arguments.record_bytes)?;
    println!("| what | MB/s | of the disk | CPU ms per MB | bytes to disk per byte |\n|---|---|---|---|---|");
    println!("| appends of {batch_bytes} bytes, each synced | {:.0} | 1.00 | | |", median(&appended));
    println!(
        "| PutRecords, {BATCH} of {} bytes, {} connections | {:.0} | {:.2} | {:.2} | {:.2} |",
        arguments.record_bytes,
        arguments.connections,
        median(&put),
        median(&share),
        median(&cpu),
        median(&disk)
    );
    println!(
        "| GetRecords, {} readers, {wanted} records | {:.0} | | {:.2} | |",
        arguments.shards,
        got.megabytes / got.elapsed.as_secs_f64(),
        got.cpu.as_secs_f64() * 1e3 / got.megabytes
    );
    Ok(())
}

/// Everything that was put, read by one reader per shard at once.
fn polled(subject: &Subject, wanted: usize, record_bytes: usize) -> Result<Moved> {
    let mut connection = Connection::open(subject.address)?;
    let shards = data_stream::shards(&mut connection, "large")?;
    let (before, start) = (subject.used()?, Instant::now());
    let counts = thread::scope(|scope| {
        let readers: Vec<_> = shards
            .iter()
            .map(|shard| scope.spawn(|| data_stream::read_shard(subject.address, "large", shard)))
            .collect();
        let joined = readers.into_iter().map(|reader| reader.join().map_err(|_| anyhow!("a reader panicked"))?);
        joined.collect::<Result<Vec<usize>>>()
    })?;
    let (elapsed, cpu) = (start.elapsed(), subject.used()?.cpu - before.cpu);
    ensure!(counts.iter().sum::<usize>() == wanted, "{counts:?} records read of {wanted}");
    Ok(Moved { megabytes: (wanted * record_bytes) as f64 / MB, elapsed, cpu })
}

/// Consumers of one stream. Source: the service's limit; more subscribers take more shards.
const CONSUMERS_MAX: usize = 20;

/// Shards of a stream that has so many subscribers.
fn shards_for(subscribers: usize) -> usize {
    subscribers.div_ceil(CONSUMERS_MAX)
}

/// A new stream with so many subscribers, the same number at each of its shards.
fn subscribed(subject: &Subject, name: &str, subscribers: usize) -> Result<Vec<Subscriber>> {
    let shards = shards_for(subscribers);
    ensure!(subscribers.is_multiple_of(shards), "{subscribers} subscribers are not the same number at {shards} shards");
    let mut connection = Connection::open(subject.address)?;
    let arn = data_stream::create_stream(&mut connection, name, shards)?;
    let shards = data_stream::shards(&mut connection, name)?;
    let mut all = Vec::new();
    for number in 0..subscribers / shards.len() {
        let consumer = data_stream::register(&mut connection, &arn, &format!("app-{number}"))?;
        for shard in &shards {
            all.push(Subscriber::open(subject.address, &consumer, shard)?);
        }
    }
    Ok(all)
}

/// Runs subscribers, each in a thread that gives `seen` every record's number and moment until `records` of them came, while
/// `put` puts.
fn with_subscribers(
    subscribers: Vec<Subscriber>,
    records: usize,
    seen: impl Fn(usize, Instant) + Sync,
    put: impl FnOnce() -> Result<()>,
) -> Result<u64> {
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        let (seen, failed) = (&seen, &failed);
        let threads: Vec<_> = subscribers
            .into_iter()
            .map(|mut subscriber| {
                scope.spawn(move || -> Result<u64> {
                    let (mut numbers, mut count) = (Vec::new(), 0);
                    while count < records {
                        let came = subscriber.next(&mut numbers)?;
                        // Empty events come for ever.
                        ensure!(!failed.load(Ordering::Acquire), "nobody puts any more");
                        for number in numbers.drain(..) {
                            ensure!(number == count, "record {number} came where {count} was due");
                            seen(number, came);
                            count += 1;
                        }
                    }
                    Ok(subscriber.bytes)
                })
            })
            .collect();
        let result = put();
        failed.store(result.is_err(), Ordering::Release);
        let joined = threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a subscriber panicked"))?);
        let bytes = joined.sum::<Result<u64>>();
        result.and(bytes)
    })
}

/// Puts one small record per shard at a time, each when all subscribers have had the one before and `quiet` is over: the
/// times from acknowledgement to sight. A record that is seen before its own acknowledgement counts as zero.
fn pushed_one_at_a_time(subject: &Subject, subscribers: usize, records: usize, quiet: Duration) -> Result<Ran> {
    let name = format!("small-{subscribers}-{}", quiet.as_millis());
    let all = subscribed(subject, &name, subscribers)?;
    let shards = shards_for(subscribers);
    let puts: Vec<Vec<u8>> =
        (0..records).map(|number| data_stream::numbered(&name, shards, number, SMALL_BYTES)).collect();
    let sights = Mutex::new(Vec::with_capacity(records * subscribers));
    let (count, acknowledged) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(records)));
    let start = Instant::now();
    let seen = |number: usize, came: Instant| {
        sights.lock().expect("no holder panics").push((number, came));
        count.fetch_add(1, Ordering::Release);
    };
    with_subscribers(all, records, seen, || {
        let mut connection = Connection::open(subject.address)?;
        for (number, put) in puts.iter().enumerate() {
            thread::sleep(quiet);
            connection.call(put)?;
            let now = Instant::now();
            acknowledged.lock().expect("no holder panics").push(now);
            while count.load(Ordering::Acquire) < (number + 1) * subscribers {
                ensure!(now.elapsed() < Duration::from_secs(30), "a record never came");
                thread::sleep(Duration::from_micros(50));
            }
        }
        Ok(())
    })?;
    let acknowledged = acknowledged.into_inner().expect("no holder panics");
    let sights = sights.into_inner().expect("no holder panics");
    let late =
        |(number, came): &(usize, Instant)| came.saturating_duration_since(acknowledged[*number]).as_micros() as u64;
    let mut latencies_us: Vec<u64> = sights.iter().map(late).collect();
    latencies_us.sort_unstable();
    ensure!(latencies_us.len() == records * subscribers, "{} of {}", latencies_us.len(), records * subscribers);
    Ok(Ran { operations: latencies_us.len(), elapsed: start.elapsed(), latencies_us })
}

/// Puts large records, one per shard at a time, as fast as one connection can while all subscribers read.
fn pushed_at_once(arguments: &Arguments, subject: &Subject, subscribers: usize) -> Result<Moved> {
    let name = format!("large-{subscribers}");
    let all = subscribed(subject, &name, subscribers)?;
    let records = (arguments.delivered * 1_000_000).div_ceil(arguments.record_bytes * subscribers);
    let shards = shards_for(subscribers);
    let puts: Vec<_> =
        (0..records).map(|number| data_stream::numbered(&name, shards, number, arguments.record_bytes)).collect();
    let (before, start) = (subject.used()?, Instant::now());
    let bytes = with_subscribers(
        all,
        records,
        |_, _| {},
        || {
            let mut connection = Connection::open(subject.address)?;
            puts.iter().try_for_each(|put| connection.call(put).map(drop)).context("PutRecords")
        },
    )?;
    let (elapsed, cpu) = (start.elapsed(), subject.used()?.cpu - before.cpu);
    let delivered = records * arguments.record_bytes * subscribers;
    ensure!(bytes as usize > delivered, "{bytes} bytes came for {delivered}");
    Ok(Moved { megabytes: delivered as f64 / MB, elapsed, cpu })
}
