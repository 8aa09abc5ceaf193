//! What came in one record, and the message that it is alone.

use std::sync::Arc;

use crate::handle::buffers::Buffer;
use crate::handle::message::{Lent, Message};
use crate::session::{Entry, Payload};

use super::RecvHalf;

/// A message, or a piece of one.
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

    /// Copies everything out, behind what `out` holds.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Heap(bytes) => out.extend_from_slice(bytes),
            Self::Lent(lent) => lent.bytes.append_to(out),
        }
    }

    /// Leaves the peer's memory, which goes back.
    pub(super) fn move_to_heap(&mut self) {
        if let Self::Lent(lent) = self {
            *self = Self::Heap(lent.bytes.to_vec().into_boxed_slice());
        }
    }
}

impl RecvHalf {
    /// The message of a single record: in place if the peer is trusted and not too much is held, else a copy.
    #[inline]
    pub(super) fn message_of(&self, payload: Payload) -> Message {
        let shared = &self.owner.shared;
        match (payload, shared.promise) {
            (Payload::Heap(bytes), _) => Message::copied(bytes.into_vec().into()),
            (Payload::Lent { bytes, id, segment, weight, .. }, Some(promise))
                if shared.may_hold(weight) =>
            {
                let home = Arc::downgrade(shared);
                Message::in_place(Lent { bytes, id, segment, weight, home }, promise)
            }
            (Payload::Lent { bytes, id, segment, .. }, _) => {
                let copy = Buffer::filled(bytes.len(), |out| bytes.append_to(out));
                shared.hand_back(id, segment);
                Message::copied(copy)
            }
        }
    }

    /// Takes over what a record carried: memory of the peer stays there, unless too much is held.
    pub(super) fn part(&self, entry: Entry) -> Part {
        match entry.payload {
            Payload::Heap(bytes) => Part::Heap(bytes),
            Payload::Lent { bytes, id, segment, weight, .. } => {
                let shared = &self.owner.shared;
                if shared.may_hold(weight) {
                    let home = Arc::downgrade(shared);
                    return Part::Lent(Lent { bytes, id, segment, weight, home });
                }
                let copy = bytes.to_vec().into_boxed_slice();
                shared.hand_back(id, segment);
                Part::Heap(copy)
            }
        }
    }
}
