//! The session handle.

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::config::{Commit, Config, PeerCred};
use crate::error::{HandshakeError, OpenError, SessionError};
use crate::handshake::Established;
use crate::layout::Geometry;
use crate::mem::{Memory, Raw};
use crate::notify::event::Cursor;
use crate::session::{Effects, Stats, StreamId};
use crate::steps::{self, Step};

use super::opening::Opening;
use super::recv::RecvHalf;
use super::send::SendHalf;
use super::shared::Shared;
use super::spin::Spinner;
use super::waiting::{Active, Waiting};

/// Closes the session when the last handle goes (H4).
pub(super) struct Owner {
    pub(super) shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.close(0);
    }
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.fmt(f)
    }
}

/// A session with one peer, for flavours to build upon. Cheap to clone; all methods may be called by
/// any thread.
#[derive(Clone, Debug)]
pub struct Session {
    pub(super) owner: Arc<Owner>,
    pub(super) peer: PeerCred,
    pub(super) app_version: u32,
}

impl Session {
    /// The session of a completed handshake. Blocks while its memory is committed, if that is asked for.
    ///
    /// # Errors
    /// [`HandshakeError::Os`] without descriptors for its wait set; [`HandshakeError::NoMemory`] and
    /// [`HandshakeError::NotCommitted`] with [`Commit::Upfront`].
    pub fn new(established: Established, config: &Config) -> Result<Self, HandshakeError> {
        steps::reach(Step::Established);
        let (peer, app_version) = (established.peer_cred, established.peer_app_version);
        let shared = Arc::new(Shared::new(established, config)?);
        let session = Self { owner: Arc::new(Owner { shared }), peer, app_version };
        session.owner.shared.take_first_frames();
        if config.commit == Commit::Upfront {
            session.owner.shared.commit_arena()?;
        }
        Ok(session)
    }

    /// Opens a stream. The peer learns of it with its first record, at the latest before we first
    /// wait on it. Never blocks, makes no system call.
    ///
    /// # Errors
    /// [`OpenError::TooManyStreams`]; [`OpenError::GoingAway`] and [`OpenError::Leaving`] once either
    /// side leaves; [`OpenError::Session`].
    pub fn open(&self) -> Result<(SendHalf, RecvHalf), OpenError> {
        if self.owner.shared.is_foreign() {
            return Err(SessionError::Forked.into());
        }
        let mut opened = self.open_place();
        if matches!(opened, Err(OpenError::TooManyStreams { .. })) {
            // That streams have ended comes in records.
            self.owner.shared.drive();
            opened = self.open_place();
        }
        if let Err(OpenError::Session(error @ SessionError::Misbehaved(_))) = opened {
            self.owner.shared.end(error);
        }
        let (key, id, serial) = opened?;
        Ok(self.halves(key, id, serial, false))
    }

