//! What a stream has for its reader and no call has taken yet.
//!
//! The memory of an inbox follows its contents, up and down. All inboxes of a session together take no more than
//! what their entries are charged (C1) and [`KEPT`] bytes beside: a peer that has sent much once leaves no more
//! behind than that.

#![deny(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;

use crate::mem::LentBytes;

use super::{Entry, Payload};

/// Bytes that empty places in the inboxes of a session may take, so that traffic in bursts allocates nothing.
const KEPT: usize = 64 << 10;

/// What an entry takes.
const SIZE: usize = size_of::<Entry>();

/// An inbox grows by a quarter at most; even so an entry must not take more than the 64 bytes that C1 charges it.
const _: () = assert!(SIZE * 5 <= 64 * 4);

/// What the inboxes of a session take together.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Places, with an entry or without.
    places: usize,
    entries: usize,
}

impl Room {
    fn has_too_much(&self) -> bool {
        (self.places - self.entries) * SIZE > KEPT
    }
}

/// The inbox of one stream.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    entries: VecDeque<Entry>,
    /// No extent lies before this index.
    lent_from: usize,
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn push(&mut self, entry: Entry, room: &mut Room) {
        let len = self.entries.len();
        if len == self.entries.capacity() {
            self.resize(room, |entries| entries.reserve_exact(len / 4 + 1));
        }
        self.entries.push_back(entry);
        room.entries += 1;
    }

    pub(super) fn pop(&mut self, room: &mut Room) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.lent_from = self.lent_from.saturating_sub(1);
        room.entries -= 1;
        let len = self.entries.len();
        // A quarter at a time, so that an entry is seldom moved.
        if room.has_too_much() && self.entries.capacity() - len > len / 4 {
            self.resize(room, |entries| entries.shrink_to(len + len / 8));
        }
        Some(entry)
    }

    /// Takes everything.
    pub(super) fn take(&mut self, room: &mut Room) -> VecDeque<Entry> {
        let Self { entries, .. } = std::mem::take(self);
        room.places -= entries.capacity();
        room.entries -= entries.len();
        entries
    }

    /// The first extent: its index, its number, its bytes.
    pub(super) fn first_lent(&mut self) -> Option<(usize, u64, LentBytes)> {
        let mut rest = self.entries.iter().enumerate().skip(self.lent_from);
        let found = rest.find_map(|(index, entry)| match &entry.payload {
            Payload::Lent { number, bytes, .. } => Some((index, *number, bytes.clone())),
            Payload::Heap(_) => None,
        });
        self.lent_from = found.as_ref().map_or(self.entries.len(), |(index, ..)| *index);
        found
    }

    /// Puts a copy in the place of the extent at `index`, the first one; gives that.
    pub(super) fn replace(&mut self, index: usize, copy: Box<[u8]>) -> Option<Payload> {
        let entry = self.entries.get_mut(index)?;
        self.lent_from = index + 1;
        Some(std::mem::replace(&mut entry.payload, Payload::Heap(copy)))
    }

    #[cold]
    fn resize(&mut self, room: &mut Room, resize: impl FnOnce(&mut VecDeque<Entry>)) {
        room.places -= self.entries.capacity();
        resize(&mut self.entries);
        room.places += self.entries.capacity();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry { payload: Payload::Heap(Box::default()), more: false }
    }

    /// Whatever is put in and taken out of many of them, all together take what is charged and no more than
    /// that beside.
    #[test]
    fn room_follows_what_is_unread() {
        let mut inboxes: Vec<Inbox> = (0..64).map(|_| Inbox::default()).collect();
        let mut room = Room::default();
        let mut step = 1_u32;
        for round in 0..400 {
            for inbox in &mut inboxes {
                step = step.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let count = step >> 22;
                match round % 4 {
                    0 | 1 => (0..count).for_each(|_| inbox.push(entry(), &mut room)),
                    _ => (0..count).for_each(|_| _ = inbox.pop(&mut room)),
                }
                if step.is_multiple_of(97) {
                    inbox.take(&mut room);
                }
            }
            let places: usize = inboxes.iter().map(|inbox| inbox.entries.capacity()).sum();
            let entries: usize = inboxes.iter().map(Inbox::len).sum();
            assert_eq!((room.places, room.entries), (places, entries));
            let (took, charged) = (places * SIZE, entries * 64);
            assert!(took <= charged + KEPT, "{took} bytes for {charged} that are charged");
        }
        inboxes.iter_mut().for_each(|inbox| while inbox.pop(&mut room).is_some() {});
        assert!(room.places * SIZE <= KEPT, "{} places are left", room.places);
    }
}
