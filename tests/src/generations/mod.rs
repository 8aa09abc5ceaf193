//! Servers of the binary `generation`, and clients that follow from one to the next.

pub mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shmipc_sync::{Config, Delivery, OpenError, Session, SessionError, Stream};

use crate::child::Peer;
use crate::deadline::{PATIENCE, Running, start, until};
use crate::needs::short_directory;

/// A place where generations of servers listen, one after the other.
#[derive(Debug)]
pub struct Place {
    program: &'static str,
    flavour: &'static str,
    directory: tempfile::TempDir,
}

impl Place {
    /// An empty one; `program` is the binary `generation`, whose servers are of the blocking flavour.
    pub fn new(program: &'static str) -> Self {
        Self::of(program, "blocking")
    }

    /// The same for servers of that flavour: `blocking` or `tokio`.
    pub fn of(program: &'static str, flavour: &'static str) -> Self {
        Self { program, flavour, directory: short_directory() }
    }

    /// `blocking` or `tokio`.
    pub fn flavour(&self) -> &'static str {
        self.flavour
    }

    /// Where they listen.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Starts the next server.
    pub fn server(&self, options: &[&str]) -> Peer {
        let path = self.path();
        let mut arguments = vec![path.to_str().expect("text"), self.flavour];
        arguments.extend(options);
        Peer::start(self.program, &arguments)
    }

    /// Starts the next server, and waits until it serves.
    #[track_caller]
    pub fn next(&self, generation: u64) -> Peer {
        let mut server = self.server(&[]);
        assert_eq!(server.line("serving"), generation.to_string());
        server
    }

    /// Starts the next server, which has the sockets, and is not ready before it is told.
    #[track_caller]
    pub fn holding(&self, generation: u64) -> Peer {
        let mut server = self.server(&["told"]);
        assert_eq!(server.line("bound"), generation.to_string());
        server
    }

    /// Starts the next server, which the one before has made way for, and which does not accept before it is told.
    #[track_caller]
    pub fn asking(&self, generation: u64) -> Peer {
        let mut server = self.server(&["asked"]);
        assert_eq!(server.line("bound"), generation.to_string());
        server.line("asked");
        server
    }

    /// Asks once, by a session of its own.
    #[track_caller]
    pub fn is_served_by(&self, generation: u64) {
        assert_eq!(ask(&self.path(), &mut None), generation);
    }

    /// A session with a stream that is open, which keeps its server from being drained.
    pub fn hold(&self) -> (Session, Stream) {
        let session = Session::connect(self.path()).expect("connected");
        let mut stream = session.open().expect("a stream");
        exchange(&mut stream);
        (session, stream)
    }

    /// What lies there.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.directory).expect("a directory");
        let mut names: Vec<_> =
            entries.flatten().flat_map(|entry| entry.file_name().into_string()).collect();
        names.sort();
        names
    }
}

/// A client that asks and asks, and follows from server to server.
#[derive(Debug)]
pub struct Asking {
    stop: Arc<AtomicBool>,
    /// Replies so far.
    answered: Arc<AtomicU64>,
    /// The server that has answered last.
    generation: Arc<AtomicU64>,
    running: Running<()>,
}

impl Asking {
    /// Begins.
    pub fn start(path: &Path) -> Self {
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

    /// Waits until this server answers.
    #[track_caller]
    pub fn is_served_by(&self, generation: u64) {
        until("the server answers", || self.generation.load(Ordering::Relaxed) == generation);
    }

    /// So many replies have come.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends; so many replies have come.
    #[track_caller]
    pub fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.running.join();
        self.answered.load(Ordering::Relaxed)
    }
}

/// Has a message answered on a stream that goes on, and says by whom.
#[track_caller]
pub fn exchange(stream: &mut Stream) -> u64 {
    stream.send(b"more").expect("sent");
    let reply = stream.recv().expect("a reply").expect("no end").to_vec();
    let reply = String::from_utf8(reply).expect("text");
    reply.split_once(' ').expect("a generation").0.parse().expect("a number")
}

/// Has one request answered, with as many sessions as it takes, and says by whom. A request that was
/// certainly not seen is repeated; every other failure fails the test.
#[track_caller]
pub fn ask(path: &Path, session: &mut Option<Session>) -> u64 {
    // As long as it takes on a busy machine.
    let config = Config::default().with_connect_timeout(PATIENCE);
    let connect = || Session::connect_with(path, &config).expect("connected");
    loop {
        let current = session.get_or_insert_with(connect);
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

/// A test of each of these cases with servers of both flavours; `GENERATION` is their program.
#[macro_export]
macro_rules! with_both_servers {
    ($($case:ident)*) => {
        mod of_threads {
            $(#[test]
            fn $case() {
                super::$case(&tests::generations::Place::of(super::GENERATION, "blocking"));
            })*
        }
        mod of_tasks {
            $(#[test]
            fn $case() {
                super::$case(&tests::generations::Place::of(super::GENERATION, "tokio"));
            })*
        }
    };
}
