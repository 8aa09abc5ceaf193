//! Bytes that decide.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A string of bytes that is used up from its front. When it is used up, every answer is zero.
#[derive(Debug)]
pub struct Script {
    bytes: Box<[u8]>,
    used: AtomicUsize,
}

impl Script {
    /// A script of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), used: AtomicUsize::new(0) }
    }

    /// The next byte, if there is one.
    pub fn next(&self) -> Option<u8> {
        let used = self.used.fetch_add(1, Ordering::Relaxed);
        self.bytes.get(used).copied()
    }

    /// The next byte.
    pub fn byte(&self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// A number less than `limit`, from one byte or two.
    pub fn below(&self, limit: usize) -> usize {
        let number = match limit {
            0..=256 => usize::from(self.byte()),
            _ => usize::from(self.byte()) << 8 | usize::from(self.byte()),
        };
        number % limit.max(1)
    }

    /// True once in `times`, by one byte.
    pub fn one_in(&self, times: u8) -> bool {
        self.byte() % times == 0
    }

    /// Any number.
    pub fn word(&self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// True once nothing is left.
    pub fn is_over(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.bytes.len()
    }
}
