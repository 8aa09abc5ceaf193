//! The other end of a victim's sessions: a thread of this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::ledger::{Counts, Ledger};
use super::talk::{End, Fault, Talk};
use super::{Manner, Side};
use crate::flavour::Flavour;

/// A survivor at work.
#[derive(Debug)]
pub struct Survivor {
    /// Sessions that were whole.
    pub whole: Arc<AtomicU64>,
    /// Ends when connecting fails, or when it is asked whether it still listens.
    pub thread: JoinHandle<Option<Testimony>>,
}

/// What a survivor has to say of the session in which the victim died.
#[derive(Clone, Debug)]
pub struct Testimony {
    /// How it learned of it.
    pub fault: Fault,
    /// What it has sent and seen.
    pub counts: Counts,
    /// A request of its own that the victim has certainly not seen.
    pub not_seen: Option<u64>,
}

/// Starts a survivor of a flavour; a server listens when this returns. `leaks`: it keeps the session in which
/// the victim died, which the test is to find.
pub fn start_survivor<F: Flavour>(
    side: Side,
    manner: Manner,
    path: PathBuf,
    leaks: bool,
) -> Survivor {
    let whole = Arc::<AtomicU64>::default();
    let count = Arc::clone(&whole);
    let config = manner.config();
    let listener = (side == Side::Server).then(|| F::bind(&path, &config));
    let survive = move || {
        let mut ledger = Ledger::private();
        let mut testimony = None;
        loop {
            ledger.next_session();
            let session = match &listener {
                Some(listener) => F::accept(listener),
                None => match F::try_connect(&path, &config) {
                    Ok(session) => session,
                    Err(error) => {
                        return Some(Testimony {
                            fault: error.into(),
                            counts: ledger.counts(),
                            not_seen: None,
                        });
                    }
                },
            };
            let mut talk = Talk::new(session, side, manner.ending, &mut ledger, false);
            match talk.talk() {
                Ok(End::Whole) => {
                    count.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Ok(End::Probe) => return testimony,
                Err(mut fault) => {
                    let salvaged = talk.salvage();
                    fault = salvaged.err().unwrap_or(fault);
                    if leaks {
                        std::mem::forget(talk.session().clone());
                    }
                    let (counts, not_seen) = (talk.ledger().counts(), talk.not_seen);
                    testimony = Some(Testimony { fault, counts, not_seen });
                }
            }
            if side == Side::Client {
                return testimony;
            }
        }
    };
    Survivor { whole, thread: thread::spawn(survive) }
}
