//! Records that were taken out of the inbox and are not yet a whole message.

use crate::handle::message::{Message, Part, Trust};
use crate::session::Entry;

use super::RecvHalf;

/// So many more parts than before are joined, those on the heap into pieces of at least that many bytes:
/// a part of a byte costs a hundred.
const PARTS: usize = 1024;
const PIECE: usize = 64 << 10;

/// A part of a message.
pub(super) struct Taken {
    pub(super) part: Part,
    /// Bytes of it that `read` has consumed.
    pub(super) from: usize,
    /// The message goes on in the next part.
    pub(super) more: bool,
}

impl<T: Trust> RecvHalf<T> {
    pub(super) fn take(&mut self, entry: Entry) {
        let more = entry.more;
        if more && entry.payload.len() == 0 {
            // Adds nothing to its message.
            return;
        }
        let part = self.part(entry);
        self.lent |= matches!(part, Part::Lent(_));
        self.taken.push_back(Taken { part, from: 0, more });
        self.joined = self.joined.min(self.taken.len());
        if self.taken.len() - self.joined >= PARTS {
            self.join();
        }
    }

    /// Moves the parts to the heap and hands their memory back, if the peer has asked for memory since it was
    /// last asked here: the rest of their message may be what it needs the memory for.
    pub(super) fn heed_plea(&mut self) {
        let pleas = self.owner.shared.pleas();
        if !self.lent || pleas == self.pleas {
            return;
        }
        self.pleas = pleas;
        self.lent = false;
        for taken in &mut self.taken {
            if let Part::Lent(_) = taken.part {
                taken.part = Part::Heap(taken.part.to_vec().into_boxed_slice());
            }
        }
    }

    /// Joins small parts of one message.
    #[cold]
    pub(super) fn join(&mut self) {
        let mut piece = Vec::new();
        for taken in std::mem::take(&mut self.taken) {
            if taken.more && taken.len() < PIECE && matches!(taken.part, Part::Heap(_)) {
                let end = piece.len();
                piece.resize(end + taken.len(), 0);
                taken.part.read(taken.from, &mut piece[end..]);
                if piece.len() >= PIECE {
                    self.taken.push_back(Taken::piece(&mut piece));
                }
                continue;
            }
            if !piece.is_empty() {
                self.taken.push_back(Taken::piece(&mut piece));
            }
            self.taken.push_back(taken);
        }
        if !piece.is_empty() {
            self.taken.push_back(Taken::piece(&mut piece));
        }
        self.joined = self.taken.len();
    }

    /// Makes a message of the first parts taken; `None` of one whose bytes `read` has consumed.
    pub(super) fn assemble(&mut self, parts: usize) -> Option<Message<T>> {
        let read = self.taken.front().is_some_and(Taken::is_read);
        let parts = self.taken.drain(..parts).filter(|taken| !(read && taken.len() == 0));
        let mut parts = parts.map(Taken::rest);
        let first = parts.next()?;
        let rest = parts.collect();
        self.lent &= !self.taken.is_empty();
        Some(Message::new(first, rest, self.owner.shared.promise))
    }

    /// Makes a message the next one again.
    pub(super) fn put_back(&mut self, message: Message<T>) {
        let mut more = false;
        for part in message.into_parts().into_iter().rev() {
            self.taken.push_front(Taken { part, from: 0, more });
            more = true;
        }
        self.set_kept(true);
    }
}

impl Taken {
    /// Parts joined, of a message that goes on.
    pub(super) fn piece(bytes: &mut Vec<u8>) -> Self {
        let part = Part::Heap(std::mem::take(bytes).into_boxed_slice());
        Self { part, from: 0, more: true }
    }

    /// Stands for parts that `read` has consumed, as long as no other part of their message has come: the
    /// rest of a message is not a message of its own if it adds nothing.
    pub(super) fn read() -> Self {
        Self { part: Part::Heap(Box::default()), from: 0, more: true }
    }

    /// Parts that add nothing are not taken otherwise, unless they are the last.
    pub(super) fn is_read(&self) -> bool {
        self.more && self.len() == 0
    }

    /// Bytes not yet consumed.
    pub(super) fn len(&self) -> usize {
        self.part.len() - self.from
    }

    /// What is not yet consumed, as a part of its own.
    pub(super) fn rest(self) -> Part {
        if self.from == 0 {
            return self.part;
        }
        let mut rest = vec![0; self.len()];
        self.part.read(self.from, &mut rest);
        Part::Heap(rest.into_boxed_slice())
    }
}
