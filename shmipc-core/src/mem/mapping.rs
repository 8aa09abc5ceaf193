//! Mapped segments, and atomic words in them.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use std::mem::ManuallyDrop;

use memmap2::MmapRaw;

use super::own_files::OwnFile;
use super::{Home, Memory, MemoryMut, Unpublished, copy, prefetch};
use crate::steps;

/// A segment of our outbox: only this process writes it (M2).
pub struct OwnMapping {
    map: Mapped,
    /// One writer of records has taken the right to write without atomic stores.
    claimed: AtomicBool,
    _file: OwnFile,
}

/// A segment of the peer's outbox: read-only here, written by the peer at any time (M3).
pub struct PeerMapping {
    map: Mapped,
}

/// A mapping that is left alone in a forked child: there it does not exist (`MADV_DONTFORK`), and its
/// addresses may be those of something else.
struct Mapped {
    map: ManuallyDrop<MmapRaw>,
    home: Home,
}

impl Mapped {
    fn new(map: MmapRaw) -> Self {
        Self { map: ManuallyDrop::new(map), home: Home::here() }
    }

    #[inline]
    fn assert_here(&self) {
        assert!(!self.home.is_foreign(), "shared memory of the process this one was forked from");
    }
}

impl std::ops::Deref for Mapped {
    type Target = MmapRaw;

    #[inline]
    fn deref(&self) -> &MmapRaw {
        &self.map
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if !self.home.is_foreign() {
            // SAFETY: M1: the value goes, and nobody uses it after.
            unsafe { ManuallyDrop::drop(&mut self.map) }
        }
    }
}

impl OwnMapping {
    /// Takes a writable mapping over.
    pub(super) fn new(map: MmapRaw, file: OwnFile) -> Self {
        Self { map: Mapped::new(map), claimed: AtomicBool::new(false), _file: file }
    }

    /// Fails the calling thread if this process is a fork that does not have the mapping.
    pub(super) fn assert_here(&self) {
        self.map.assert_here();
    }

    /// Pointer to `len` bytes at `at`, after M4's check.
    pub(super) fn range_ptr(&self, at: usize, len: usize) -> *mut u8 {
        range(self.map.as_mut_ptr(), self.map.len(), at, len)
    }
}

impl PeerMapping {
    /// Takes a read-only mapping over.
    pub(super) fn new(map: MmapRaw) -> Self {
        Self { map: Mapped::new(map) }
    }

    /// Fails the calling thread if this process is a fork that does not have the mapping.
    pub(super) fn assert_here(&self) {
        self.map.assert_here();
    }

    /// Pointer to `len` bytes at `at`, after M4's check.
    pub(super) fn range_ptr(&self, at: usize, len: usize) -> *const u8 {
        range(self.map.as_mut_ptr(), self.map.len(), at, len)
    }
}

/// M4: `at..at + len` lies inside of `size`.
#[inline]
fn range(base: *mut u8, size: usize, at: usize, len: usize) -> *mut u8 {
    assert!(at <= size && len <= size - at, "access outside of the mapping");
    base.wrapping_add(at)
}

/// The 4-byte word at `at`.
#[inline]
fn word32(map: &MmapRaw, at: usize) -> &AtomicU32 {
    assert!(at % 4 == 0, "misaligned word");
    let pointer = range(map.as_mut_ptr(), map.len(), at, 4);
    // SAFETY: M1 and M4: mapped for as long as `map` is borrowed, in bounds; mappings start at a page,
    // so the word is aligned. M3: words are only ever accessed atomically. `from_ptr` would ask for memory
    // that can be written; of a read-only mapping, `PeerMapping` below makes relaxed loads of at most 8
    // bytes only, which the documentation of `std::sync::atomic` allows on read-only memory.
    unsafe { &*pointer.cast::<AtomicU32>() }
}

/// The 8-byte word at `at`.
#[inline]
fn word64(map: &MmapRaw, at: usize) -> &AtomicU64 {
    assert!(at % 8 == 0, "misaligned word");
    let pointer = range(map.as_mut_ptr(), map.len(), at, 8);
    // SAFETY: as for `word32`.
    unsafe { &*pointer.cast::<AtomicU64>() }
}

