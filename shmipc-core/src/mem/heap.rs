//! The same memory on the heap, for tests of what runs above it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::{Memory, MemoryMut};

/// Zeroed words on the heap that several threads may share. Entirely safe code, hence slow.
#[derive(Debug)]
pub struct HeapMemory {
    words: Box<[AtomicU64]>,
    /// The range of 4-byte words, in bytes; the same offsets of `words` are unused.
    halves_at: usize,
    halves: Box<[AtomicU32]>,
}

impl HeapMemory {
    /// `size` bytes, of which those from `halves_at` on are used as words of 4 bytes.
    pub fn new(size: usize, halves_at: usize) -> Self {
        assert!(size % 8 == 0 && halves_at % 8 == 0 && halves_at <= size);
        Self {
            words: (0..halves_at / 8).map(|_| AtomicU64::new(0)).collect(),
            halves_at,
            halves: (0..(size - halves_at) / 4).map(|_| AtomicU32::new(0)).collect(),
        }
    }
}

impl Memory for HeapMemory {
    fn size(&self) -> usize {
        self.halves_at + self.halves.len() * 4
    }
    fn load32(&self, at: usize) -> u32 {
        self.halves[(at - self.halves_at) / 4].load(Ordering::Relaxed)
    }
    fn load64(&self, at: usize) -> u64 {
        assert!(at % 8 == 0);
        self.words[at / 8].load(Ordering::Relaxed)
    }
    fn read(&self, at: usize, out: &mut [u8]) {
        assert!(at + out.len() <= self.halves_at, "read outside of the memory");
        if at % 8 == 0 {
            for (word, bytes) in self.words[at / 8..].iter().zip(out.chunks_mut(8)) {
                bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes()[..bytes.len()]);
            }
            return;
        }
        for (i, byte) in out.iter_mut().enumerate() {
            let word = self.words[(at + i) / 8].load(Ordering::Relaxed);
            *byte = word.to_le_bytes()[(at + i) % 8];
        }
    }
    fn fence_acquire(&self) {
        fence(Ordering::Acquire);
    }
    fn fence_seq_cst(&self) {
        fence(Ordering::SeqCst);
    }
}

impl MemoryMut for HeapMemory {
    fn store32(&self, at: usize, value: u32) {
        self.halves[(at - self.halves_at) / 4].store(value, Ordering::Relaxed);
    }
    fn store64(&self, at: usize, value: u64) {
        assert!(at % 8 == 0);
        self.words[at / 8].store(value, Ordering::Relaxed);
    }
    fn publish64(&self, at: usize, value: u64) {
        assert!(at % 8 == 0);
        self.words[at / 8].store(value, Ordering::Release);
    }
    fn write(&self, at: usize, data: &[u8]) {
        let whole = if at % 8 == 0 { data.len() / 8 * 8 } else { 0 };
        let (words, rest) = data.split_at(whole);
        for (i, bytes) in words.chunks_exact(8).enumerate() {
            let bytes = std::array::from_fn(|byte| bytes[byte]);
            self.words[at / 8 + i].store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        for (i, byte) in (whole..).zip(rest) {
            let word = &self.words[(at + i) / 8];
            let mut bytes = word.load(Ordering::Relaxed).to_le_bytes();
            bytes[(at + i) % 8] = *byte;
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
    }
}
