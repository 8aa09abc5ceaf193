//! A server is replaced five times while clients go on: no request fails, is lost or done twice.
//!
//! ```text
//! cargo run --release --example hot_upgrade                  everything with one command
//! cargo run --release --example hot_upgrade -- server PATH   again in another terminal: takes over
//! cargo run --release --example hot_upgrade -- client PATH   until Enter is pressed
//! ```
//!
//! Each server notes what it does in `PATH.done`, before it answers: that is what the clients' own count is
//! compared with at the end.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, exit, id};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use shmipc_async::{Config, Drained, ListenError, Listener, Session, Stream};
use tokio::time::timeout;

const UPGRADES: usize = 5;

/// Between upgrades, and between lines of the table.
const PERIOD: Duration = Duration::from_millis(500);

/// Each client sends a request every so often, whether or not it had to wait for the reply before.
const INTERVAL: Duration = Duration::from_millis(1);

/// For a request, and for the streams of a server that is replaced.
const DEADLINE: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => everything(),
        ["server", path] => server(Path::new(path)),
        ["client", path] => client(Path::new(path)),
        _ => Err(anyhow!("usage: hot_upgrade [server PATH | client PATH]")),
    }
}

// The whole of it.

fn everything() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("socket");
    let mut server = Process::server(&path)?;
    let mut client = Process::start("client", &path, Stdio::inherit())?;
    for _ in 0..UPGRADES {
        thread::sleep(PERIOD);
        let next = Process::server(&path)?;
        server.end()?;
        server = next;
    }
    thread::sleep(PERIOD);
    client.end()
    // The last server is killed.
}

/// A process of this program, which does not outlive its handle.
struct Process(Child);