macro_rules! memory {
    ($mapping:ty) => {
        impl Memory for $mapping {
            #[inline]
            fn size(&self) -> usize {
                self.map.len()
            }
            #[inline]
            fn load32(&self, at: usize) -> u32 {
                word32(&self.map, at).load(Ordering::Relaxed)
            }
            #[inline]
            fn load64(&self, at: usize) -> u64 {
                word64(&self.map, at).load(Ordering::Relaxed)
            }
            #[inline]
            fn read(&self, at: usize, out: &mut [u8]) {
                let from = self.range_ptr(at, out.len());
                // SAFETY: M1 and M4: `from` is readable for `out.len()` bytes; `out` is ours alone.
                unsafe { copy::out(from, out.as_mut_ptr(), out.len()) }
            }
            #[inline]
            fn append_to(&self, at: usize, len: usize, out: &mut Vec<u8>) {
                let from = self.range_ptr(at, len);
                out.reserve(len);
                let end = out.len();
                // SAFETY: M1 and M4: `from` is readable for `len` bytes; the vector has room for them.
                unsafe { copy::out(from, out.as_mut_ptr().wrapping_add(end), len) };
                // SAFETY: all bytes behind the first `end` were just written.
                unsafe { out.set_len(end + len) };
            }
            #[inline]
            fn will_read(&self, at: usize) {
                prefetch::for_reading(self.map.as_ptr().wrapping_add(at));
            }
            #[inline]
            fn fence_acquire(&self) {
                fence(Ordering::Acquire);
            }
            #[inline]
            fn fence_seq_cst(&self) {
                fence(Ordering::SeqCst);
            }
        }

        impl std::fmt::Debug for $mapping {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($mapping)).field("bytes", &self.map.len()).finish()
            }
        }
    };
}

memory!(OwnMapping);
memory!(PeerMapping);

impl MemoryMut for OwnMapping {
    #[inline]
    fn store32(&self, at: usize, value: u32) {
        word32(&self.map, at).store(value, Ordering::Relaxed);
    }
    #[inline]
    fn store64(&self, at: usize, value: u64) {
        word64(&self.map, at).store(value, Ordering::Relaxed);
    }
    #[inline]
    fn publish64(&self, at: usize, value: u64) {
        steps::unpublished(at);
        word64(&self.map, at).store(value, Ordering::Release);
        steps::published(at);
    }
    #[inline]
    fn will_write(&self, at: usize) {
        prefetch::for_writing(self.map.as_mut_ptr().wrapping_add(at));
    }
    fn write(&self, at: usize, data: &[u8]) {
        for (at, bytes) in (at..).step_by(8).zip(data.chunks(8)) {
            let mut word = self.load64(at).to_ne_bytes();
            word[..bytes.len()].copy_from_slice(bytes);
            self.store64(at, u64::from_ne_bytes(word));
        }
    }
    #[inline]
    fn write_unpublished(&self, at: usize, data: &[u8], _: Unpublished) {
        assert!(at % 8 == 0, "payload starts at a word");
        let to = self.range_ptr(at, data.len());
        // SAFETY: M1 and M4: `to` is writable for `data.len()` bytes. M2: no other process writes
        // them. M10: the token shows that they are of the part of the ring that its only writer has
        // not published. `data` cannot overlap: no `&[u8]` is ever made into the words of segment 0.
        unsafe { copy::into(data.as_ptr(), to, data.len()) }
    }
    fn claim(&self) {
        assert!(!self.claimed.swap(true, Ordering::Relaxed), "a second writer of an outbox");
    }
}

#[cfg(test)]
mod tests {
    use crate::mem::{Memory, MemoryMut, create};

    #[test]
    fn outbox_has_one_writer() {
        let (own, _) = create(c"shmipc-test", 4096).unwrap();
        own.claim();
        let other = std::sync::Arc::clone(&own);
        assert!(std::panic::catch_unwind(move || other.claim()).is_err());
    }

    #[test]
    fn bytes_that_are_written_end_where_they_should() {
        let (own, _) = create(c"shmipc-test", 4096).unwrap();
        own.store64(8, u64::MAX);
        own.write(0, &[1; 11]);
        assert_eq!(own.read_to_vec(0, 16), [[1; 11].as_slice(), &[255; 5]].concat());
    }
}
