//! Heap buffers of large messages.
//!
//! A message that is copied out needs memory of its length. The allocator may get large blocks from the kernel and
//! give them back each time, and then every page costs a fault. So a few large buffers are kept when their messages
//! are dropped, for the next message of any session.
//!
//! ```text
//!   recv ── with_room(len) ──► Buffer ──► Message ── dropped ──► KEPT, at most BUFFERS and BYTES, else freed
//!                                                 └─ into_vec, into_bytes: the caller's
//! ```
//!
//! * B1. At most [`BUFFERS`] buffers of at most [`BYTES`] together are kept by the process.
//! * B2. Nothing waits: a thread that finds the list locked asks the allocator. So a fork at any moment leaves no
//!   child that hangs.

use std::ops::Deref;
use std::sync::Mutex;

/// Smaller buffers are the allocator's alone: it keeps them itself.
const LARGE: usize = 32 << 10;

const BUFFERS: usize = 8;
const BYTES: usize = 8 << 20;

static KEPT: Mutex<Kept> = Mutex::new(Kept { buffers: Vec::new(), bytes: 0 });

/// Kept buffers, the one that was used last at the end.
struct Kept {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Kept {
    /// The buffer used last that has room for `len` bytes, and not very much more.
    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let fits = |buffer: &Vec<u8>| buffer.capacity() >= len && buffer.capacity() / 4 <= len;
        let buffer = self.buffers.iter().rposition(fits)?;
        let buffer = self.buffers.remove(buffer);
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    /// Keeps a buffer; gives those that make way for it.
    fn keep(&mut self, buffer: Vec<u8>) -> Vec<Vec<u8>> {
        self.bytes += buffer.capacity();
        self.buffers.push(buffer);
        let (mut count, mut bytes) = (self.buffers.len(), self.bytes);
        let freed = self.buffers.iter().take_while(|buffer| {
            let excess = count > BUFFERS || bytes > BYTES;
            count -= 1;
            bytes -= buffer.capacity();
            excess
        });
        let freed = freed.count();
        let freed: Vec<_> = self.buffers.drain(..freed).collect();
        self.bytes -= freed.iter().map(Vec::capacity).sum::<usize>();
        freed
    }
}

/// Bytes on the heap, whose memory is kept for another message when they are dropped.
#[derive(Default)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    /// Bytes that `fill` appends to an empty vector with room for `len`.
    #[inline]
    pub(super) fn filled(len: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = with_room(len);
        fill(&mut bytes);
        Self(bytes)
    }

    #[inline]
    pub(super) fn into_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl From<Vec<u8>> for Buffer {
    #[inline]
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        if (LARGE..=BYTES).contains(&self.0.capacity()) {
            keep(std::mem::take(&mut self.0));
        }
    }
}

#[inline]
fn with_room(len: usize) -> Vec<u8> {
    let kept = if len >= LARGE { take(len) } else { None };
    kept.unwrap_or_else(|| Vec::with_capacity(len))
}

#[cold]
fn take(len: usize) -> Option<Vec<u8>> {
    KEPT.try_lock().ok()?.take(len)
}

#[cold]
fn keep(mut buffer: Vec<u8>) {
    buffer.clear();
    let freed = KEPT.try_lock().map(|mut kept| kept.keep(buffer));
    // The allocator works without the lock.
    drop(freed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        Kept { buffers: Vec::new(), bytes: 0 }
    }

    #[test]
    fn the_buffer_used_last_is_taken_first() {
        let mut kept = kept();
        let buffers = [LARGE, 2 * LARGE, LARGE].map(Vec::<u8>::with_capacity);
        let last = buffers[2].as_ptr();
        for buffer in buffers {
            assert!(kept.keep(buffer).is_empty());
        }
        let taken = kept.take(LARGE).unwrap();
        assert_eq!(taken.as_ptr(), last);
        assert_eq!(kept.take(LARGE + 1).unwrap().capacity(), 2 * LARGE);
        assert_eq!(kept.bytes, LARGE);
        assert!(kept.take(LARGE + 1).is_none(), "too small");
        assert!(kept.take(LARGE / 5).is_none(), "much too large");
    }

    #[test]
    fn few_buffers_are_kept() {
        let mut kept = kept();
        for _ in 0..BUFFERS {
            assert!(kept.keep(Vec::with_capacity(LARGE)).is_empty());
        }
        assert_eq!(kept.keep(Vec::with_capacity(LARGE)).len(), 1);
        let freed = kept.keep(Vec::with_capacity(BYTES));
        assert_eq!((freed.len(), kept.buffers.len(), kept.bytes), (BUFFERS, 1, BYTES));
    }
}
