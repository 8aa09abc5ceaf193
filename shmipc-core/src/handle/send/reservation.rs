//! Memory for one message.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::error::{SendError, SessionError};
use crate::handle::session::Owner;
use crate::queue::Flags;
use crate::session::{Effects, Grant};
use crate::steps::{self, Step};

/// Memory for one message, to be filled in place and committed. Dropped instead, nothing was sent.
///
/// Up to the inline limit it is a private buffer, beyond that shared memory. Its bytes are
/// initialised but unspecified.
pub struct Reservation {
    pub(super) owner: Arc<Owner>,
    pub(super) key: usize,
    pub(super) grant: Option<Grant>,
    pub(super) inline: Vec<u8>,
    pub(super) len: u32,
}

impl Reservation {
    /// Sends all of it as one message. Never waits.
    ///
    /// # Errors
    /// [`SendError`] if the stream or the session is over; nothing was sent.
    pub fn commit(self) -> Result<(), SendError> {
        let len = self.len as usize;
        self.commit_flags(len, Flags::none())
    }

    /// Sends the first `len` bytes as one message. Never waits.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    ///
    /// # Panics
    /// If `len` exceeds what was reserved.
    pub fn commit_len(self, len: usize) -> Result<(), SendError> {
        self.commit_flags(len, Flags::none())
    }

    /// Sends the first `len` bytes with flags: [`Flags::MORE`] if the message goes on,
    /// [`Flags::FIN`] if the direction ends with it.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    ///
    /// # Panics
    /// If `len` exceeds what was reserved, or both flags are given.
    pub fn commit_flags(mut self, len: usize, flags: Flags) -> Result<(), SendError> {
        assert!(len <= self.len as usize, "committed more than was reserved");
        flags.assert_possible();
        let Some(grant) = self.grant.take() else { unreachable!("taken by commit or drop only") };
        if self.owner.shared.is_foreign() {
            return Err(SessionError::Forked.into());
        }
        steps::reach(Step::Filled);
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        let inline = self.inline.get(..len).unwrap_or_default();
        let result = {
            let mut tx = shared.tx();
            let result = tx.commit(self.key, grant, inline, len as u32, flags, &mut effects);
            tx.keep_buffer(std::mem::take(&mut self.inline));
            result
        };
        shared.complete(effects, Ok(()));
        result
    }
}

impl Deref for Reservation {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.grant.as_ref().and_then(|grant| grant.extent.as_ref()) {
            Some(extent) => extent,
            None => &self.inline,
        }
    }
}

impl DerefMut for Reservation {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self.grant.as_mut().and_then(|grant| grant.extent.as_mut()) {
            Some(extent) => extent,
            None => &mut self.inline,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(grant) = self.grant.take() else { return };
        if self.owner.shared.is_foreign() {
            return;
        }
        let mut effects = Effects::default();
        self.owner.shared.tx().ungrant(self.key, grant, &mut effects);
        self.owner.shared.complete(effects, Ok(()));
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation").field("len", &self.len).finish_non_exhaustive()
    }
}
