//! Event words: what a publisher asks before it rings, and what a waiter writes before it sleeps.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::layout::{self, Geometry};
use crate::mem::{Memory, MemoryMut};

use super::word::Word;

/// The event word of somebody who waits for nothing: no position passes it.
pub const NEVER: u64 = u64::MAX;

/// A cursor of an outbox at whose passing the other side may ask to be rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cursor {
    /// Bytes of records published.
    Tail,
    /// Bytes of records consumed: space for the other side.
    Head,
    /// Entries of the return queue published.
    Returned,
}

impl Cursor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tail, Self::Head, Self::Returned];

    /// Offset of the cursor in the outbox of the side that publishes it.
    pub const fn cursor_at(self) -> usize {
        match self {
            Self::Tail => layout::TAIL_AT,
            Self::Head => layout::HEAD_AT,
            Self::Returned => layout::RETURNED_AT,
        }
    }

    /// Offset of the cursor's event word in the outbox of the side that waits for it.
    pub const fn event_at(self) -> usize {
        match self {
            Self::Tail => layout::EVENT_TAIL_AT,
            Self::Head => layout::EVENT_HEAD_AT,
            Self::Returned => layout::EVENT_RETURNED_AT,
        }
    }
}

/// Whether a cursor that moved from `checked` to `new` passed `event`.
#[inline]
pub const fn passes(checked: u64, event: u64, new: u64) -> bool {
    checked <= event && event < new
}

/// The publisher's half: per cursor the position of the last completed check.
///
/// One per session, shared by its threads, outside of every lock. A check is completed once its
/// caller knows that no ring is needed, or has rung (N1).
///
/// ```text
/// publish C := new                                  P1   (under the cursor's lock)
/// needs_ring(peer, C, new)                          P2, P3
///   └─ true: ring, with no lock held; rung(C, new)  P4
/// ```
#[derive(Debug, Default)]
pub struct Checks<W: Word = AtomicU64> {
    checked: [CachePadded<W>; 3],
}

impl Checks {
    /// Nothing published yet: all positions are zero.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<W: Word> Checks<W> {
    /// Whether the peer has to be rung now that `cursor` stands at `new`. Any thread, any time after
    /// the publication.
    ///
    /// To ask for several cursors after one fence, call [`fence`](Self::fence) once and
    /// [`check`](Self::check) for each.
    #[inline]
    pub fn needs_ring<P: Memory>(&self, peer: &P, cursor: Cursor, new: u64) -> bool {
        self.fence(peer);
        self.check(peer, cursor, new)
    }

    /// Orders our publications before the loads of the peer's event words (N2). Partner: the fence in
    /// [`news`].
    #[inline]
    pub fn fence<P: Memory>(&self, peer: &P) {
        peer.fence_seq_cst();
    }

    /// [`needs_ring`](Self::needs_ring) without the fence, which the caller has made since it published.
    #[inline]
    pub fn check<P: Memory>(&self, peer: &P, cursor: Cursor, new: u64) -> bool {
        let word = self.word(cursor);
        // The check is loaded first: an old value only widens the interval. The other way round,
        // another thread could complete a check in between that saw a later word than we did, and
        // neither would ring for ours; only the look of whoever moved the word would save it.
        // Acquire: the ring that completed that check has been made.
        let checked = word.load(Ordering::Acquire);
        let event = peer.load64(cursor.event_at());
        if passes(checked, event, new) {
            return true;
        }
        if checked < new {
            // No read-modify-write, which would cost more than all the rest. A thread that stops
            // right here for a while may set the word back, to a check that was completed as well:
            // that makes the next interval wider, hence at worst a ring too many.
            word.store(new, Ordering::Release);
        }
        false
    }

    /// Completes the check that asked for a ring. To be called when the ring has been made, or the
    /// bell was found rung already, and not before (N1).
    pub fn rung(&self, cursor: Cursor, new: u64) {
        // Release: who loads this with Acquire comes after our ring.
        self.word(cursor).raise(new, Ordering::Release);
    }

    #[inline]
    fn word(&self, cursor: Cursor) -> &W {
        &self.checked[cursor as usize]
    }
}

/// Disarms all words of a fresh outbox, before the peer gets to see it.
pub fn init<O: MemoryMut>(own: &O) {
    for cursor in Cursor::ALL {
        own.store64(cursor.event_at(), NEVER);
    }
}

