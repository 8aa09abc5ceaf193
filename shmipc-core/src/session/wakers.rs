//! Wakers that were collected under a lock, to be called after it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Whom to wake. One costs no allocation: there is seldom another.
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
    pub(crate) fn wake(self) {
        for waker in self.first.into_iter().chain(self.rest) {
            if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                tracing::error!("a waker panicked");
            }
        }
    }
}

impl Extend<Waker> for Wakers {
    fn extend<T: IntoIterator<Item = Waker>>(&mut self, wakers: T) {
        for waker in wakers {
            match &self.first {
                None => self.first = Some(waker),
                Some(_) => self.rest.push(waker),
            }
        }
    }
}
