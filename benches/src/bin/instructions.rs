//! `instructions`: how many instructions a message of 64 bytes takes, where clocks are too noisy to tell.
//!
//! ```text
//! cargo run --release -p benches --bin instructions
//! ```
//!
//! Callgrind counts what this program executes once more, both ends of a session in one thread: in runs of
//! [`RUN`] a `send` for each message, then a `recv_into` for each. Nobody sleeps, and nothing is allocated. More
//! than a limit fails; the limits leave room for what another compiler makes of the same sources. Without
//! valgrind it says so and succeeds.

use std::env;
use std::process::Command;
use std::thread;

use anyhow::{Context, anyhow};
use shmipc_sync::{Config, Listener, Session, Stream, WaitMode};

/// Messages on their way at one time.
const RUN: usize = 16;

/// Runs that are counted.
const RUNS: usize = 500;

const SIZE: usize = 64;

/// What is counted, and at most how many instructions a message may take: a fifth more than rustc 1.95 makes.
const PATHS: [(&str, f64); 2] = [("send_run", 440.0), ("receive_run", 510.0)];

fn main() -> anyhow::Result<()> {
    match env::args().nth(1).as_deref() {
        Some("run") => run(),
        _ => check(),
    }
}

fn check() -> anyhow::Result<()> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("instructions: NOT COUNTED, there is no valgrind");
        return Ok(());
    }
    let mut over = Vec::new();
    for (path, limit) in PATHS {
        let count = count(path)? as f64 / (RUNS * RUN) as f64;
        println!("{path}: {count:.0} instructions a message of {SIZE} B, at most {limit:.0}");
        if count > limit {
            over.push(path);
        }
    }
    if over.is_empty() { Ok(()) } else { Err(anyhow!("more than before: {}", over.join(", "))) }
}

/// Instructions inside of the function that `path` names.
fn count(path: &str) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*{path}*"))
        .arg(env::current_exe()?)
        .arg("run")
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    let collected = told.lines().find_map(|line| line.split("Collected : ").nth(1));
    let count = collected.and_then(|count| count.trim().parse().ok()).filter(|&count| count > 0);
    match count {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(anyhow!("valgrind did not count {path}:\n{told}")),
    }
}

fn run() -> anyhow::Result<()> {
    let Pair { mut sender, mut receiver, _sessions } = pair()?;
    let mut message = [7; SIZE];
    for _ in 0..RUNS {
        send_run(&mut sender, &message);
        receive_run(&mut receiver, &mut message);
    }
    Ok(())
}

#[inline(never)]
fn send_run(sender: &mut Stream, message: &[u8]) {
    for _ in 0..RUN {
        sender.send(message).expect("the session is open");
    }
}

#[inline(never)]
fn receive_run(receiver: &mut Stream, message: &mut [u8]) {
    for _ in 0..RUN {
        let len = receiver.recv_into(message).expect("the session is open");
        assert_eq!(len, Some(SIZE));
    }
}

/// Both ends of a stream, in one process.
struct Pair {
    sender: Stream,
    receiver: Stream,
    _sessions: [Session; 2],
}

fn pair() -> anyhow::Result<Pair> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("s");
    let config = Config::builder().wait(WaitMode::Block).build()?;
    let listener = Listener::builder().config(config.clone()).bind(&path)?;
    let accepting = thread::spawn(move || listener.accept());
    let here = Session::connect_with(&path, &config)?;
    let there = accepting.join().map_err(|_| anyhow!("the listener panicked"))??;
    let mut sender = here.open()?;
    sender.send(&[])?;
    let mut receiver = there.accept()?;
    receiver.recv()?.context("the stream ended")?;
    Ok(Pair { sender, receiver, _sessions: [here, there] })
}
