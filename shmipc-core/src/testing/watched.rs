//! An outbox that checks what its owner writes.

use crate::layout::{FINAL_AT, HEAD_AT, RETURNED_AT, TAIL_AT};
use crate::mem::{HeapMemory, Memory, MemoryMut};

/// Heap memory that panics if a cursor runs backwards, or stands at a place where none can be.
///
/// Writes that would be outside of a mapping panic as well.
#[derive(Debug)]
pub struct WatchedMemory(HeapMemory);

impl WatchedMemory {
    /// Watches what is written to `memory`.
    pub fn new(memory: HeapMemory) -> Self {
        Self(memory)
    }
}

impl Memory for WatchedMemory {
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
        self.0.fence_acquire();
    }
    fn fence_seq_cst(&self) {
        self.0.fence_seq_cst();
    }
}

impl MemoryMut for WatchedMemory {
    fn store32(&self, at: usize, value: u32) {
        self.0.store32(at, value);
    }
    fn store64(&self, at: usize, value: u64) {
        assert!(![TAIL_AT, HEAD_AT, RETURNED_AT, FINAL_AT].contains(&at), "to be published");
        self.0.store64(at, value);
    }
    fn publish64(&self, at: usize, value: u64) {
        let before = self.0.load64(at);
        assert!(value > before, "a cursor at {at} went from {before} to {value}");
        assert!(at != FINAL_AT || before == 0, "the final position is published once");
        let position = if at == FINAL_AT { value - 1 } else { value };
        assert!(at == RETURNED_AT || position % 16 == 0, "a cursor inside of a record");
        self.0.publish64(at, value);
    }
    fn write(&self, at: usize, data: &[u8]) {
        assert!(data.len() <= self.size().saturating_sub(at), "written outside of the memory");
        self.0.write(at, data);
    }
}
