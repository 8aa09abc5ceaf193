//! Records that were taken out of the inbox and are not yet a whole message.

use std::collections::VecDeque;

use crate::handle::buffers::Buffer;
use crate::handle::message::{Lent, Message};
use crate::session::Entry;

use super::RecvHalf;
use super::part::Part;

/// So many more parts than before are joined, those on the heap into pieces of at least that many bytes:
/// a part of a byte costs a hundred.
const PARTS: u32 = 1024;
const PIECE: usize = 64 << 10;

/// Room for so many parts is kept while there is none.
const KEPT: usize = 16;

/// A part of a message.
pub(super) struct Taken {
    pub(super) part: Part,
    /// Bytes of it that `read` has consumed.
    pub(super) from: usize,
    /// The message goes on in the next part.
    pub(super) more: bool,
}

/// The parts that were taken, oldest first. What they come to is known without a look at each: a peer may send a
/// message in very many.
#[derive(Default)]
pub(super) struct Parts {
    parts: VecDeque<Taken>,
    /// Bytes not yet consumed.
    bytes: usize,
    /// Parts that are the last of their message.
    last: u32,
    /// Parts when they were joined last.
    joined: u32,
    /// Empty messages before all parts, which a `read` that found no byte after them has left where they were.
    passed: usize,
}

impl Parts {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.passed == 0
    }

    /// Bytes not yet consumed.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a message is there to its end.
    pub(super) fn has_message(&self) -> bool {
        self.last > 0 || self.passed > 0
    }

    /// Whether there is a byte to read.
    pub(super) fn has_bytes(&self) -> bool {
        self.bytes > 0
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn push(&mut self, taken: Taken) {
        self.bytes += taken.len();
        self.last += u32::from(!taken.more);
        self.parts.push_back(taken);
        let count = self.parts.len() as u32;
        self.joined = self.joined.min(count);
        if count - self.joined >= PARTS {
            self.join();
        }
    }

    fn pop(&mut self) -> Option<Taken> {
        let taken = self.parts.pop_front()?;
        self.bytes -= taken.len();
        self.last -= u32::from(!taken.more);
        self.shrink();
        Some(taken)
    }

    /// A message in very many parts leaves no room behind.
    fn shrink(&mut self) {
        if self.parts.is_empty() && self.parts.capacity() > KEPT {
            self.parts = VecDeque::new();
        }
    }

    /// Takes one of the empty messages that come first.
    pub(super) fn pop_passed(&mut self) -> bool {
        let any = self.passed > 0;
        self.passed -= usize::from(any);
        any
    }

    /// Copies bytes out, of one part, and passes over what has none. A part that was consumed is given too.
    ///
    /// Empty messages are passed over for good only with a byte after them: a `read` that gives up has consumed
    /// nothing.
    pub(super) fn read(&mut self, out: &mut [u8]) -> (usize, Option<Taken>) {
        while let Some(first) = self.parts.front_mut() {
            let count = out.len().min(first.len());
            if count > 0 {
                first.part.read(first.from, &mut out[..count]);
                first.from += count;
                self.bytes -= count;
                self.passed = 0;
                let read = match first.len() {
                    0 if first.more => Some(std::mem::replace(first, Taken::read())),
                    0 => self.pop(),
                    _ => None,
                };
                return (count, read);
            }
            if first.is_read() {
                let Some(next) = self.parts.get(1) else { break };
                // What ends a message that was read is no message of its own.
                let ends = !next.more && next.len() == 0;
                self.pop();
                if ends {
                    self.pop();
                }
                continue;
            }
            self.pop();
            self.passed += 1;
        }
        (0, None)
    }

    /// The end of the stream was read: nothing is before it any more.
    pub(super) fn read_end(&mut self) {
        self.passed = 0;
    }

    /// Copies what lies in the peer's memory, which goes back.
    fn move_to_heap(&mut self) {
        self.parts.iter_mut().for_each(|taken| taken.part.move_to_heap());
    }

    /// Joins small parts of one message.
    #[cold]
    fn join(&mut self) {
        let mut piece = Vec::new();
        for taken in std::mem::take(&mut self.parts) {
            if taken.more && taken.len() < PIECE && matches!(taken.part, Part::Heap(_)) {
                let end = piece.len();
                piece.resize(end + taken.len(), 0);
                taken.part.read(taken.from, &mut piece[end..]);
                if piece.len() >= PIECE {
                    self.parts.push_back(Taken::piece(&mut piece));
                }
                continue;
            }
            if !piece.is_empty() {
                self.parts.push_back(Taken::piece(&mut piece));
            }
            self.parts.push_back(taken);
        }
        if !piece.is_empty() {
            self.parts.push_back(Taken::piece(&mut piece));
        }
        self.joined = self.parts.len() as u32;
    }

    /// Nothing comes any more: what is there of a message is all of it. False if nothing is.
    pub(super) fn end(&mut self) -> bool {
        if self.parts.front().is_some_and(Taken::is_read) {
            self.pop();
        }
        let Some(last) = self.parts.back_mut() else { return false };
        self.last += u32::from(last.more);
        last.more = false;
        true
    }

    /// Drops what ends a message that `read` has consumed and adds nothing to it: no message of its own.
    pub(super) fn skip_read(&mut self) {
        while self.parts.front().is_some_and(Taken::is_read) {
            let Some(next) = self.parts.get(1) else { return };
            let ends = !next.more && next.len() == 0;
            self.pop();
            if ends {
                self.pop();
            }
        }
    }

    /// The length of the first message, which is there to its end.
    pub(super) fn message_len(&self) -> usize {
        if self.passed > 0 {
            return 0;
        }
        let mut len = 0;
        for taken in &self.parts {
            len += taken.len();
            if !taken.more {
                break;
            }
        }
        len
    }

    /// Takes the first message, if it is one part in the peer's memory, of which nothing was consumed.
    fn pop_lent(&mut self) -> Option<Lent> {
        let first = self.parts.front()?;
        let is_whole = self.passed == 0 && first.from == 0 && !first.more;
        if !is_whole || matches!(first.part, Part::Heap(_)) {
            return None;
        }
        match self.pop()?.part {
            Part::Lent(lent) => Some(lent),
            Part::Heap(_) => None,
        }
    }

    /// Gives the parts of the first message, which is there to its end, to `each`.
    fn pop_message(&mut self, mut each: impl FnMut(Taken)) {
        if self.pop_passed() {
            return;
        }
        while let Some(taken) = self.pop() {
            let more = taken.more;
            each(taken);
            if !more {
                return;
            }
        }
    }
}

