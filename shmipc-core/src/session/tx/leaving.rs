//! Going away, as far as the sending half is concerned (`notify::leaving`).

use std::task::Waker;

use crate::mem::{Memory, MemoryMut};

use crate::session::{Effects, add_waker};

use super::{Direction, Tx};

impl<O: MemoryMut + Clone, P: Memory + Clone> Tx<O, P> {
    /// Whether a stream was opened since this was asked last: then the peer's going-away word is to be
    /// looked at, after the fence that follows the publication (G1).
    #[inline]
    pub(crate) fn take_opened(&mut self) -> bool {
        std::mem::take(&mut self.opened)
    }

    /// A stream begins with the record of `size` bytes that was put last.
    #[inline]
    pub(super) fn begin(&mut self, key: usize, size: u64) {
        let first = self.writer.written() - size;
        self.stream(key).first = first;
        self.opened = true;
    }

    /// Our tail.
    pub(crate) fn published(&self) -> u64 {
        self.writer.published()
    }

    /// Where the first record of a stream lies; beyond everything if there is none yet.
    pub(crate) fn first(&self, key: usize) -> u64 {
        self.streams[key].as_ref().map_or(u64::MAX, |stream| stream.first)
    }

    /// The peer will never see this stream (G5): nothing is sent on it any more, and nothing is owed.
    pub(crate) fn refuse(&mut self, key: usize) {
        let stream = self.stream(key);
        stream.direction = Direction::Unseen;
        let serial = stream.serial;
        self.unpark(key, serial);
    }

    // --- when we leave -------------------------------------------------------------------------

    /// The peer ended its direction of a stream.
    pub(crate) fn peer_ended(&mut self, key: usize, effects: &mut Effects) {
        if self.streams[key].as_ref().is_some_and(|stream| stream.theirs) {
            self.serving -= 1;
            self.wake_if_served(effects);
        }
    }

    /// Ends our direction of a stream.
    pub(super) fn end_direction(&mut self, key: usize, effects: &mut Effects) {
        let stream = self.stream(key);
        stream.direction = Direction::Ended;
        let (theirs, serial) = (stream.theirs, stream.serial);
        if theirs {
            self.serving -= 1;
            self.wake_if_served(effects);
        }
        self.unpark(key, serial);
    }

    fn wake_if_served(&mut self, effects: &mut Effects) {
        if self.serving == 0 {
            self.forget_served(effects);
        }
    }

    /// Whether every stream that the peer opened is over in both directions; if not, whom to wake then.
    pub(crate) fn poll_served(&mut self, waker: &mut Option<Waker>) -> bool {
        if self.serving == 0 {
            return true;
        }
        self.wait_served(waker);
        false
    }

    /// Whom to wake when what [`poll_served`](Self::poll_served) is about may have changed.
    pub(crate) fn wait_served(&mut self, waker: &mut Option<Waker>) {
        add_waker(&mut self.served_wakers, waker);
    }

    /// Wakes all who wait in [`poll_served`](Self::poll_served): who still waits comes back.
    pub(crate) fn forget_served(&mut self, effects: &mut Effects) {
        effects.wakers.append(&mut self.served_wakers);
    }
}
