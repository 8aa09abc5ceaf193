//! Lines for the log. A subscriber of `tracing` is foreign code: it may use the session that it is told about, and
//! it may panic.
//!
//! So nothing is told while a lock is held or while anything is half done: what happens under a lock is noted in a
//! [`Log`], or held back by a [`Hold`], and told after the lock. A subscriber that panics is reported by the panic hook,
//! and keeps nothing from going on.

use std::cell::RefCell;
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

thread_local! {
    /// Lines that this thread holds back.
    static HELD: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// Tells one line: at once, or when the [`Hold`] of this thread ends. For code that cannot know which locks its caller
/// holds.
pub(crate) fn line(line: impl FnOnce() + Send + 'static) {
    let mut line = Some(line);
    // A thread that ends, and drops what it has, holds nothing back any more.
    let _ = HELD.try_with(|held| {
        if let Some(log) = &mut *held.borrow_mut() {
            line.take().into_iter().for_each(|line| log.later(line));
        }
    });
    line.into_iter().for_each(tell);
}

/// Holds back the [`line`]s of this thread for as long as it lives. To be dropped after the lock it belongs to.
#[derive(Debug)]
pub(crate) struct Hold {
    /// It is the first of this thread, not one inside of another.
    is_outer: bool,
}

impl Hold {
    pub(crate) fn begin() -> Self {
        let is_outer = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            let is_outer = held.is_none();
            held.get_or_insert_default();
            is_outer
        });
        Self { is_outer: is_outer.unwrap_or(false) }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.is_outer {
            let held = HELD.try_with(|held| held.borrow_mut().take());
            held.ok().flatten().unwrap_or_default().tell();
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Log").field(&self.0.len()).finish()
    }
}
