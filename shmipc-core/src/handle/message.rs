//! What `recv` gives: a message, copied to our heap or where it lies in the peer's memory.

use std::sync::Weak;

use bytes::{Buf, Bytes};

use crate::mem::{LentBytes, PeerTrust};

use super::buffers::Buffer;
use super::shared::Shared;

/// Memory of the peer that we hold; given back when dropped, from any thread, also after the
/// session's end.
pub(super) struct Lent {
    pub(super) bytes: LentBytes,
    pub(super) id: u32,
    pub(super) segment: u32,
    pub(super) weight: u32,
    /// Weak: a message that is kept for long keeps the segment it lies in, not the rest of the session.
    pub(super) home: Weak<Shared>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.let_go(self.id, self.segment, self.weight);
        }
    }
}

/// A received message: one range of bytes that does not change any more.
///
/// It dereferences to `[u8]`, is a [`Buf`], and becomes [`Bytes`] or a vector. Its bytes were copied out of the
/// peer's memory before `recv` returned; with [`PeerTrust`] in the configuration a message that was sent from one
/// reservation is read where it lies, and its memory goes back to the peer when it is dropped.
///
/// ```
/// use bytes::{Buf, Bytes};
/// # fn read(mut message: shmipc_core::handle::Message) {
/// let first = message.get_u32_le(); // consumes four bytes
/// let rest: &[u8] = &message; // the bytes behind them
/// # let _ = (first, rest);
/// let shared: Bytes = message.into(); // without a copy
/// # drop(shared);
/// # }
/// ```
pub struct Message {
    place: Place,
    /// Bytes that a [`Buf`] has consumed.
    consumed: usize,
}

enum Place {
    Heap(Buffer),
    Peer(InPlace),
}

/// Bytes of the peer that the application has promised to be left alone until this is dropped.
struct InPlace(Lent, PeerTrust);

impl AsRef<[u8]> for InPlace {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes.as_slice(self.1)
    }
}

impl Message {
    #[inline]
    pub(super) fn copied(bytes: Buffer) -> Self {
        Self { place: Place::Heap(bytes), consumed: 0 }
    }

    #[inline]
    pub(super) fn in_place(lent: Lent, promise: PeerTrust) -> Self {
        Self { place: Place::Peer(InPlace(lent, promise)), consumed: 0 }
    }

    /// Whether the bytes are read where they lie in the peer's memory. False for a message that was copied out, as
    /// any is without [`PeerTrust`].
    pub fn is_zero_copy(&self) -> bool {
        matches!(self.place, Place::Peer(_))
    }

    /// The bytes as a vector. Copies if they lie in the peer's memory, or a [`Buf`] has consumed some.
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            Self { place: Place::Heap(bytes), consumed: 0 } => bytes.into_vec(),
            other => other.to_vec(),
        }
    }

    /// The bytes as [`Bytes`], without a copy. Of a message in place they keep the peer's memory.
    pub fn into_bytes(self) -> Bytes {
        let mut bytes = match self.place {
            Place::Heap(bytes) => Bytes::from(bytes.into_vec()),
            Place::Peer(bytes) => Bytes::from_owner(bytes),
        };
        bytes.advance(self.consumed);
        bytes
    }
}

impl std::ops::Deref for Message {
    type Target = [u8];

    /// # Panics
    /// In a forked child, for a message in place: the child does not have the peer's memory.
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.place {
            Place::Heap(bytes) => &bytes[self.consumed..],
            Place::Peer(bytes) => &bytes.as_ref()[self.consumed..],
        }
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Buf for Message {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advanced past the end of the message");
        self.consumed += count;
    }
}

impl From<Message> for Bytes {
    fn from(message: Message) -> Self {
        message.into_bytes()
    }
}

impl From<Message> for Vec<u8> {
    fn from(message: Message) -> Self {
        message.into_vec()
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("len", &self.len())
            .field("zero_copy", &self.is_zero_copy())
            .finish()
    }
}
