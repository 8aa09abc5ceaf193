//! Servers that hand over to each other while clients go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shmipc_sync::{Delivery, OpenError, Session, SessionError};
use tests::child::Peer;
use tests::deadline::{Running, start, until};

const GENERATION: &str = env!("CARGO_BIN_EXE_generation");

/// A place where generations of servers listen, one after the other.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Starts the next server.
    fn server(&self, options: &[&str]) -> Peer {
        let path = self.path();
        let mut arguments = vec![path.to_str().unwrap()];
        arguments.extend(options);
        Peer::start(GENERATION, &arguments)
    }

    /// Starts the next server, and waits until it serves.
    fn next(&self, generation: u64) -> Peer {
        let mut server = self.server(&[]);
        assert_eq!(server.line("serving"), generation.to_string());
        server
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A client that asks and asks, and follows from server to server.
struct Asking {
    stop: Arc<AtomicBool>,
    /// Replies so far.
    answered: Arc<AtomicU64>,
    /// The server that has answered last.
    generation: Arc<AtomicU64>,
    running: Running<()>,
}

impl Asking {
    fn start(path: &Path) -> Self {
        let (stop, answered, generation) = (
            Arc::<AtomicBool>::default(),
            Arc::<AtomicU64>::default(),
            Arc::<AtomicU64>::default(),
        );
        let (path, stopped) = (path.to_owned(), Arc::clone(&stop));
        let (count, last) = (Arc::clone(&answered), Arc::clone(&generation));
        let running = start("a client", move || {
            let mut session = None;
            while !stopped.load(Ordering::Relaxed) {
                let generation = ask(&path, &mut session);
                assert!(last.swap(generation, Ordering::Relaxed) <= generation, "back in time");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, answered, generation, running }
    }

    #[track_caller]
    fn is_served_by(&self, generation: u64) {
        until("the server answers", || self.generation.load(Ordering::Relaxed) == generation);
    }

    #[track_caller]
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.running.join();
        self.answered.load(Ordering::Relaxed)
    }
}

/// Has one request answered, with as many sessions as it takes, and says by whom. A request that was
/// certainly not seen is repeated; every other failure fails the test.
fn ask(path: &Path, session: &mut Option<Session>) -> u64 {
    loop {
        let current = session.get_or_insert_with(|| Session::connect(path).expect("connected"));
        let mut stream = match current.open() {
            Ok(stream) => stream,
            Err(OpenError::GoingAway | OpenError::Session(SessionError::ClosedByPeer(0))) => {
                *session = None;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let sent = stream.send(b"question").map_err(|error| (error.delivery(), error.to_string()));
        let reply = sent
            .and_then(|()| stream.recv().map_err(|error| (error.delivery(), error.to_string())));
        match reply {
            Ok(reply) => {
                stream.finish().expect("the peer waits for it");
                let reply = String::from_utf8(reply.expect("a reply").to_vec()).expect("text");
                let (generation, rest) = reply.split_once(' ').expect("a generation");
                assert_eq!(rest, "question");
                return generation.parse().expect("a number");
            }
            Err((Delivery::NotSent, _)) => *session = None,
            Err((_, error)) => panic!("{error}"),
        }
    }
}

/// Five servers in a row, while clients ask: nobody is refused, every question is answered once.
#[test]
fn clients_follow_from_server_to_server() {
    let place = Place::new();
    let mut server = place.next(1);
    let clients: Vec<_> = (0..3).map(|_| Asking::start(&place.path())).collect();
    clients.iter().for_each(|client| client.is_served_by(1));
    for generation in 2..=5 {
        let next = place.next(generation);
        server.line("handed over");
        server.line("drained");
        server.succeed();
        clients.iter().for_each(|client| client.is_served_by(generation));
        server = next;
    }
    for client in clients {
        assert!(client.end() >= 5);
    }
    assert_eq!(place.files(), ["socket", "socket.lock", "socket.upgrade", "socket.upgrade.lock"]);
    server.hang_up();
    server.line("failed Closed");
    server.succeed();
    assert_eq!(place.files(), ["socket.lock", "socket.upgrade.lock"]);
}
