//! A server under attack, beside a neighbour who must not notice.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shmipc_sync::{Session, Stream};
use tempfile::TempDir;

use crate::child::Peer;
use crate::deadline::{Running, start, until};
use crate::needs::short_directory;
use crate::payload::{Random, pattern};
use crate::proc::{Held, descriptors_of, mappings, resident};

/// A server, a peer that attacks it, and a neighbour of the peer's: a session that makes traffic all the time.
#[derive(Debug)]
pub struct Siege {
    server: Peer,
    attacker: Peer,
    neighbour: Running<Result<(), String>>,
    over: Arc<AtomicBool>,
    exchanged: Arc<AtomicU64>,
    before: Held,
    _directory: TempDir,
}

impl Siege {
    /// Starts the program `hostile` as a server of that flavour, and once more as the peer that it is under
    /// attack by, in that role.
    pub fn lay(hostile: &str, flavour: &str, role: &str) -> Self {
        let directory = short_directory();
        let path = directory.path().join("socket");
        let name = path.to_str().expect("a path of ASCII");
        let mut server = Peer::start(hostile, &["serve", flavour, name]);
        server.line("listening");
        let idle = own_descriptors(server.pid());
        // The first sessions make the server load what stays.
        for _ in 0..3 {
            let session = Session::connect(&path).expect("the server lives");
            exchange(&mut session.open().expect("a stream"), 0, 300_000).expect("an echo");
            drop(session);
            server.line("ended closed");
        }
        until("the first sessions are gone", || {
            mappings(server.pid()) == 0 && own_descriptors(server.pid()) == idle
        });
        let before = Held::by(server.pid());
        let (over, exchanged) = (Arc::default(), Arc::default());
        let neighbour = {
            let (over, exchanged) = (Arc::clone(&over), Arc::clone(&exchanged));
            let path = path.clone();
            start("the neighbour", move || go_on(path, &over, &exchanged))
        };
        let attacker = Peer::start(hostile, &[role, name]);
        Self { server, attacker, neighbour, over, exchanged, before, _directory: directory }
    }

    /// Has the peer carry out an order; tells how its session ended.
    ///
    /// # Errors
    /// What the neighbour noticed.
    pub fn attack(&mut self, order: &str) -> Result<String, String> {
        let then = self.exchanged();
        self.attacker.say(order);
        let end = self.server.line("ended");
        if self.neighbour.is_done() {
            return Err("the neighbour's session has ended".to_owned());
        }
        self.attacker.line("over");
        // Begun after the attack, and answered.
        until("the neighbour goes on", || self.exchanged() > then + 1 || self.neighbour.is_done());
        match self.exchanged() > then + 1 {
            true => Ok(end),
            false => Err("the neighbour has gone".to_owned()),
        }
    }

    /// What the neighbour has had answered.
    pub fn exchanged(&self) -> u64 {
        self.exchanged.load(Ordering::Acquire)
    }

    /// Memory in use by the server, KiB.
    pub fn resident(&self) -> u64 {
        resident(self.server.pid())
    }

    /// Ends it.
    ///
    /// # Errors
    /// What the neighbour noticed, or what the server has still kept after so long.
    pub fn lift(mut self, patience: Duration) -> Result<(), String> {
        self.attacker.succeed();
        self.over.store(true, Ordering::Relaxed);
        self.neighbour.join().map_err(|error| format!("the neighbour: {error}"))?;
        self.server.line("ended closed");
        // Its last descriptors may take a moment.
        let begin = Instant::now();
        loop {
            let now = Held::by(self.server.pid());
            if now == self.before {
                return Ok(());
            }
            if begin.elapsed() > patience {
                return Err(format!("the server held {:?} and holds {now:?}", self.before));
            }
            thread::yield_now();
        }
    }
}

/// Descriptors of the kinds that sessions have: sockets, shared memory, and those of events and processes.
fn own_descriptors(pid: u32) -> [usize; 3] {
    ["socket:", "/memfd:", "anon_inode:"].map(|kind| descriptors_of(pid, kind))
}

/// Makes traffic until it is over, or disturbed.
fn go_on(path: PathBuf, over: &AtomicBool, exchanged: &AtomicU64) -> Result<(), String> {
    let session = Session::connect(path).map_err(|error| error.to_string())?;
    let mut stream = session.open().map_err(|error| error.to_string())?;
    let mut random = Random::new(11);
    while !over.load(Ordering::Relaxed) {
        let count = exchanged.load(Ordering::Relaxed);
        exchange(&mut stream, count, random.size(200_000))?;
        exchanged.store(count + 1, Ordering::Release);
    }
    Ok(())
}

/// Sends a message and has it back.
fn exchange(stream: &mut Stream, seed: u64, len: usize) -> Result<(), String> {
    let message = pattern(seed, len);
    stream.send(&message).map_err(|error| error.to_string())?;
    match stream.recv() {
        Ok(Some(echo)) if echo.to_vec() == message => Ok(()),
        Ok(Some(_)) => Err("another message came back".to_owned()),
        Ok(None) => Err("the stream has ended".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
