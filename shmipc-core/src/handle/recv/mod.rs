//! The receiving half of a stream.
//!
//! | module | |
//! |---|---|
//! | `poll` | what applications ask: the next message, into a buffer or not, or bytes |
//! | `record` | the next record of the stream, out of its inbox or out of the queue |
//! | `part` | what came in one record: in the peer's memory, or on the heap |
//! | `parts` | records that were taken and are not yet a whole message |

mod part;
mod parts;
mod poll;
mod record;

use std::sync::Arc;

use crate::session::{Effects, RecvStats, StreamId};

use super::send::Reserving;
use super::session::Owner;
use parts::Parts;

/// Receives on one stream; made by [`Session::open`](super::Session::open) and
/// [`Session::poll_accept`](super::Session::poll_accept).
///
/// Dropped before the end of the stream it asks the peer to stop sending.
pub struct RecvHalf {
    pub(super) owner: Arc<Owner>,
    pub(super) key: usize,
    pub(super) id: StreamId,
    /// The peer may not have heard of the stream: tell it before the first wait.
    announce: Announce,
    /// Taken out of the inbox and not yet handed to the application: parts of a message that `recv`
    /// or `read` is in the middle of.
    taken: Parts,
    /// Some of them may lie in the peer's memory.
    lent: bool,
    /// The peer's pleas for memory that they were last moved for, modulo 2^32.
    pleas: u32,
    /// What was taken would answer the next call: watchers have been told.
    kept: bool,
    /// Memory of a message that was copied out, to be given back in the next section.
    spare: Option<Box<[u8]>>,
}

#[derive(Debug)]
enum Announce {
    Known,
    Unknown,
    /// Boxed, as few streams ever need it.
    Asking(Box<Reserving>),
}

impl RecvHalf {
    pub(super) fn new(owner: Arc<Owner>, key: usize, id: StreamId, announced: bool) -> Self {
        let announce = if announced { Announce::Known } else { Announce::Unknown };
        let pleas = owner.shared.pleas() as u32;
        Self {
            owner,
            key,
            id,
            announce,
            taken: Parts::default(),
            lent: false,
            pleas,
            kept: false,
            spare: None,
        }
    }

    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Whether this seems to be the only stream in use: if not, there are others to be looked at before this one
    /// is looked at longer. A guess.
    pub fn is_alone(&self) -> bool {
        self.owner.shared.crowd.is_alone(Some(self.key))
    }

    /// Counters of what was received.
    pub fn stats(&self) -> RecvStats {
        match self.owner.shared.is_foreign() {
            true => RecvStats::default(),
            false => self.owner.shared.rx().stats_of(self.key),
        }
    }

    /// Tells watchers whether the next call would find something that was taken already.
    #[inline]
    fn set_kept(&mut self, kept: bool) {
        if self.kept != kept && !self.owner.shared.is_foreign() {
            self.kept = kept;
            let shared = &self.owner.shared;
            let mut effects = Effects::default();
            shared.rx().set_kept(self.key, kept, &mut effects);
            shared.complete(effects, Ok(()));
        }
    }

    /// Asks the peer to stop sending, with a code for its application; what is unread is dropped.
    /// Never waits. The peer's end of the stream can still be received.
    pub fn stop(&mut self, code: u32) {
        if self.owner.shared.is_foreign() {
            return;
        }
        self.taken.clear();
        self.set_kept(false);
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        {
            let mut rx = shared.rx();
            let mut tx = shared.tx();
            rx.stop_receiver(self.key, code, &mut tx, &mut effects);
        }
        shared.complete(effects, Ok(()));
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        if self.owner.shared.is_foreign() {
            return;
        }
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        {
            let mut rx = shared.rx();
            let mut tx = shared.tx();
            rx.drop_receiver(self.key, 0, &mut tx, &mut effects);
        }
        shared.complete(effects, Ok(()));
    }
}

impl std::fmt::Debug for RecvHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvHalf").field("id", &self.id).finish_non_exhaustive()
    }
}
