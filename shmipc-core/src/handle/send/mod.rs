//! The sending half of a stream, and its reservations.

mod reservation;
mod reserving;

pub use reservation::Reservation;
pub use reserving::Reserving;

use std::sync::Arc;

use crate::error::{SendError, SessionError};
use crate::queue::Flags;
use crate::session::{Ask, Effects, SendStats, StreamId};

use super::session::Owner;

/// Sends on one stream; made by [`Session::open`](super::Session::open) and
/// [`Session::poll_accept`](super::Session::poll_accept).
///
/// Dropped before [`finish`](Self::finish) it resets the stream.
pub struct SendHalf {
    pub(super) owner: Arc<Owner>,
    pub(super) key: usize,
    pub(super) id: StreamId,
    /// Which use of the key the stream is.
    pub(super) serial: u64,
}

impl SendHalf {
    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Begins to reserve `len` bytes.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] at once for what can never fit.
    pub fn reserve(&self, len: usize) -> Result<Reserving, SendError> {
        let max = self.max_message();
        if len > max {
            return Err(SendError::TooLarge { len, max });
        }
        Ok(Reserving::new(&self.owner, self.key, self.serial, Ask::Data(len as u32)))
    }

    /// Begins to reserve `len` bytes, at most `max_message`, or up to `inline_max` of them if the kernel refuses
    /// memory for all: for bytes that need not lie in one record. The reservation says how many it has.
    pub fn reserve_piece(&self, len: usize) -> Reserving {
        let len = len.min(self.max_message()) as u32;
        Reserving::new(&self.owner, self.key, self.serial, Ask::Piece(len))
    }

    /// Counters of what was sent.
    pub fn stats(&self) -> SendStats {
        match self.owner.shared.is_foreign() {
            true => SendStats::default(),
            false => self.owner.shared.tx().stats_of(self.key),
        }
    }

    /// Largest message of one record, bytes.
    pub fn max_message(&self) -> usize {
        self.owner.shared.out().max_message as usize
    }

    /// Largest message that travels inside of its record, bytes.
    pub fn inline_max(&self) -> usize {
        self.owner.shared.out().inline_max as usize
    }

    /// Whether what was sent last, by whatever means, is not the end of its message ([`Flags::MORE`]).
    pub fn is_in_message(&self) -> bool {
        !self.owner.shared.is_foreign() && self.owner.shared.tx().is_in_message(self.key)
    }

    /// Sends a message that fits into a record, if nothing has to be waited for; `Ok(false)` if
    /// something has. Never blocks.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    ///
    /// # Panics
    /// If both [`Flags::MORE`] and [`Flags::FIN`] are given.
    #[inline]
    pub fn try_send(&self, data: &[u8], flags: Flags) -> Result<bool, SendError> {
        flags.assert_possible();
        if data.len() > self.inline_max() {
            return Ok(false);
        }
        if self.owner.shared.is_foreign() {
            return Err(SessionError::Forked.into());
        }
        let shared = &self.owner.shared;
        let mut tx = shared.tx();
        match tx.put_inline(self.key, data, flags) {
            Ok(true) => {}
            Ok(false) => {
                drop(tx);
                return self.try_again(data, flags);
            }
            Err(error) => {
                drop(tx);
                return Err(self.failed(error));
            }
        }
        shared.publish(tx);
        Ok(true)
    }

    /// Sends the first of several messages that fit into records, in one section and with one
    /// publication; gives how many. Never blocks.
    ///
    /// # Errors
    /// [`SendError`]; none of them was sent.
    pub fn try_send_all<'a>(
        &self,
        messages: impl Iterator<Item = &'a [u8]>,
    ) -> Result<usize, SendError> {
        if self.owner.shared.is_foreign() {
            return Err(SessionError::Forked.into());
        }
        let shared = &self.owner.shared;
        let mut tx = shared.tx();
        let (mut sent, mut result) = (0, Ok(()));
        let max = self.inline_max();
        for message in messages {
            if message.len() > max {
                result = Err(SendError::TooLarge { len: message.len(), max });
                break;
            }
            match tx.put_inline(self.key, message, Flags::none()) {
                Ok(true) => sent += 1,
                Ok(false) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        shared.publish(tx);
        let result = result.map_err(|error| self.failed(error));
        if sent == 0 { result.map(|()| 0) } else { Ok(sent) }
    }

    /// Ends the session for a rule that the peer was found to have broken; no lock is held.
    #[cold]
    fn failed(&self, error: SendError) -> SendError {
        if let SendError::Session(error @ SessionError::Misbehaved(_)) = error {
            self.owner.shared.end(error);
        }
        error
    }

    /// Something was lacking. Credit comes in records, so they are drained; then once more.
    #[cold]
    fn try_again(&self, data: &[u8], flags: Flags) -> Result<bool, SendError> {
        let shared = &self.owner.shared;
        if !shared.progress.has_records(&*shared.peer) {
            return Ok(false);
        }
        shared.drive();
        let mut tx = shared.tx();
        let put = tx.put_inline(self.key, data, flags);
        shared.publish(tx);
        put.map_err(|error| self.failed(error))
    }

    /// Ends this direction in good order: the peer reads what was sent, then the end of the stream.
    /// Never waits.
    ///
    /// # Errors
    /// [`SendError::Ended`] if it has ended before; [`SendError::Session`].
    pub fn finish(&mut self) -> Result<(), SendError> {
        if self.owner.shared.is_foreign() {
            return Err(SessionError::Forked.into());
        }
        let mut effects = Effects::default();
        let result = self.owner.shared.tx().finish(self.key, &mut effects);
        self.owner.shared.complete(effects, Ok(()));
        result
    }

    /// Breaks this direction off: the peer reads what was sent, then an error with `code`. Never waits.
    pub fn reset(&mut self, code: u32) {
        if self.owner.shared.is_foreign() {
            return;
        }
        let mut effects = Effects::default();
        self.owner.shared.tx().reset(self.key, code, &mut effects);
        self.owner.shared.complete(effects, Ok(()));
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if self.owner.shared.is_foreign() {
            return;
        }
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        {
            let mut rx = shared.rx();
            let mut tx = shared.tx();
            tx.reset(self.key, 0, &mut effects);
            rx.drop_sender(self.key, &mut tx, &mut effects);
        }
        shared.complete(effects, Ok(()));
    }
}

impl std::fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendHalf").field("id", &self.id).finish_non_exhaustive()
    }
}