    /// Begins to open a stream when a place is free; see [`Opening::poll`].
    pub fn opening(&self) -> Opening<'_> {
        Opening::new(self)
    }

    pub(super) fn open_place(&self) -> Result<(usize, StreamId, u64), OpenError> {
        let mut rx = self.owner.shared.rx();
        let mut tx = self.owner.shared.tx();
        let (key, id) = rx.open(&mut tx)?;
        steps::reach(Step::Opened);
        Ok((key, id, tx.serial_of(key)))
    }

    pub(super) fn halves(
        &self,
        key: usize,
        id: StreamId,
        serial: u64,
        announced: bool,
    ) -> (SendHalf, RecvHalf) {
        let send = SendHalf { owner: Arc::clone(&self.owner), key, id, serial };
        let recv = RecvHalf::new(Arc::clone(&self.owner), key, id, announced);
        (send, recv)
    }

    /// Drives the session: drains what the peer has published and answers whoever waits for it.
    /// Never blocks.
    pub fn drive(&self) {
        if !self.owner.shared.is_foreign() {
            self.owner.shared.drive();
        }
    }

    /// The peer's record cursor as it stands, for comparing with an earlier look: what was published
    /// before a look is handled by a poll after it. Takes no lock.
    #[inline]
    pub fn tail(&self) -> Raw<u64> {
        self.cursor(Cursor::Tail)
    }

    /// In a forked child, which does not have the mapping, all cursors are zero.
    #[inline]
    fn cursor(&self, cursor: Cursor) -> Raw<u64> {
        Raw::new(match self.owner.shared.is_foreign() {
            true => 0,
            false => self.owner.shared.peer.load64(cursor.cursor_at()),
        })
    }

    /// Hints that the next record of the peer will soon be read. Takes no lock.
    #[inline]
    pub fn will_read(&self) {
        self.owner.shared.will_read();
    }

    /// All cursors of the peer, as [`tail`](Self::tail).
    pub fn cursors(&self) -> [Raw<u64>; 3] {
        Cursor::ALL.map(|cursor| self.cursor(cursor))
    }

    /// Whether the session is over, as it is in a forked child.
    pub fn is_over(&self) -> bool {
        self.owner.shared.is_foreign() || self.owner.shared.is_over()
    }

    /// Why the session is over, once it is. Drives the session inline.
    pub fn poll_closed(&self, waker: Option<&Waker>) -> Poll<SessionError> {
        if self.owner.shared.is_foreign() {
            return Poll::Ready(SessionError::Forked);
        }
        let shared = &self.owner.shared;
        shared.drive();
        let mut effects = Effects::default();
        let mut clone = waker.cloned();
        let over = {
            let mut rx = shared.rx();
            if rx.over.is_none() && waker.is_some() {
                rx.wait_end(&mut clone);
                rx.publish_head(&mut effects);
            }
            rx.over
        };
        shared.complete(effects, Ok(()));
        over.map_or(Poll::Pending, Poll::Ready)
    }

    /// To be called by who gives up waiting in [`poll_closed`](Self::poll_closed), lest wakers of those who
    /// have left pile up.
    pub fn forget_closed(&self) {
        if self.owner.shared.is_foreign() {
            return;
        }
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        shared.rx().forget_ends(&mut effects);
        shared.complete(effects, Ok(()));
    }

    /// Closes the session. The peer reads what was published before, then learns `code`.
    pub fn close(&self, code: u32) {
        self.owner.shared.close(code);
    }

    /// Looks at the socket, at most once a millisecond: for callers that poll and never sleep, who would
    /// else not learn of the session's end.
    pub fn glance(&self) {
        if !self.owner.shared.is_foreign() {
            self.owner.shared.glance_now_and_then();
        }
    }

    /// Begins a spin of the calling thread, as the session's mode allows.
    pub fn spin(&self, deadline: Option<Instant>) -> Spinner<'_> {
        Spinner::new(&self.owner.shared, deadline)
    }

    /// The same, for `slice` at most, for whoever keeps others waiting meanwhile.
    pub fn spin_briefly(&self, slice: Duration) -> Spinner<'_> {
        Spinner::brief(&self.owner.shared, slice)
    }

    /// The same, for a thread beside an event loop that drives the session too. The loop does not spin
    /// meanwhile; it is woken now and then, and offered the CPU, so that its timers are not late.
    pub fn spin_outside(&self, slice: Duration) -> Spinner<'_> {
        Spinner::outside(&self.owner.shared, slice)
    }

    /// Counts the calling thread as one that drives, until the result is dropped, if another one
    /// sleeps in the kernel.
    pub fn active(&self) -> Option<impl Sized + '_> {
        Active::begin(&self.owner.shared)
    }

    /// Takes a place among the threads that sleep.
    pub fn wait_here(&self) -> Waiting<'_> {
        Waiting::new(&self.owner.shared)
    }

    /// Who the peer is.
    pub fn peer(&self) -> PeerCred {
        self.peer
    }

    /// The peer's version of the application protocol.
    pub fn app_version(&self) -> u32 {
        self.app_version
    }

    /// The agreed layout and limits of what we send.
    pub fn geometry(&self) -> Geometry {
        *self.owner.shared.out()
    }

    /// What the session has done so far; zeros in a forked child.
    pub fn stats(&self) -> Stats {
        match self.owner.shared.is_foreign() {
            true => Stats::default(),
            false => self.owner.shared.stats(),
        }
    }

    /// Whether large messages are read in place, as the configuration carries [`PeerTrust`](crate::mem::PeerTrust).
    pub fn is_trusted(&self) -> bool {
        self.owner.shared.promise.is_some()
    }
}

const _: () = {
    const fn is_shareable<T: Send + Sync>() {}
    is_shareable::<Session>();
    is_shareable::<SendHalf>();
    is_shareable::<RecvHalf>();
};
