//! A session of this process with somebody who is never disturbed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shmipc_sync::{Listener, Session};

use crate::child::Peer;
use crate::deadline::{Running, patience, start, until};

/// Between questions, so that others have the CPU.
const REST: Duration = Duration::from_micros(200);
/// Questions after which it is clear that the session goes on.
const ENOUGH: u64 = 10;

/// Asks and asks.
#[derive(Debug)]
pub struct Neighbour {
    peer: Peer,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    running: Running<()>,
}

/// The process that answers, until the test hangs up.
pub fn serve(path: &str) {
    let listener = Listener::bind(path).expect("the path is free");
    println!("listening");
    let session = listener.accept().expect("the listener lives");
    let mut stream = session.accept().expect("a stream");
    while let Ok(Some(question)) = stream.recv() {
        stream.send(&question).expect("the client lives");
    }
}

impl Neighbour {
    /// `program` is what [`serve`]s when it is told `neighbour PATH`.
    pub fn start(program: &str, directory: &Path) -> Self {
        let path = directory.join("neighbour");
        let mut peer = Peer::start(program, &["neighbour", path.to_str().expect("ASCII")]);
        peer.line("listening");
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let session = Session::connect(path).expect("it listens");
        let mut stream = session.open().expect("a stream");
        let running = start("the neighbour", move || {
            while !stopped.load(Ordering::Relaxed) {
                let question = count.load(Ordering::Relaxed).to_ne_bytes();
                stream.send(&question).expect("the neighbour lives");
                let reply = stream.recv_timeout(patience()).expect("a reply").expect("no end");
                assert_eq!(reply.to_vec(), question);
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(REST);
            }
            drop(session);
        });
        Self { peer, stop, answered, running }
    }

    /// Waits until it has asked some more.
    #[track_caller]
    pub fn goes_on(&self) {
        let from = self.answered.load(Ordering::Relaxed);
        until("the neighbour goes on", || self.answered.load(Ordering::Relaxed) > from + ENOUGH);
    }

    /// Ends in good order.
    pub fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.running.join();
        self.peer.succeed();
    }
}
