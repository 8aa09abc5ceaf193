//! How far this process has come with what the peer does, for looks without the locks.
//!
//! Records are drained up to a position. Space and memory that the peer gives back are looked at only if
//! somebody waits for them, which is what a drive asks first, also one that has just taken the bell that was
//! rung for them:
//!
//! ```text
//!  who waits                                    who drives
//!  ─────────                                    ──────────
//!  count_waiting                                take the bell
//!  queue up                                     anybody waiting?
//!  write the event word                           settled := what was given back
//!  fence          ◀── the peer publishes ──▶      look at the queue
//!  look             and sees the word, or we see what it published
//! ```
//!
//! # Invariants
//! * **P1** Who waits is counted before the look that goes with the event word. So whoever takes a bell that
//!   was rung for the word finds it counted: the word was seen, or the look came first and found enough.
//! * **P2** What has been given back is noted before the look at the queue, so what comes after the look is
//!   news. Two who look at once may note less than was seen, which costs a look.
//!
//! `tests/loom_progress.rs` shows both, and that neither can be left out.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::mem::{Memory, Raw};

use super::event::Cursor;
use super::word::Word;

/// One per session, shared by its threads.
#[derive(Debug, Default)]
pub struct Progress<W: Word = AtomicU64> {
    drained: W,
    waiting: W,
    settled: W,
}

impl<W: Word> Progress<W> {
    /// Whether the peer has published records that nobody has drained.
    #[inline]
    pub fn has_records<P: Memory>(&self, peer: &P) -> bool {
        Raw::new(peer.load64(Cursor::Tail.cursor_at())) != self.drained()
    }

    /// Whether there is something to drive for: records, or, if somebody waits for them, space or returns
    /// since the last [`settle`](Self::settle).
    pub fn has_news<P: Memory>(&self, peer: &P) -> bool {
        self.has_records(peer)
            || (self.waiting.load(Ordering::Relaxed) > 0
                && given_back(peer) != self.settled.load(Ordering::Relaxed))
    }

    /// Position up to which the peer's records have been drained.
    #[inline]
    pub fn drained(&self) -> u64 {
        self.drained.load(Ordering::Acquire)
    }

    /// The same, as a hint.
    #[inline]
    pub fn drained_about(&self) -> u64 {
        self.drained.load(Ordering::Relaxed)
    }

    /// Records have been drained up to `position`. Under the lock by which they are.
    #[inline]
    pub fn drained_to(&self, position: u64) {
        self.drained.store(position, Ordering::Release);
    }

    /// Counts one who waits for something that is not a record, before it queues up (P1), or counts it no
    /// more.
    pub fn count_waiting(&self, more: bool) {
        self.waiting.add(if more { 1 } else { u64::MAX }, Ordering::AcqRel);
    }

    /// Calls `look`, to look at the queue of those who wait for something that is not a record, if anybody
    /// does.
    ///
    /// # Errors
    /// Those of `look`.
    #[inline]
    pub fn settle<P: Memory, E>(
        &self,
        peer: &P,
        look: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        // P2.
        self.settled.store(given_back(peer), Ordering::Relaxed);
        look()
    }
}

/// Changes whenever the peer gives space or memory back.
fn given_back<P: Memory>(peer: &P) -> u64 {
    let [head, returned] =
        [Cursor::Head, Cursor::Returned].map(|cursor| peer.load64(cursor.cursor_at()));
    head.wrapping_add(returned)
}