impl RecvHalf {
    pub(super) fn take(&mut self, entry: Entry) {
        let more = entry.more;
        if more && entry.payload.len() == 0 {
            // Adds nothing to its message.
            return;
        }
        let part = self.part(entry);
        self.lent |= matches!(part, Part::Lent(_));
        self.taken.push(Taken { part, from: 0, more });
    }

    /// Moves the parts to the heap and hands their memory back, if the peer has asked for memory since it was
    /// last asked here: the rest of their message may be what it needs the memory for.
    pub(super) fn heed_plea(&mut self) {
        let pleas = self.owner.shared.pleas() as u32;
        if !self.lent || pleas == self.pleas {
            return;
        }
        self.pleas = pleas;
        self.lent = false;
        self.taken.move_to_heap();
    }

    /// Makes a message of the first one of the parts, which is there to its end.
    pub(super) fn assemble(&mut self) -> Message {
        let promise = self.owner.shared.promise;
        let in_place = promise.and_then(|promise| Some((self.taken.pop_lent()?, promise)));
        if let Some((lent, promise)) = in_place {
            return Message::in_place(lent, promise);
        }
        let len = self.taken.message_len();
        let bytes = Buffer::filled(len, |out| {
            self.taken.pop_message(|taken| taken.append_to(out));
        });
        self.lent &= !self.taken.is_empty();
        Message::copied(bytes)
    }

    /// Copies the first message of the parts, which is there to its end, to `out`, which has its length.
    pub(super) fn assemble_into(&mut self, out: &mut [u8]) {
        let mut rest = out;
        self.taken.pop_message(|taken| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(taken.len());
            taken.part.read(taken.from, now);
            rest = later;
        });
        self.lent &= !self.taken.is_empty();
    }
}

impl Taken {
    /// Parts joined, of a message that goes on.
    fn piece(bytes: &mut Vec<u8>) -> Self {
        let part = Part::Heap(std::mem::take(bytes).into_boxed_slice());
        Self { part, from: 0, more: true }
    }

    /// Stands for parts that `read` has consumed, as long as no other part of their message has come: the
    /// rest of a message is not a message of its own if it adds nothing.
    fn read() -> Self {
        Self { part: Part::Heap(Box::default()), from: 0, more: true }
    }

    /// Parts that add nothing are not taken otherwise, unless they are the last.
    fn is_read(&self) -> bool {
        self.more && self.len() == 0
    }

    /// Bytes not yet consumed.
    fn len(&self) -> usize {
        self.part.len() - self.from
    }

    /// Copies what is not yet consumed behind what `out` holds.
    fn append_to(&self, out: &mut Vec<u8>) {
        if self.from == 0 {
            return self.part.append_to(out);
        }
        let end = out.len();
        out.resize(end + self.len(), 0);
        self.part.read(self.from, &mut out[end..]);
    }
}
