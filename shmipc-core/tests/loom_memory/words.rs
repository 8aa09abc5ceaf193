//! Words of one process whose every access is seen by loom.
#![allow(dead_code, unreachable_pub)]

use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::{self, Relaxed};
use shmipc_core::notify::word::Word;

/// To be made inside of `loom::model`.
#[derive(Debug, Default)]
pub struct LoomWord(AtomicU64);

impl Word for LoomWord {
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }
    fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }
    fn add(&self, value: u64, order: Ordering) {
        self.0.fetch_add(value, order);
    }
    fn raise(&self, value: u64, order: Ordering) {
        self.0.fetch_max(value, order);
    }
}

/// What a word may leave out: the order of its loads, or of its stores, or of [`Word::raise`].
pub const LOADS: u8 = 1;
pub const STORES: u8 = 2;
pub const RAISES: u8 = 4;

/// The same word, as used by code that has some of its operations relaxed.
#[derive(Debug, Default)]
pub struct RelaxedWord<const WHAT: u8>(LoomWord);

impl<const WHAT: u8> Word for RelaxedWord<WHAT> {
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(if WHAT & LOADS > 0 { Relaxed } else { order })
    }
    fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, if WHAT & STORES > 0 { Relaxed } else { order });
    }
    fn add(&self, value: u64, order: Ordering) {
        self.0.add(value, order);
    }
    fn raise(&self, value: u64, order: Ordering) {
        self.0.raise(value, if WHAT & RAISES > 0 { Relaxed } else { order });
    }
}
