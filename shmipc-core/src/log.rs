//! Lines for the log. A subscriber of `tracing` is foreign code: it may use the session that it is told about, and
//! it may panic.
//!
//! So nothing is told while a lock is held or while anything is half done: what happens under a lock is noted in a
//! [`Log`], and told after the lock. A subscriber that panics is reported by the panic hook, and keeps nothing from
//! going on.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Tells one line. The caller holds no lock.
pub(crate) fn tell(line: impl FnOnce()) {
    // The panic hook has reported it; the line cannot be told twice.
    let _ = catch_unwind(AssertUnwindSafe(line));
}

/// Lines to be told after the locks.
#[derive(Default)]
pub(crate) struct Log(Vec<Box<dyn FnOnce() + Send>>);

impl Log {
    /// Notes a line.
    pub(crate) fn later(&mut self, line: impl FnOnce() + Send + 'static) {
        self.0.push(Box::new(line));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells all lines, in order. The caller holds no lock.
    pub(crate) fn tell(self) {
        self.0.into_iter().for_each(tell);
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Log").field(&self.0.len()).finish()
    }
}
