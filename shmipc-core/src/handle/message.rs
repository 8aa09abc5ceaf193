//! What `recv` gives: a message, in the peer's memory or on our heap, and who may look at it how.

use std::marker::PhantomData;
use std::sync::{OnceLock, Weak};

use bytes::{Buf, Bytes};

use crate::mem::{LentBytes, PeerTrust};

use super::shared::Shared;

mod sealed {
    pub trait Sealed: Send + Sync + Unpin + 'static {}
    impl Sealed for super::Untrusted {}
    impl Sealed for super::Trusted {}
}

/// Whether the peer is trusted not to write what it has lent us: [`Untrusted`] or [`Trusted`].
pub trait Trust: sealed::Sealed {}

/// The peer may write to its memory at any time: reading copies.
#[derive(Debug)]
pub enum Untrusted {}

/// The application promised that the peer leaves lent memory alone: reading is zero-copy.
#[derive(Debug)]
pub enum Trusted {}

impl Trust for Untrusted {}
impl Trust for Trusted {}

/// Memory of the peer that we hold; given back when dropped, from any thread, also after the
/// session's end.
pub(super) struct Lent {
    pub(super) bytes: LentBytes,
    pub(super) id: u32,
    pub(super) segment: u32,
    pub(super) weight: u32,
    /// Weak: who keeps a message for long keeps the segment it lies in, not the rest of the session.
    pub(super) home: Weak<Shared>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.let_go(self.id, self.segment, self.weight);
        }
    }
}

/// A piece of a message: what came in one record.
pub(super) enum Part {
    Heap(Box<[u8]>),
    Lent(Lent),
}

impl Part {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Heap(bytes) => bytes.len(),
            Self::Lent(lent) => lent.bytes.len(),
        }
    }

    /// Copies out from `at` on.
    pub(super) fn read(&self, at: usize, out: &mut [u8]) {
        match self {
            Self::Heap(bytes) => out.copy_from_slice(&bytes[at..at + out.len()]),
            Self::Lent(lent) => lent.bytes.read(at, out),
        }
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Heap(bytes) => bytes.to_vec(),
            Self::Lent(lent) => lent.bytes.to_vec(),
        }
    }

    fn slice(&self, promise: PeerTrust) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Lent(lent) => lent.bytes.as_slice(promise),
        }
    }
}

/// A received message. What it occupies in the peer's memory goes back when it is dropped.
///
/// A message is one piece if it was sent from one reservation, and several if it was written in parts.
///
/// Of an [`Untrusted`] peer a message can be copied out: [`copy_to_slice`](Self::copy_to_slice),
/// [`to_vec`](Self::to_vec), [`into_bytes`](Self::into_bytes). Of a [`Trusted`] peer it can also be
/// read in place: it derefs to `[u8]`, is a [`Buf`], and becomes [`Bytes`] without a copy.
pub struct Message<T: Trust = Untrusted> {
    first: Part,
    /// Of a message in several pieces.
    more: Option<Box<More>>,
    promise: Option<PeerTrust>,
    /// Bytes a `Buf` has consumed.
    consumed: usize,
    trust: PhantomData<T>,
}

/// The pieces after the first, and all of them joined if somebody asked for that.
struct More {
    rest: Vec<Part>,
    joined: OnceLock<Box<[u8]>>,
}

impl<T: Trust> Message<T> {
    pub(super) fn new(first: Part, rest: Vec<Part>, promise: Option<PeerTrust>) -> Self {
        let more = (!rest.is_empty()).then(|| Box::new(More { rest, joined: OnceLock::new() }));
        Self { first, more, promise, consumed: 0, trust: PhantomData }
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.parts().map(Part::len).sum::<usize>() - self.consumed
    }

    /// True if there are no bytes. Empty messages are legal.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if all of it lies in the peer's memory still. That says where it lies: reading it copies it unless the
    /// peer is trusted.
    pub fn is_zero_copy(&self) -> bool {
        self.parts().all(|part| matches!(part, Part::Lent(_)))
    }

    /// Copies the whole message out.
    ///
    /// # Panics
    /// If `out` has not exactly the length of the message.
    pub fn copy_to_slice(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.len(), "the slice must have the message's length");
        let mut rest = out;
        let mut skip = self.consumed;
        for part in self.parts() {
            let from = skip.min(part.len());
            skip -= from;
            let (now, later) = rest.split_at_mut(part.len() - from);
            part.read(from, now);
            rest = later;
        }
    }

    /// Copies the whole message into a vector.
    pub fn to_vec(&self) -> Vec<u8> {
        if self.more.is_none() && self.consumed == 0 {
            return self.first.to_vec();
        }
        let mut out = vec![0; self.len()];
        self.copy_to_slice(&mut out);
        out
    }

    /// The message as [`Bytes`]: without a copy if it lies on our heap already, or the peer is trusted,
    /// and it is in one piece.
    pub fn into_bytes(self) -> Bytes {
        if self.more.is_some() || self.consumed != 0 {
            return self.to_vec().into();
        }
        match (self.first, self.promise) {
            (Part::Heap(bytes), _) => bytes.into(),
            (Part::Lent(lent), Some(promise)) => Bytes::from_owner(LentOwner(lent, promise)),
            (Part::Lent(lent), None) => lent.bytes.to_vec().into(),
        }
    }

    /// The pieces, in order, of a message that nobody has consumed from.
    pub(super) fn into_parts(self) -> Vec<Part> {
        debug_assert_eq!(self.consumed, 0);
        std::iter::once(self.first)
            .chain(self.more.into_iter().flat_map(|more| more.rest))
            .collect()
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.first).chain(self.more.iter().flat_map(|more| &more.rest))
    }
}

/// Keeps lent memory for as long as the [`Bytes`] made of it.
struct LentOwner(Lent, PeerTrust);

impl AsRef<[u8]> for LentOwner {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes.as_slice(self.1)
    }
}

impl Message<Trusted> {
    /// The message with its marker removed, for code that takes any.
    pub fn into_untrusted(self) -> Message {
        let Self { first, more, consumed, .. } = self;
        Message { first, more, promise: None, consumed, trust: PhantomData }
    }

    fn promise(&self) -> PeerTrust {
        self.promise.expect("a trusted message is made with the promise")
    }
}

/// In place. A message of several pieces is joined on the heap when this is first called; use its
/// [`Buf`] to avoid that.
impl std::ops::Deref for Message<Trusted> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Some(more) = &self.more else {
            return &self.first.slice(self.promise())[self.consumed..];
        };
        let joined = more.joined.get_or_init(|| {
            let mut all = Vec::new();
            self.parts().for_each(|part| all.extend_from_slice(part.slice(self.promise())));
            all.into_boxed_slice()
        });
        &joined[self.consumed..]
    }
}

impl AsRef<[u8]> for Message<Trusted> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Buf for Message<Trusted> {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        let mut skip = self.consumed;
        for part in self.parts() {
            if skip < part.len() {
                return &part.slice(self.promise())[skip..];
            }
            skip -= part.len();
        }
        &[]
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advanced past the end of the message");
        self.consumed += count;
    }
}

impl<T: Trust> From<Message<T>> for Bytes {
    fn from(message: Message<T>) -> Self {
        message.into_bytes()
    }
}

impl<T: Trust> std::fmt::Debug for Message<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("len", &self.len())
            .field("pieces", &self.parts().count())
            .field("zero_copy", &self.is_zero_copy())
            .finish()
    }
}
