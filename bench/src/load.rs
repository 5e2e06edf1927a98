//! Load: plain threads, one keep-alive connection each, requests made beforehand so that the client costs little.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// One keep-alive HTTP/1.1 connection with reused buffers.
pub struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream, answer: Vec::with_capacity(64 * 1024) })
    }

    /// Sends a whole request and returns the body of its answer; anything but 200 is an error.
    pub fn call(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.stream.write_all(request)?;
        self.answer.clear();
        let mut chunk = [0u8; 16 * 1024];
        loop {
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                bail!("the server closed the connection");
            }
            self.answer.extend_from_slice(&chunk[..read]);
            let Some(head) = find(&self.answer, b"\r\n\r\n") else { continue };
            let length = content_length(&self.answer[..head])?;
            if self.answer.len() >= head + 4 + length {
                let body = head + 4;
                if !self.answer.starts_with(b"HTTP/1.1 200") {
                    bail!("{}", String::from_utf8_lossy(&self.answer));
                }
                return Ok(&self.answer[body..body + length]);
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn content_length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head)?;
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value.trim())
    });
    Ok(line.context("an answer without Content-Length")?.parse()?)
}

/// What a run of load came to.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Operations done.
    pub operations: usize,
    /// How long they took together.
    pub elapsed: Duration,
    /// Sorted times of single operations, in microseconds.
    pub latencies_us: Vec<u64>,
}

impl Ran {
    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    /// A latency quantile in microseconds.
    pub fn quantile_us(&self, quantile: f64) -> u64 {
        let last = self.latencies_us.len().saturating_sub(1);
        self.latencies_us.get((last as f64 * quantile) as usize).copied().unwrap_or_default()
    }
}

/// Where a run of load ends: at whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Operations.
    pub operations: usize,
    /// Wall clock since the first request; what is under way then is still waited for.
    pub elapsed: Option<Duration>,
}

impl Limits {
    /// All of so many operations, however long they take: to fill tables, to work off a whole list.
    pub fn all(operations: usize) -> Self {
        Self { operations, elapsed: None }
    }
}

/// Sends requests over `connections` until a limit is met; `request(i)` gives the i-th one. Those done are the first
/// [`Ran::operations`] of them, without a gap.
pub fn run<'a>(
    address: SocketAddr,
    connections: usize,
    limits: Limits,
    request: impl Fn(usize) -> &'a [u8] + Sync,
) -> Result<Ran> {
    let next = AtomicUsize::new(0);
    let latencies = Mutex::new(Vec::with_capacity(limits.operations));
    // All are open before the clock runs: many at once may have to knock twice, a second apart.
    let opened: Vec<Connection> = (0..connections).map(|_| Connection::open(address)).collect::<Result<_>>()?;
    let start = Instant::now();
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = opened
            .into_iter()
            .map(|mut connection| {
                let (next, latencies, request) = (&next, &latencies, &request);
                scope.spawn(move || -> Result<()> {
                    let mut own = Vec::with_capacity(limits.operations / connections + 1);
                    loop {
                        // The time is looked at before a request is taken, so that each that is taken is sent.
                        let sent = Instant::now();
                        if limits.elapsed.is_some_and(|limit| sent.duration_since(start) >= limit) {
                            break;
                        }
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        if i >= limits.operations {
                            break;
                        }
                        connection.call(request(i))?;
                        own.push(sent.elapsed().as_micros() as u64);
                    }
                    latencies.lock().expect("no holder panics").extend(own);
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a load thread panicked"))??;
        }
        Ok(())
    })?;
    let elapsed = start.elapsed();
    let mut latencies_us = latencies.into_inner().expect("no holder panics");
    latencies_us.sort_unstable();
    Ok(Ran { operations: latencies_us.len(), elapsed, latencies_us })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers every request that ends in an empty line, until its peers close.
    fn answering(connections: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let answer = |mut stream: TcpStream| {
            let mut chunk = [0; 1_024];
            while stream.read(&mut chunk).is_ok_and(|read| read > 0) {
                if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
                    break;
                }
            }
        };
        thread::spawn(move || {
            listener
                .incoming()
                .take(connections)
                .flatten()
                .for_each(|stream| drop(thread::spawn(move || answer(stream))));
        });
        address
    }

    /// Runs against [`answering`]; what ran, and how often each request was asked for.
    fn counted(limits: Limits) -> (Ran, Vec<usize>) {
        let asked = Mutex::new(Vec::new());
        let request = |at: usize| {
            asked.lock().expect("no holder panics").push(at);
            b"GET / HTTP/1.1\r\n\r\n".as_slice()
        };
        let ran = run(answering(4), 4, limits, request).expect("a run");
        let mut asked = asked.into_inner().expect("no holder panics");
        asked.sort_unstable();
        (ran, asked)
    }

    #[test]
    fn a_run_ends_at_its_operations() {
        let (ran, asked) = counted(Limits { operations: 100, elapsed: Some(Duration::from_secs(3_600)) });
        assert_eq!((ran.operations, ran.latencies_us.len()), (100, 100));
        assert_eq!(asked, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_run_ends_at_its_time_and_says_what_was_done() {
        let limit = Duration::from_millis(50);
        let (ran, asked) = counted(Limits { operations: 1_000_000, elapsed: Some(limit) });
        assert!(ran.elapsed >= limit, "{:?}", ran.elapsed);
        assert!(ran.operations > 0 && ran.operations < 1_000_000, "{} operations", ran.operations);
        assert_eq!(asked, (0..ran.operations).collect::<Vec<_>>(), "a gap");
    }

    #[test]
    fn all_of_them_has_no_time() {
        let (ran, asked) = counted(Limits::all(10));
        assert_eq!((ran.operations, asked.len()), (10, 10));
    }
}
