//! What a thread blocks on, for loom to see who waits for ever.
#![allow(dead_code, unreachable_pub)]

use loom::sync::{Condvar, Mutex};

/// An event that stays until it is taken.
#[derive(Debug, Default)]
pub struct Latch {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    /// Sets it.
    pub fn set(&self) {
        *self.set.lock().unwrap() = true;
        self.changed.notify_one();
    }

    /// Waits until it is set, and takes it.
    pub fn take(&self) {
        let mut set = self.set.lock().unwrap();
        while !std::mem::take(&mut *set) {
            set = self.changed.wait(set).unwrap();
        }
    }
}
