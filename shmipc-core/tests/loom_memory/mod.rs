//! Memory whose every access is seen by loom.
//!
//! ```text
//! outbox:  the words of the header   atomic: races are allowed, all orders are tried
//!          ring, returns             atomic and tracked: a race is an error
//! arena:   bytes                     the same
//! ```
//!
//! What is tracked may be touched by two threads only if their accesses are ordered by something
//! else. So a writer that reuses bytes of the ring, an entry of the return queue or an extent while
//! the reader may still look at it fails the model, even if no wrong value was read.
//!
//! Only the words of the header make loom try other threads and other values. What is tracked has the
//! value that was written last, in whatever order the threads run, or the model has failed: so its
//! bytes are plain, and a model may move many of them.
//!
//! To be made inside of `loom::model`.
#![allow(dead_code, unreachable_pub)]

pub mod latch;
pub mod words;

use std::sync::atomic as plain;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use shmipc_core::layout::{
    CPU_AT, EVENT_HEAD_AT, EVENT_RETURNED_AT, EVENT_TAIL_AT, FINAL_AT, HEAD_AT, LEAVING_AT,
    RETURNED_AT, RING_AT, TAIL_AT, returns_at,
};
use shmipc_core::mem::{Memory, MemoryMut};

/// The words of a header that change while a session runs.
const HEADER: [usize; 9] = [
    TAIL_AT,
    HEAD_AT,
    RETURNED_AT,
    EVENT_TAIL_AT,
    EVENT_HEAD_AT,
    EVENT_RETURNED_AT,
    CPU_AT,
    LEAVING_AT,
    FINAL_AT,
];

/// Tells loom who touches something, and holds nothing.
#[derive(Debug)]
struct Track(UnsafeCell<()>);

// SAFETY: there is nothing in the cell that could be raced for; loom keeps its records under a lock.
#[allow(unsafe_code)]
unsafe impl Sync for Track {}

impl Track {
    fn new() -> Self {
        Self(UnsafeCell::new(()))
    }
    fn read(&self) {
        self.0.with(|_| ());
    }
    fn write(&self) {
        self.0.with_mut(|_| ());
    }
}

/// Zeroed memory for models: an outbox, or an arena.
#[derive(Debug)]
pub struct LoomMemory {
    header: Vec<AtomicU64>,
    words_at: usize,
    words: Vec<(plain::AtomicU64, Track)>,
    halves_at: usize,
    halves: Vec<(plain::AtomicU32, Track)>,
}

impl LoomMemory {
    /// An outbox whose record ring has `ring_bytes` and whose return queue `returns` entries, at
    /// their offsets of [`shmipc_core::layout`]. Zero is fine for what a model does not use.
    pub fn outbox(ring_bytes: u32, returns: usize) -> Self {
        let header = HEADER.iter().map(|_| AtomicU64::new(0)).collect();
        Self::new(header, RING_AT, ring_bytes as usize, returns_at(ring_bytes), returns)
    }

    /// An arena segment of `size` bytes.
    pub fn arena(size: usize) -> Self {
        Self::new(Vec::new(), 0, size, size, 0)
    }

    fn new(
        header: Vec<AtomicU64>,
        words_at: usize,
        bytes: usize,
        halves_at: usize,
        halves: usize,
    ) -> Self {
        let words = (0..bytes / 8).map(|_| (plain::AtomicU64::new(0), Track::new())).collect();
        let halves = (0..halves).map(|_| (plain::AtomicU32::new(0), Track::new())).collect();
        Self { header, words_at, words, halves_at, halves }
    }

    /// The word of the header at `at`, if it is one.
    fn header(&self, at: usize) -> Option<&AtomicU64> {
        let index = HEADER.iter().position(|word| *word == at)?;
        self.header.get(index)
    }

    fn word(&self, at: usize) -> &(plain::AtomicU64, Track) {
        &self.words[at.checked_sub(self.words_at).expect("no such word") / 8]
    }

