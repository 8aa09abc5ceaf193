//! Servers in threads, whose sessions do not last.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use shmipc_async::{Client, ClientConfig};
use shmipc_core::error::DrainError;
use shmipc_sync::{Config, ListenError, Listener, Session, SessionError, Stream};

use crate::deadline::{PATIENCE, Running, start, until};
use crate::setup::{Setup, Size};

/// A client of such a server, with so many sessions. It neither pauses for long nor runs out of time.
pub fn client(path: &Path, sessions: usize) -> Client {
    let session = Setup::new(Size::Tiny).config().with_connect_timeout(PATIENCE);
    let config = ClientConfig::builder().session(session).sessions(sessions);
    let config = config.pauses(Duration::from_micros(100), Duration::from_millis(1));
    Client::new(path, config.build().expect("valid"))
}

/// So many requests are served before a session is left.
const REQUESTS: usize = 20;
/// So many sessions are accepted before a server goes away.
const SESSIONS: usize = 2;

/// A server that leaves its sessions, goes away and comes back, until it is to stay. It answers each stream with
/// its request, a number.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    running: Running<()>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    config: Config,
    listener: Mutex<Option<Arc<Listener>>>,
    stays: AtomicBool,
    stops: AtomicBool,
    served: Mutex<Vec<u64>>,
}

impl Server {
    /// Starts it.
    pub fn start(path: &Path, config: Config) -> Self {
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            config,
            listener: Mutex::default(),
            stays: AtomicBool::new(false),
            stops: AtomicBool::new(false),
            served: Mutex::default(),
        });
        let its = Arc::clone(&shared);
        Self { shared, running: start("a server", move || its.run()) }
    }

    /// It neither leaves nor goes away from now on.
    pub fn stay(&self) {
        self.shared.stays.store(true, Ordering::Relaxed);
    }

    /// Ends it, once its sessions have ended. All requests that it has served, in order of their numbers.
    #[track_caller]
    pub fn stop(self) -> Vec<u64> {
        // Who listens next sees the one, or is closed by the other.
        self.shared.stops.store(true, Ordering::SeqCst);
        let listener = self.shared.listener.lock().expect("no panic").clone();
        listener.iter().for_each(|listener| listener.close());
        self.running.join();
        let mut served = std::mem::take(&mut *self.shared.served.lock().expect("no panic"));
        served.sort_unstable();
        served
    }
}

impl Shared {
    fn run(&self) {
        thread::scope(|scope| {
            loop {
                let listener = Arc::new(self.bind());
                *self.listener.lock().expect("no panic") = Some(Arc::clone(&listener));
                if self.stops.load(Ordering::SeqCst) {
                    return;
                }
                let mut accepted = 0;
                while accepted < SESSIONS || self.stays.load(Ordering::Relaxed) {
                    let Ok(session) = listener.accept() else { return };
                    scope.spawn(move || self.serve(&session));
                    accepted += 1;
                }
                listener.close();
            }
        });
    }

    fn bind(&self) -> Listener {
        let mut bound = None;
        until("the path is free", || {
            let builder = Listener::builder().config(self.config.clone());
            bound = match builder.bind(&self.path) {
                // A process that another test starts has the lock too, until it runs its program.
                Err(ListenError::InUse { .. }) => None,
                bound => Some(bound.expect("a listener")),
            };
            bound.is_some()
        });
        bound.expect("just made")
    }

    fn serve(&self, session: &Session) {
        let mut served = 0;
        while let Ok(mut stream) = session.accept() {
            let request = stream.recv().expect("a request").expect("a request").to_vec();
            assert!(stream.recv().expect("an end").is_none(), "one request");
            stream.sender().finish_with(&request).expect("the client waits");
            let number = u64::from_ne_bytes(request.try_into().expect("a number"));
            self.served.lock().unwrap_or_else(PoisonError::into_inner).push(number);
            served += 1;
            if served == REQUESTS && !self.stays.load(Ordering::Relaxed) {
                session.leave();
            }
        }
        // No stream is left that nobody ends.
        let drained = session.drained_timeout(PATIENCE);
        let over = Err(DrainError::Session(SessionError::ClosedByPeer(0)));
        assert!(drained == Ok(()) || drained == over, "{drained:?}");
    }
}

/// Serves so many sessions, one after the other: answers one request with the session's number, and then leaves
/// sessions with an odd number and closes the others with the code 7. The last one is left to the client.
pub fn leave_and_close(listener: &Listener, sessions: u64) {
    for number in 1..=sessions {
        let session = listener.accept().expect("the listener lives");
        answer(session.accept().expect("a request"), number);
        if number == sessions {
            assert_eq!(session.closed(), SessionError::ClosedByPeer(0));
        } else if number % 2 == 1 {
            session.leave();
            // What has come before it.
            while let Ok(stream) = session.accept() {
                answer(stream, number);
            }
        } else {
            session.close(7);
        }
    }
}

fn answer(mut stream: Stream, number: u64) {
    stream.recv().expect("a request");
    stream.sender().finish_with(&number.to_ne_bytes()).expect("the client waits");
    assert!(stream.recv().expect("an end").is_none(), "one request");
}
