//! What became of the messages.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shmipc_core::error::SessionError;

/// Messages after which an account is added to the tally, which others look at meanwhile.
const OFTEN: u64 = 64;

/// Of all streams of this process.
#[derive(Debug, Default)]
pub struct Tally {
    /// Received, each right: requests by servers, replies by clients.
    pub seen: AtomicU64,
    /// Sent and answered, each right.
    pub answered: AtomicU64,
    /// Missing from the middle of a stream, or from one that was finished.
    pub lost: AtomicU64,
    /// Seen again.
    pub duplicated: AtomicU64,
    /// Children killed.
    pub kills: AtomicU64,
    /// Children stopped for a while.
    pub stalls: AtomicU64,
    /// How often each error ended a stream or session.
    pub errors: Mutex<BTreeMap<String, u64>>,
    /// Errors without a cause.
    pub wrong: AtomicU64,
}

impl Tally {
    pub(super) fn error(&self, error: SessionError, killed: &AtomicBool) {
        let mut errors = self.errors.lock().expect("no panic");
        *errors.entry(format!("{error:?}")).or_default() += 1;
        if !(error == SessionError::PeerDied && killed.load(Ordering::SeqCst)) {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether nothing was lost or came twice, and no error was without a cause.
    pub fn is_good(&self) -> bool {
        [&self.lost, &self.duplicated, &self.wrong]
            .iter()
            .all(|count| count.load(Ordering::Relaxed) == 0)
    }
}

/// Of the messages of one direction of a stream, which are numbered from 0.
#[derive(Debug)]
pub(super) struct Account<'a> {
    tally: &'a Tally,
    /// They are replies.
    replies: bool,
    /// The number of the next one.
    due: u64,
    /// Not yet in the tally.
    fresh: u64,
}

impl<'a> Account<'a> {
    pub(super) fn new(tally: &'a Tally, replies: bool) -> Self {
        Self { tally, replies, due: 0, fresh: 0 }
    }

    /// The message of that number has come.
    pub(super) fn note(&mut self, number: u64) {
        self.fresh += 1;
        if self.fresh == OFTEN {
            self.add();
        }
        if number < self.due {
            self.tally.duplicated.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if number > self.due {
            self.tally.lost.fetch_add(number - self.due, Ordering::Relaxed);
        }
        self.due = number + 1;
    }

    /// The direction was ended in good order, after `count` messages.
    pub(super) fn end(self, count: u64) {
        self.tally.lost.fetch_add(count.saturating_sub(self.due), Ordering::Relaxed);
    }

    fn add(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        self.tally.seen.fetch_add(fresh, Ordering::Relaxed);
        if self.replies {
            self.tally.answered.fetch_add(fresh, Ordering::Relaxed);
        }
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        self.add();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is lost, duplicated and answered if these come of 4 messages.
    fn count(numbers: &[u64], ended: bool) -> [u64; 3] {
        let tally = Tally::default();
        let mut account = Account::new(&tally, true);
        numbers.iter().for_each(|&number| account.note(number));
        if ended {
            account.end(4);
        } else {
            drop(account);
        }
        let counts = [&tally.lost, &tally.duplicated, &tally.answered];
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        assert_eq!(tally.is_good(), counts[..2] == [0, 0]);
        counts
    }

    /// One message that is dropped, or comes twice, is noticed, wherever it is.
    #[test]
    fn mishaps_are_counted() {
        assert_eq!(count(&[0, 1, 2, 3], true), [0, 0, 4]);
        assert_eq!(count(&[0, 1], false), [0, 0, 2], "the session was over");
        for (numbers, expected) in [
            (&[1, 2, 3][..], [1, 0, 3]),
            (&[0, 2, 3], [1, 0, 3]),
            (&[0, 1, 2], [1, 0, 3]),
            (&[], [4, 0, 0]),
            (&[0, 0, 1, 2, 3], [0, 1, 5]),
            (&[0, 1, 2, 3, 3], [0, 1, 5]),
            (&[0, 1, 3, 2], [1, 1, 4]),
        ] {
            assert_eq!(count(numbers, true), expected, "{numbers:?}");
        }
    }

    #[test]
    fn errors_have_a_cause() {
        let (tally, killed) = (Tally::default(), AtomicBool::new(true));
        tally.error(SessionError::PeerDied, &killed);
        assert!(tally.is_good());
        tally.error(SessionError::ClosedByPeer(0), &killed);
        assert!(!tally.is_good());
        let (tally, alive) = (Tally::default(), AtomicBool::new(false));
        tally.error(SessionError::PeerDied, &alive);
        assert!(!tally.is_good());
    }
}
