//! Workers that share one listening socket, each a process of its own: who gets how many sessions, and what
//! becomes of them when a worker is killed.
//!
//! ```text
//! cargo run --release --example prefork                 4 workers, 200 clients
//! cargo run --release --example prefork -- 8 1000
//! ```
//!
//! The parent makes the socket and accepts nothing. Each worker gets it as its standard input, the way in which
//! a descriptor passes `exec` without further ado.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio, id};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use examples::descriptors;
use shmipc_sync::{Client, Config, Listener, Session};

/// For a call.
const DEADLINE: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => everything(4, 200),
        ["worker"] => worker(),
        [workers, clients] => everything(workers.parse()?, clients.parse()?),
        _ => Err(anyhow!("usage: prefork [WORKERS CLIENTS]")),
    }
}

// A worker.

fn worker() -> anyhow::Result<()> {
    let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let listener = Listener::builder().listener(UnixListener::from(socket))?;
    loop {
        let session = listener.accept()?;
        thread::spawn(move || serve(&session));
    }
}

/// Each reply is the number of this process.
fn serve(session: &Session) {
    while let Ok(mut stream) = session.accept() {
        if let Ok(Some(_)) = stream.recv() {
            let _ = stream.finish_with(&id().to_ne_bytes());
        }
    }
}

/// A process that does not outlive its handle.
struct Worker(Child);

impl Worker {
    fn start(listener: &UnixListener) -> anyhow::Result<Self> {
        let socket = OwnedFd::from(listener.try_clone()?);
        let mut command = Command::new(std::env::current_exe()?);
        Ok(Self(command.arg("worker").stdin(Stdio::from(socket)).spawn()?))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// The parent, and the clients.

/// Sessions, or anything, by worker.
type Shares = BTreeMap<u32, usize>;

fn everything(workers: usize, clients: usize) -> anyhow::Result<()> {
    // Each of them has two sessions in the course of this.
    let clients = descriptors::sessions(2 * clients)? / 2;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("sock");
    let listener = UnixListener::bind(&path)?;
    let mut workers: Vec<Worker> =
        (0..workers).map(|_| Worker::start(&listener)).collect::<Result<_, _>>()?;
    // All of them accept when each has been met.
    let (mut met, begin) = (Shares::new(), Instant::now());
    while met.len() < workers.len() {
        if begin.elapsed() > DEADLINE {
            bail!("a worker gets no session");
        }
        *met.entry(ask(&client(&path))?).or_default() += 1;
    }

    let one_by_one: Vec<Client> = (0..clients).map(|_| client(&path)).collect();
    let mut first = Shares::new();
    for client in &one_by_one {
        *first.entry(ask(client)?).or_default() += 1;
    }
    print("connected one after the other", &workers, &first);

    let at_once: Vec<_> = (0..clients).map(|_| client(&path)).collect();
    let asking: Vec<_> =
        at_once.iter().cloned().map(|client| thread::spawn(move || ask(&client))).collect();
    let mut second = Shares::new();
    for asking in asking {
        *second.entry(asking.join().map_err(|_| anyhow!("a panic"))??).or_default() += 1;
    }
    print("connected at once", &workers, &second);

    let mut worker = workers.remove(0);
    let (killed, sessions) = (worker.0.id(), first.get(&worker.0.id()).copied().unwrap_or(0));
    let session = session_with(&path, killed)?;
    let begin = Instant::now();
    worker.0.kill()?;
    session.closed();
    let noticed = begin.elapsed();
    // Until it is gone for good, a call might still reach it, and be lost with it.
    worker.0.wait()?;
    println!("worker {killed} is killed; a client of its own knows after {noticed:.1?}");
    let (mut third, mut stayed) = (Shares::new(), 0);
    for client in &one_by_one {
        let mut events = client.events()?;
        *third.entry(ask(client)?).or_default() += 1;
        stayed += usize::from(events.try_next().is_none());
    }
    print("the first ones, again", &workers, &third);
    println!("{stayed} of {clients} have kept their session; {sessions} were with the killed one");
    Ok(())
}

/// A session that this worker serves.
fn session_with(path: &Path, worker: u32) -> anyhow::Result<Session> {
    let begin = Instant::now();
    while begin.elapsed() < DEADLINE {
        let session = Session::connect(path)?;
        let mut stream = session.open()?;
        stream.finish_with(b"who are you?")?;
        let reply = stream.recv()?.context("no reply")?;
        if reply.to_vec() == worker.to_ne_bytes() {
            return Ok(session);
        }
    }
    Err(anyhow!("the worker gets no session"))
}

fn client(path: &Path) -> Client {
    Client::new(path, Config::default())
}

/// The worker that serves this client.
fn ask(client: &Client) -> anyhow::Result<u32> {
    let reply = client.call(b"who are you?", Instant::now() + DEADLINE)?;
    Ok(u32::from_ne_bytes(reply.to_vec().as_slice().try_into()?))
}

fn print(when: &str, workers: &[Worker], shares: &Shares) {
    let shares = workers.iter().map(|worker| shares.get(&worker.0.id()).copied().unwrap_or(0));
    let shares: Vec<String> = shares.map(|share| format!("{share:>5}")).collect();
    println!("{when:<32}{}", shares.join(""));
}
