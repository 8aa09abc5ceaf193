//! State of a process that a child of `fork` does not share.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicPtr, Ordering};

use super::Home;

/// A value that each process makes for itself. A child of `fork` has none of its parent's threads, and
/// perhaps a lock that no thread releases, so it does not look at its parent's value.
pub(super) struct PerProcess<T>(AtomicPtr<Of<T>>);

struct Of<T> {
    home: Home,
    value: T,
}

impl<T: Default + Send + Sync + 'static> PerProcess<T> {
    pub(super) const fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// The value of this process.
    pub(super) fn get(&'static self) -> &'static T {
        loop {
            let known = self.0.load(Ordering::Acquire);
            // SAFETY: M1: null, or made below from a box that is never freed.
            let of = unsafe { known.as_ref() };
            if let Some(of) = of.filter(|of| !of.home.is_foreign()) {
                return &of.value;
            }
            let made = Box::into_raw(Box::new(Of { home: Home::here(), value: T::default() }));
            if self.0.compare_exchange(known, made, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: M1: made above, and known to no other thread.
                drop(unsafe { Box::from_raw(made) });
            }
        }
    }
}
