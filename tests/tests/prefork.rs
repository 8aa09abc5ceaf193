//! Workers, processes of their own, that share a listening socket.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shmipc_sync::{Client, Config, Delivery, Session, SessionError, Stream};
use tests::child::Peer;
use tests::deadline::{PATIENCE, Running, start, until};
use tests::needs::short_directory;
use tests::proc::{allow_sessions, is_stopped};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// A client with a stream, which its worker reads in a loop.
struct Held {
    session: Session,
    stream: Stream,
    worker: u32,
}

impl Held {
    fn connect(path: &Path) -> Self {
        let session = Session::connect(path).unwrap();
        let mut stream = session.open().unwrap();
        let worker = ask(&mut stream);
        Self { session, stream, worker }
    }

    /// Still, by the one that it was served by before.
    #[track_caller]
    fn is_served(&mut self) {
        assert_eq!(ask(&mut self.stream), self.worker);
    }
}

/// Who answers.
#[track_caller]
fn ask(stream: &mut Stream) -> u32 {
    stream.send(b"question").unwrap();
    let reply = stream.recv().unwrap().expect("a reply");
    u32::from_ne_bytes(reply.to_vec().try_into().unwrap())
}

/// One test at a time: each has as many clients as descriptors suffice for.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Clients that come all at the same time, and then two for each of these workers: all others are stopped
/// when they come, and would have to serve them if it were their turn.
#[track_caller]
fn connect(path: &Path, workers: &[u32]) -> Vec<Held> {
    let chosen = 2 * workers.len();
    // Two such crowds at a time.
    let crowd = (allow_sessions(2 * (16 + chosen)) / 2).saturating_sub(chosen).max(2);
    let coming: Vec<_> = (0..crowd)
        .map(|_| {
            let path = path.to_owned();
            start("a client", move || Held::connect(&path))
        })
        .collect();
    let mut held: Vec<Held> = coming.into_iter().map(|client| client.join()).collect();
    assert!(held.iter().all(|client| workers.contains(&client.worker)));
    for &worker in workers {
        let others = workers.iter().filter(|&&other| other != worker);
        others.clone().for_each(|&other| signal(other, Signal::SIGSTOP));
        until("the others are stopped", || others.clone().all(|&other| is_stopped(other)));
        let chosen = [(); 2].map(|()| Held::connect(path));
        assert!(chosen.iter().all(|client| client.worker == worker));
        held.extend(chosen);
        others.for_each(|&other| signal(other, Signal::SIGCONT));
    }
    held
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

fn inheriting(flavour: &str, socket: &UnixListener) -> Peer {
    Peer::inheriting(WORKER, &[flavour], OwnedFd::from(socket.try_clone().unwrap()))
}

/// Each client has one session with one worker, in whichever flavour, and no worker has one that no client has.
#[test]
fn every_client_is_accepted_once() {
    let _turn = turn();
    let directory = short_directory();
    let path = directory.path().join("socket");
    let socket = UnixListener::bind(&path).unwrap();
    let mut workers: Vec<_> =
        ["blocking", "tokio", "blocking"].map(|flavour| inheriting(flavour, &socket)).into();
    let pids: Vec<u32> = workers.iter().map(Peer::pid).collect();
    let mut clients = connect(&path, &pids);
    let mut expected: HashMap<u32, usize> = HashMap::new();
    for client in &mut clients {
        *expected.entry(client.worker).or_default() += 1;
        client.is_served();
        // The kernel names who has called `listen`, which none of the workers has.
        assert_eq!(client.session.peer().pid, std::process::id().cast_signed());
    }
    workers.iter_mut().for_each(Peer::kill);
    for worker in &mut workers {
        assert_eq!(worker.said("accepted").len(), expected[&worker.pid()]);
    }
}

/// Its own clients learn of it at once, nobody else notices, and those who come later are served by the rest.
#[test]
fn a_worker_that_is_killed() {
    let _turn = turn();
    let directory = short_directory();
    let path = directory.path().join("socket");
    let socket = UnixListener::bind(&path).unwrap();
    let mut workers: Vec<_> =
        ["blocking", "tokio", "blocking"].map(|flavour| inheriting(flavour, &socket)).into();
    while let [killed, rest @ ..] = &mut workers[..] {
        let mut pids: Vec<u32> = rest.iter().map(Peer::pid).collect();
        pids.push(killed.pid());
        let clients = connect(&path, &pids);
        killed.kill();
        let (lost, mut kept): (Vec<_>, Vec<_>) =
            clients.into_iter().partition(|client| client.worker == killed.pid());
        for mut client in lost {
            assert_eq!(client.session.closed(), SessionError::PeerDied);
            assert_eq!(client.stream.send(b"question").unwrap_err().delivery(), Delivery::NotSent);
        }
        kept.iter_mut().for_each(Held::is_served);
        if !rest.is_empty() {
            pids.pop();
            connect(&path, &pids).iter_mut().for_each(Held::is_served);
        }
        kept.iter_mut().for_each(Held::is_served);
        workers.remove(0);
    }
    // Nobody is left; who comes now waits for the next one.
    let late = start("a client", move || Held::connect(&path).worker);
    let next = inheriting("blocking", &socket);
    assert_eq!(late.join(), next.pid());
}

/// The death of who has made the socket is not that of the workers, though the kernel names him as every
/// client's peer.
#[test]
fn a_parent_that_is_killed() {
    let _turn = turn();
    let directory = short_directory();
    let path = directory.path().join("socket");
    let mut parent = Peer::start(WORKER, &["fork", "3", path.to_str().unwrap()]);
    let workers = [(); 3].map(|()| parent.line("worker").parse().unwrap());
    let mut clients = connect(&path, &workers);
    for client in &clients {
        assert_eq!(client.session.peer().pid, parent.pid().cast_signed());
    }
    parent.kill();
    for client in clients.iter_mut().chain(&mut connect(&path, &workers)) {
        client.is_served();
        assert!(!client.session.is_closed());
    }
    // They end with the standard input of all.
    parent.hang_up();
    for client in clients {
        assert_eq!(client.session.closed(), SessionError::PeerDied);
    }
}

/// Each worker has an upgrade socket of its own. So one after the other is replaced while the rest serves: what is open
/// goes on to its end, and who calls notices nothing.
#[test]
fn workers_that_are_replaced() {
    let _turn = turn();
    let directory = short_directory();
    let path = directory.path().join("socket");
    let socket = UnixListener::bind(&path).unwrap();
    let worker = |place: usize, flavour| {
        let upgrade = directory.path().join(format!("{place}.upgrade"));
        let stdin = OwnedFd::from(socket.try_clone().unwrap());
        let mut worker = Peer::inheriting(WORKER, &[flavour, upgrade.to_str().unwrap()], stdin);
        worker.line("serving");
        worker
    };
    let mut workers = [worker(0, "blocking"), worker(1, "tokio")];
    let calling = [(); 3].map(|()| Calling::start(&path));
    for flavour in ["tokio", "tokio", "blocking", "blocking"] {
        for place in 0..workers.len() {
            let pids: Vec<u32> = workers.iter().map(Peer::pid).collect();
            let mut clients = connect(&path, &pids);
            let mut old = std::mem::replace(&mut workers[place], worker(place, flavour));
            // It has called `listen` again.
            let peer = Session::connect(&path).unwrap().peer();
            assert_eq!(peer.pid, workers[place].pid().cast_signed());
            clients.iter_mut().for_each(Held::is_served);
            drop(clients);
            assert_eq!(old.line("drained"), "Done");
            old.succeed();
        }
        let pids: Vec<u32> = workers.iter().map(Peer::pid).collect();
        calling.iter().for_each(|client| {
            until("a new one answers", || pids.contains(&client.worker.load(Ordering::Relaxed)));
        });
    }
    calling.into_iter().for_each(Calling::end);
    // Also one whose predecessor is dead takes its place.
    workers[0].kill();
    workers[0] = worker(0, "tokio");
    let pids: Vec<u32> = workers.iter().map(Peer::pid).collect();
    connect(&path, &pids).iter_mut().for_each(Held::is_served);
}

/// A client that calls and calls.
struct Calling {
    stop: Arc<AtomicBool>,
    /// Who has answered last.
    worker: Arc<AtomicU32>,
    running: Running<()>,
}

impl Calling {
    fn start(path: &Path) -> Self {
        let (stop, worker) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let (stopped, last) = (Arc::clone(&stop), Arc::clone(&worker));
        let client = Client::new(path, Config::default());
        let running = start("a client", move || {
            while !stopped.load(Ordering::Relaxed) {
                let reply = client.call(b"question", Instant::now() + PATIENCE).expect("a reply");
                let reply = reply.to_vec().try_into().expect("a number");
                last.store(u32::from_ne_bytes(reply), Ordering::Relaxed);
            }
        });
        Self { stop, worker, running }
    }

    #[track_caller]
    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.running.join();
    }
}