impl Process {
    fn start(role: &str, path: &Path, output: Stdio) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let command = command.arg(role).arg(path).stdin(Stdio::piped()).stdout(output);
        Ok(Self(command.spawn()?))
    }

    /// One that serves already.
    fn server(path: &Path) -> anyhow::Result<Self> {
        let mut process = Self::start("server", path, Stdio::piped())?;
        let output = process.0.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.is_empty() { Err(anyhow!("the server does not serve")) } else { Ok(process) }
    }

    /// Waits until it is done. A client is, when its input ends.
    fn end(&mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        if status.success() { Ok(()) } else { Err(anyhow!("a process failed: {status}")) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// The server.

#[tokio::main]
async fn server(path: &Path) -> anyhow::Result<()> {
    let done = log_of(path);
    let log = OpenOptions::new().create(true).append(true).open(&done);
    let log = Arc::new(log.with_context(|| format!("cannot open {}", done.display()))?);
    let listener = Listener::bind_upgradable(path).await?;
    // A server that has much to load does that here: the one before it goes on meanwhile.
    listener.ready().await?;
    let generation = listener.generation();
    println!("server {}: generation {generation} serves", id());
    loop {
        match listener.accept().await {
            Ok(session) => drop(tokio::spawn(serve(session, generation, Arc::clone(&log)))),
            Err(ListenError::HandedOver) => match timeout(DEADLINE, listener.drain()).await {
                Ok(Ok(Drained::Resumed)) => {}
                Ok(Ok(Drained::Done)) => return Ok(()),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => bail!("streams were still open at the deadline"),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

async fn serve(session: Session, generation: u64, log: Arc<File>) {
    while let Ok(stream) = session.accept().await {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            // The client is told by the end of the stream.
            let _ = answer(stream, generation, &log).await;
        });
    }
}

async fn answer(mut stream: Stream, generation: u64, mut log: &File) -> anyhow::Result<()> {
    let mut reply = [0; 24];
    if stream.recv_into(&mut reply[8..]).await? == Some(16) {
        reply[..8].copy_from_slice(&generation.to_ne_bytes());
        log.write_all(&reply[8..])?;
        stream.finish_with(&reply).await?;
    }
    Ok(())
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".done");
    name.into()
}

// The clients.

/// Two of the blocking flavour and two of the tokio flavour, until standard input ends.
fn client(path: &Path) -> anyhow::Result<()> {
    let tally = Arc::new(Tally::new());
    let threads: Vec<_> = (0..2)
        .map(|number| {
            let (path, tally) = (path.to_owned(), Arc::clone(&tally));
            thread::spawn(move || blocking(&path, number, &tally))
        })
        .collect();
    let runtime = tokio::runtime::Runtime::new()?;
    let tasks: Vec<_> = (2..4)
        .map(|number| runtime.spawn(asynchronous(path.to_owned(), number, Arc::clone(&tally))))
        .collect();
    let enough = Arc::clone(&tally);
    thread::spawn(move || {
        let _ = io::stdin().lock().read(&mut [0]);
        enough.stop.store(true, Ordering::Relaxed);
    });
    println!("   time  generation  requests/s    p99 µs  longest ms  errors");
    let start = Instant::now();
    while !tally.stop.load(Ordering::Relaxed) {
        thread::sleep(PERIOD);
        tally.print_line(start);
    }
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a client failed"))?;
    }
    for task in tasks {
        runtime.block_on(task)?;
    }
    if tally.print_sum(path)? { Ok(()) } else { exit(1) }
}

fn blocking(path: &Path, number: u64, tally: &Tally) {
    let client = shmipc_sync::Client::new(path, Config::default());
    let mut due = Instant::now();
    for sequence in 0.. {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if tally.stop.load(Ordering::Relaxed) {
            return;
        }
        let reply = client.call(&request(number, sequence), Instant::now() + DEADLINE);
        let reply = reply.map(|reply| reply.to_vec()).map_err(|error| error.to_string());
        tally.add(due, number, sequence, reply);
        due += INTERVAL;
    }
}

async fn asynchronous(path: PathBuf, number: u64, tally: Arc<Tally>) {
    let client = shmipc_async::Client::new(path, Config::default());
    let mut due = Instant::now();
    for sequence in 0.. {
        tokio::time::sleep_until(due.into()).await;
        if tally.stop.load(Ordering::Relaxed) {
            return;
        }
        let reply = client.call(&request(number, sequence), Instant::now() + DEADLINE).await;
        let reply = reply.map(|reply| reply.to_vec()).map_err(|error| error.to_string());
        tally.add(due, number, sequence, reply);
        due += INTERVAL;
    }
}

/// The same number for no two clients, also of different processes.
fn client_number(number: u64) -> u64 {
    u64::from(id()) << 8 | number
}

fn request(number: u64, sequence: u64) -> Vec<u8> {
    [client_number(number).to_ne_bytes(), sequence.to_ne_bytes()].concat()
}

/// What the clients have seen.
struct Tally {
    stop: AtomicBool,
    counts: Mutex<Counts>,
}

struct Counts {
    generation: u64,
    /// Microseconds from when a request was due, since the last line of the table.
    times: Vec<u64>,
    longest: Duration,
    /// Requests of each client.
    sent: HashMap<u64, u64>,
    failed: u64,
}

impl Tally {
    fn new() -> Self {
        let counts = Counts {
            generation: 0,
            times: Vec::new(),
            longest: Duration::ZERO,
            sent: HashMap::new(),
            failed: 0,
        };
        Self { stop: AtomicBool::new(false), counts: Mutex::new(counts) }
    }

    fn add(&self, due: Instant, number: u64, sequence: u64, reply: Result<Vec<u8>, String>) {
        let took = due.elapsed();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.sent.entry(client_number(number)).or_default() += 1;
        counts.times.push(took.as_micros() as u64);
        counts.longest = counts.longest.max(took);
        match reply {
            Ok(reply) if reply.get(8..) == Some(&request(number, sequence)) => {
                let generation = reply[..8].try_into().map_or(0, u64::from_ne_bytes);
                counts.generation = counts.generation.max(generation);
            }
            Ok(_) => counts.failed += 1,
            Err(error) => {
                counts.failed += 1;
                println!("a request failed: {error}");
            }
        }
    }

    fn print_line(&self, start: Instant) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut times = std::mem::take(&mut counts.times);
        times.sort_unstable();
        let percentile_99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
        println!(
            "{:>5.1} s  {:>10}  {:>10.0}  {:>8}  {:>10.2}  {:>6}",
            start.elapsed().as_secs_f64(),
            counts.generation,
            times.len() as f64 / PERIOD.as_secs_f64(),
            percentile_99,
            times.last().copied().unwrap_or_default() as f64 / 1000.0,
            counts.failed
        );
    }

    /// Compares with what the servers have done; whether all is well.
    fn print_sum(&self, path: &Path) -> anyhow::Result<bool> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done: HashMap<Vec<u8>, u64> = HashMap::new();
        for request in fs::read(log_of(path))?.chunks(16) {
            *done.entry(request.to_vec()).or_default() += 1;
        }
        let sent = counts.sent.iter().flat_map(|(client, count)| {
            (0..*count).map(move |number| [client.to_ne_bytes(), number.to_ne_bytes()].concat())
        });
        let (mut requests, mut lost, mut duplicated) = (0, 0, 0);
        for request in sent {
            requests += 1;
            match done.get(&request) {
                None => lost += 1,
                Some(1) => {}
                Some(_) => duplicated += 1,
            }
        }
        println!(
            "\n{requests} requests, {} failed, {lost} lost, {duplicated} duplicated; longest pause {:.2} ms",
            counts.failed,
            counts.longest.as_secs_f64() * 1000.0
        );
        Ok(counts.failed + lost + duplicated == 0 && requests > 0)
    }
}