    fn half(&self, at: usize) -> &(plain::AtomicU32, Track) {
        &self.halves[at.checked_sub(self.halves_at).expect("no such word") / 4]
    }

    fn store(&self, at: usize, value: u64, order: Ordering) {
        assert_eq!(at % 8, 0);
        if let Some(word) = self.header(at) {
            return word.store(value, order);
        }
        let (word, track) = self.word(at);
        track.write();
        word.store(value, plain::Ordering::Relaxed);
    }
}

impl Memory for LoomMemory {
    fn size(&self) -> usize {
        self.halves_at + 4 * self.halves.len()
    }
    fn load32(&self, at: usize) -> u32 {
        let (word, track) = self.half(at);
        track.read();
        word.load(plain::Ordering::Relaxed)
    }
    fn load64(&self, at: usize) -> u64 {
        assert_eq!(at % 8, 0);
        if let Some(word) = self.header(at) {
            return word.load(Ordering::Relaxed);
        }
        let (word, track) = self.word(at);
        track.read();
        word.load(plain::Ordering::Relaxed)
    }
    fn read(&self, at: usize, out: &mut [u8]) {
        for (i, byte) in out.iter_mut().enumerate() {
            let (word, track) = self.word(at + i);
            track.read();
            *byte = word.load(plain::Ordering::Relaxed).to_le_bytes()[(at + i) % 8];
        }
    }
    fn fence_acquire(&self) {
        fence(Ordering::Acquire);
    }
    fn fence_seq_cst(&self) {
        fence(Ordering::SeqCst);
    }
}

impl MemoryMut for LoomMemory {
    fn store32(&self, at: usize, value: u32) {
        let (word, track) = self.half(at);
        track.write();
        word.store(value, plain::Ordering::Relaxed);
    }
    fn store64(&self, at: usize, value: u64) {
        self.store(at, value, Ordering::Relaxed);
    }
    fn publish64(&self, at: usize, value: u64) {
        self.store(at, value, Ordering::Release);
    }
    fn write(&self, at: usize, data: &[u8]) {
        for (i, byte) in data.iter().enumerate() {
            let (word, track) = self.word(at + i);
            track.write();
            let mut bytes = word.load(plain::Ordering::Relaxed).to_le_bytes();
            bytes[(at + i) % 8] = *byte;
            word.store(u64::from_le_bytes(bytes), plain::Ordering::Relaxed);
        }
    }
}

/// An ordering left out, so that a model can show that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Nothing is left out.
    Nothing,
    /// SeqCst fences do nothing.
    SeqCstFence,
    /// Acquire fences do nothing.
    AcquireFence,
    /// Publications are relaxed.
    Release,
}

/// The same memory, as seen by code that leaves an ordering out.
#[derive(Clone, Debug)]
pub struct Weakened<M>(pub M, pub Without);

impl<M: Memory> Memory for Weakened<M> {
    fn size(&self) -> usize {
        self.0.size()
    }
    fn load32(&self, at: usize) -> u32 {
        self.0.load32(at)
    }
    fn load64(&self, at: usize) -> u64 {
        self.0.load64(at)
    }
    fn read(&self, at: usize, out: &mut [u8]) {
        self.0.read(at, out);
    }
    fn fence_acquire(&self) {
        if self.1 != Without::AcquireFence {
            self.0.fence_acquire();
        }
    }
    fn fence_seq_cst(&self) {
        if self.1 != Without::SeqCstFence {
            self.0.fence_seq_cst();
        }
    }
}

impl<M: MemoryMut> MemoryMut for Weakened<M> {
    fn store32(&self, at: usize, value: u32) {
        self.0.store32(at, value);
    }
    fn store64(&self, at: usize, value: u64) {
        self.0.store64(at, value);
    }
    fn publish64(&self, at: usize, value: u64) {
        if self.1 == Without::Release {
            self.0.store64(at, value);
        } else {
            self.0.publish64(at, value);
        }
    }
    fn write(&self, at: usize, data: &[u8]) {
        self.0.write(at, data);
    }
}
