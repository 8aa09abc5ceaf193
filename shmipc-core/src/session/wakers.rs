//! Wakers that were collected under a lock, to be called after it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crate::log;

thread_local! {
    /// Room for those of one turn, kept for the next turn of this thread.
    static ROOM: Cell<Vec<Waker>> = const { Cell::new(Vec::new()) };
}

/// More room than this is not kept.
const KEPT: usize = 1024;

/// Whom to wake. One needs no room; there is seldom another.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    first: Option<Waker>,
    rest: Vec<Waker>,
}

impl Wakers {
    /// Takes all of them.
    pub(crate) fn append(&mut self, wakers: &mut Vec<Waker>) {
        self.extend(wakers.drain(..));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Wakes all of them. One that panics has been reported by the panic hook, and keeps nobody else asleep: the
    /// caller is seldom who left it.
    pub(crate) fn wake(mut self) {
        for waker in self.first.into_iter().chain(self.rest.drain(..)) {
            if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                log::tell(|| tracing::error!("a waker panicked"));
            }
        }
        if (1..=KEPT).contains(&self.rest.capacity()) {
            // A thread that ends keeps nothing.
            let _ = ROOM.try_with(|room| room.set(self.rest));
        }
    }
}

impl Extend<Waker> for Wakers {
    fn extend<T: IntoIterator<Item = Waker>>(&mut self, wakers: T) {
        for waker in wakers {
            match &self.first {
                None => self.first = Some(waker),
                Some(_) => {
                    if self.rest.capacity() == 0 {
                        self.rest = ROOM.try_with(Cell::take).unwrap_or_default();
                    }
                    self.rest.push(waker);
                }
            }
        }
    }
}
