//! Sessions of a listener, and handshakes on the way to one, counted by user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts the places that are taken. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_uid: HashMap<u32, usize>,
}

/// Room for one session. It is free again when this is dropped, together with the descriptors of the session.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    uid: u32,
}

impl Places {
    /// Takes a place, without asking whether there may be one more.
    pub(super) fn take(&self, uid: u32) -> Place {
        let mut counts = self.lock();
        counts.all = counts.all.saturating_add(1);
        let of_uid = counts.by_uid.entry(uid).or_default();
        *of_uid = of_uid.saturating_add(1);
        drop(counts);
        Place { places: self.clone(), uid }
    }

    /// Returns how many places are taken in all, and by this user.
    pub(super) fn taken(&self, uid: u32) -> (usize, usize) {
        let counts = self.lock();
        (counts.all, counts.by_uid.get(&uid).copied().unwrap_or(0))
    }

    /// Returns how many places are taken in all.
    pub(super) fn all(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // No foreign code runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.lock();
        counts.all = counts.all.saturating_sub(1);
        if let Some(of_uid) = counts.by_uid.get_mut(&self.uid) {
            *of_uid = of_uid.saturating_sub(1);
            if *of_uid == 0 {
                counts.by_uid.remove(&self.uid);
            }
        }
    }
}
