//! Measures sessions that do nothing.

use std::fmt;
use std::time::Duration;

use shmipc_sync::{Listener, Session};

use crate::child::Peer;
use crate::deadline::{until, within};
use crate::proc;
use crate::setup::{Setup, Size};

/// What idle sessions cost in memory, KiB of Pss: shared memory and heap, as [`proc::pss`] counts.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Number of sessions.
    pub sessions: usize,
    /// The accepting process: by how much it has grown, and the part that is shared memory.
    pub server: (u64, u64),
    /// The connecting process.
    pub client: (u64, u64),
}

impl Memory {
    /// The larger of both sides, KiB per session, rounded up.
    pub fn per_session(&self) -> u64 {
        self.server.0.max(self.client.0).div_ceil(self.sessions as u64)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, server, client } = self;
        let each = |(all, shared): (u64, u64)| {
            let per = |kib: u64| kib as f64 / *sessions as f64;
            format!("{:.1} KiB, {:.1} KiB of it shared memory", per(all), per(shared))
        };
        write!(
            f,
            "Pss per idle session, {sessions} sessions: server {}; client {}",
            each(*server),
            each(*client)
        )
    }
}

/// Memory of `sessions` sessions with the program `peer`, after the handshake and before any use.
pub fn memory(peer: &str, sessions: usize) -> Memory {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let listener = Listener::bind(&path).expect("the path is free");
    let path = path.to_str().expect("a path of ASCII");
    let mut peer = Peer::start(peer, &["idle", path, &sessions.to_string()]);
    let listener = within("the first session", move || {
        drop(listener.accept().expect("the listener lives"));
        listener
    });
    peer.line("ready");
    let (us, them) = (std::process::id(), peer.pid());
    let before = (proc::pss(us), proc::pss(them));
    peer.say("go");
    let accepted = within("accepting", move || -> Vec<Session> {
        (0..sessions).map(|_| listener.accept().expect("the listener lives")).collect()
    });
    peer.line("connected");
    let grown =
        |before: u64, pid: u32| (proc::pss(pid).saturating_sub(before), proc::pss_of_mappings(pid));
    let memory = Memory { sessions, server: grown(before.0, us), client: grown(before.1, them) };
    drop(accepted);
    memory
}

/// What a process costs that waits for messages.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// How long it was watched.
    pub seconds: u64,
    /// CPU time of its process, nanoseconds.
    pub nanos: u64,
    /// Voluntary switches of its threads.
    pub switches: u64,
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, nanos, switches } = self;
        write!(
            f,
            "waiting in recv for {seconds} s: {nanos} ns of CPU, {switches} voluntary switches"
        )
    }
}

/// Watches the program `peer`, whose main thread is blocked in `recv`, for some seconds.
pub fn cpu(peer: &str, mode: &str, seconds: u64) -> Cpu {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let listener = Listener::bind(&path).expect("the path is free");
    let path = path.to_str().expect("a path of ASCII");
    let mut peer = Peer::start(peer, &["receive", path, mode]);
    let (_session, _stream) = within("accepting", move || {
        let session = listener.accept().expect("the listener lives");
        let mut stream = session.accept().expect("a stream");
        stream.recv().expect("a message").expect("no end");
        (session, stream)
    });
    peer.line("receiving");
    let pid = peer.pid();
    watch(pid, seconds)
}

/// Watches a process for some seconds, once it has gone to sleep.
pub fn watch(pid: u32, seconds: u64) -> Cpu {
    // Then its figures stand still for a moment.
    let look = || (proc::cpu_nanos(pid), proc::all_voluntary_switches(pid));
    let mut before = look();
    until("it sleeps", || {
        std::thread::sleep(Duration::from_millis(50));
        let now = look();
        std::mem::replace(&mut before, now) == now && proc::sleeps(pid, pid)
    });
    std::thread::sleep(Duration::from_secs(seconds));
    let after = look();
    assert!(after.0 > 0, "this kernel does not count CPU time");
    Cpu { seconds, nanos: after.0 - before.0, switches: after.1 - before.1 }
}

/// Watches the program `peer`, in which a task of the tokio flavour waits for each of `streams` streams,
/// on this kind of runtime.
pub fn streams(peer: &str, runtime: &str, streams: usize, seconds: u64) -> Cpu {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let config = Setup::new(Size::Many).config();
    let listener = Listener::builder().config(config).bind(&path).expect("the path is free");
    let path = path.to_str().expect("a path of ASCII");
    let mut peer = Peer::start(peer, &["idle-streams", path, runtime, &streams.to_string()]);
    let _accepted = within("accepting", move || {
        let session = listener.accept().expect("the listener lives");
        let accept = |_| {
            let mut stream = session.accept().expect("a stream");
            stream.recv().expect("a message").expect("no end");
            stream
        };
        let accepted: Vec<_> = (0..streams).map(accept).collect();
        (session, accepted)
    });
    peer.line("receiving");
    watch(peer.pid(), seconds)
}
