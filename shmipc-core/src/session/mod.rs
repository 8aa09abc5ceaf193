//! Streams over one session: what is charged, granted, sent, delivered and given back.
//!
//! ```text
//!   application                                                     application
//!      │ reserve → fill → commit                        recv ▲         │ drop
//!      ▼                                                     │         ▼
//!   ┌── Tx ────────────────┐    records (tail)    ┌── Rx ────┴───────────┐
//!   │ credit, tickets,     │ ───────────────────▶ │ drain: places,       │
//!   │ ring bytes, extents  │ ◀── head, returns ── │ inboxes, windows     │
//!   └──────────────────────┘ ◀── window updates ─ └──────────────────────┘
//! ```
//!
//! `Tx` and `Rx` are plain state behind one process-local lock each, taken in the order Rx → Tx.
//! Neither makes a system call, calls a waker, writes to the log or drops a message while it is locked: they leave
//! that to the caller in `Effects`. Nor do they clone or drop a waker.
//!
//! # Invariants
//! * **C1** The footprint of a record is 64 bytes and its payload rounded up to 64. The session is
//!   charged the footprint; a stream is charged the footprint or half of its window, whichever is
//!   less, and never overdraws. A record may start whenever any session credit is left.
//! * **C2** Credit comes back when a record is handed to the application or dropped, and is announced
//!   in the same call: for a stream exactly when `taken + window − announced > window/2`, for the
//!   session when it exceeds an eighth. So at most one stream update and eight session updates are
//!   unread, which is what the control reserve counts on.
//! * **C3** A reservation is granted in one step (stream credit, session credit, ring bytes, extent)
//!   or not at all, oldest first; a waiter holds nothing.
//! * **C4** Records of a stream that is over are never just skipped: their extent is handed back and
//!   their session credit counted.
//! * **C5** A place of ours is used again only when our terminal is sent, the peer's is drained, the
//!   application let go, and the peer's head has passed our last control record there. A place of the
//!   peer's is free when our terminal is sent and the peer's is drained. A stream that a leaving peer
//!   has not seen owes nothing, and its place is not used again: we open no more.

mod credit;
mod id;
mod openers;
mod rx;
mod stats;
mod tickets;
mod tx;
mod wakers;

pub use credit::{RecvCredit, SendCredit, charge, footprint};
pub use id::StreamId;
pub use rx::Readiness;
pub(crate) use rx::{BUDGET, Crowd, Drained, End, Entry, Feeds, Next, Payload, Rx};
pub use stats::{RecvStats, SendStats, Stats};
pub(crate) use tickets::TicketId;
pub(crate) use tx::{Ask, Grant, Tx};
use wakers::Wakers;

use std::task::Waker;

use crate::error::{OsError, PeerMisbehaved};
use crate::log::Log;
use crate::pool::Plan;

/// What a section under a lock leaves to be done after it.
#[derive(Debug, Default)]
#[must_use = "whoever waits for what was done would never learn of it"]
pub(crate) struct Effects {
    /// Whom to wake.
    pub wakers: Wakers,
    /// Wakers that others took the place of: foreign code runs when they are dropped.
    pub stale: Vec<Waker>,
    /// Lines to be told.
    pub log: Log,
    /// What the application will never see, to be handed back.
    pub dropped: Vec<Payload>,
    /// Our tail was published up to here.
    pub tail: Option<u64>,
    /// Our head was published up to here.
    pub head: Option<u64>,
    /// Our returns were published up to here.
    pub returned: Option<u64>,
    /// What the peer said may let reservations go on: the queue is to be settled before the lock is released, once
    /// for all records of a drain.
    pub settle: bool,
    /// Unread extents are to be moved to the heap.
    pub evict: bool,
    /// So much has been drained that it is time for a look at the socket.
    pub glance: bool,
    /// A segment that is to be created by the caller.
    pub grow: Option<Plan>,
    /// A bell was read that was meant for whoever is inside the kernel wait (notify, N4).
    pub took_bell: bool,
    /// A stream was opened: look whether the peer leaves (`notify::leaving`, G1).
    pub opened: bool,
    /// A rule that the peer was found to have broken while something was sent.
    pub misdeed: Option<PeerMisbehaved>,
    /// What the operating system refused us, without which the session cannot go on. What looks like
    /// a misdeed after it may be its consequence.
    pub failed: Option<OsError>,
}

impl Effects {
    /// Nothing is left to be done but to signal what was published, if anything was.
    #[inline]
    pub(crate) fn only_moves(&self) -> bool {
        self.wakers.is_empty()
            && self.stale.is_empty()
            && self.log.is_empty()
            && self.dropped.is_empty()
            && !self.evict
            && !self.glance
            && !self.took_bell
            && !self.opened
            && self.misdeed.is_none()
            && self.failed.is_none()
    }
}

/// Keeps a waker, unless it is kept already: then `waker` is left where it is. It is cloned by the
/// caller before the lock is taken, and what is left is dropped after it: both are foreign code.
pub(crate) fn store_waker(
    place: &mut Option<Waker>,
    waker: &mut Option<Waker>,
    effects: &mut Effects,
) {
    if let Some(waker) = waker.take_if(|new| !place.as_ref().is_some_and(|old| old.will_wake(new)))
    {
        effects.stale.extend(place.replace(waker));
    }
}

/// Adds a waker to others, unless it is among them; see [`store_waker`].
fn add_waker(others: &mut Vec<Waker>, waker: &mut Option<Waker>) {
    others.extend(waker.take_if(|new| !others.iter().any(|old| old.will_wake(new))));
}