/// Writes our event word: ring us when the peer's cursor passes `position`. Under the word's lock.
///
/// To be followed by [`news`] before anybody sleeps on it.
pub fn arm<O: MemoryMut>(own: &O, cursor: Cursor, position: u64) {
    // The peer's copy of the line stays valid if nothing changes.
    if own.load64(cursor.event_at()) != position {
        own.store64(cursor.event_at(), position);
    }
}

/// Writes our event word: do not ring us for this cursor. Under the word's lock.
pub fn disarm<O: MemoryMut>(own: &O, cursor: Cursor) {
    arm(own, cursor, NEVER);
}

/// Whether the peer's cursor stands elsewhere than at `armed`, the position given to [`arm`] (N2).
///
/// The fence pairs with the one in [`Checks::fence`]: either this load sees what was published, or
/// the publisher sees the word. Needed also if the word was already right: the thread that wrote it
/// may not have made its fence yet.
pub fn news<O: Memory, P: Memory>(own: &O, peer: &P, cursor: Cursor, armed: u64) -> bool {
    own.fence_seq_cst();
    peer.load64(cursor.cursor_at()) != armed
}

/// Settles a queue of waiters for space, returns or both (N5), under the lock of that queue.
///
/// `scan` loads the peer's cursors (Acquire), checks them, grants from the front of the queue what
/// fits, and returns for each of `cursors` the event word that whoever is left needs now, or `None`.
/// A turn that is not the last follows a change of such a word, and they change only by grants and
/// by what the peer gave back: the loop ends.
///
/// # Errors
/// Those of `scan`, at once.
pub fn settle<O: MemoryMut, E, const N: usize>(
    own: &O,
    cursors: [Cursor; N],
    mut scan: impl FnMut() -> Result<[Option<u64>; N], E>,
) -> Result<(), E> {
    loop {
        let fronts = scan()?;
        let mut wrote = false;
        for (cursor, front) in cursors.into_iter().zip(fronts) {
            match Settle::after_scan(own.load64(cursor.event_at()), front) {
                Settle::Write(event) => {
                    own.store64(cursor.event_at(), event);
                    wrote = true;
                }
                Settle::Done => {}
            }
        }
        if !wrote {
            return Ok(());
        }
        // N2, as in `news`; the look is the next turn's load. Partner: `Checks::fence`.
        own.fence_seq_cst();
    }
}

/// What [`settle`] does about a word after it has loaded the cursor and granted what fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// Write the event word, fence, scan again.
    Write(u64),
    /// The word is right, or nobody waits: it may stay as it is.
    Done,
}

impl Settle {
    /// `word` is our event word, `front` what the front of the queue needs it to be.
    pub fn after_scan(word: u64, front: Option<u64>) -> Self {
        match front {
            Some(needed) if needed != word => Self::Write(needed),
            _ => Self::Done,
        }
    }
}

/// Our event word for the peer's head, for a waiter that needs `need` more bytes of the ring when
/// `held` bytes are granted and not published, and our tail stands at `tail`.
///
/// The waiter fits as soon as the head reaches
///
/// ```text
/// x = tail + held + need − data_limit
/// ```
///
/// To be rung for every few bytes would be waste, so it asks for a quarter of the ring at once
/// (`y`, the same with `ring/4` for `need`), but for no more than is certain to come: a reader that
/// has drained everything may keep the last eighth of the ring unpublished. The position asked for
/// is max(x, min(y, tail − ring/8)), and the word is one less, since a word is passed when the
/// cursor exceeds it.
///
/// If `x` lies beyond the tail only guards of our own can help; whoever drops one settles.
pub fn space_event(geometry: &Geometry, tail: u64, held: u64, need: u64) -> u64 {
    let head_for = |bytes: u64| (tail + held + bytes).saturating_sub(geometry.data_limit());
    let enough = head_for(need);
    let ample = head_for(u64::from(geometry.ring_bytes) / 4);
    let certain = tail.saturating_sub(geometry.head_lag());
    before(enough.max(ample.min(certain)))
}

/// The event word of somebody who waits until a cursor reaches `position`.
pub const fn before(position: u64) -> u64 {
    position.saturating_sub(1)
}

#[cfg(test)]
mod tests;
