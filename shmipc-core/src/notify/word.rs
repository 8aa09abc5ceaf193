//! Words that the threads of one process share, for looks without a lock.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

/// A word of this process; in models one that sees every order.
pub trait Word: Debug + Default {
    /// Its value.
    fn load(&self, order: Ordering) -> u64;
    /// Replaces it.
    fn store(&self, value: u64, order: Ordering);
    /// Adds to it, wrapping around.
    fn add(&self, value: u64, order: Ordering);
    /// Makes it no less than `value`.
    fn raise(&self, value: u64, order: Ordering);
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }
    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }
    #[inline]
    fn add(&self, value: u64, order: Ordering) {
        self.fetch_add(value, order);
    }
    #[inline]
    fn raise(&self, value: u64, order: Ordering) {
        self.fetch_max(value, order);
    }
}
