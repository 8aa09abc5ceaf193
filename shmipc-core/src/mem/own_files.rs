//! The files that this process writes, so that it does not take one of them for a peer's.
//!
//! A peer of two sessions may keep a segment of ours that it got in one of them, and pass it in the
//! other: there we would read what our own application writes.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use nix::sys::stat::FileStat;

use super::per_process::PerProcess;

static FILES: PerProcess<Mutex<BTreeSet<(u64, u64)>>> = PerProcess::new();

/// Segments of ours that a peer must not pass as its own.
#[derive(Clone, Copy, Debug)]
pub enum Own<'a> {
    /// All that this process writes.
    Process,
    /// These: the other end is in this process too, and passes segments of ours rightly.
    These(&'a [FileStat]),
}

impl Own<'_> {
    pub(super) fn contains(self, stat: &FileStat) -> bool {
        match self {
            Self::Process => with(|files| files.contains(&key(stat))),
            Self::These(files) => files.iter().any(|own| key(own) == key(stat)),
        }
    }
}

impl<'a, const N: usize> From<&'a [FileStat; N]> for Own<'a> {
    fn from(files: &'a [FileStat; N]) -> Self {
        Self::These(files)
    }
}

/// A file in the list, for as long as this process has it mapped.
#[derive(Debug)]
pub(super) struct OwnFile((u64, u64));

impl OwnFile {
    pub(super) fn new(stat: &FileStat) -> Self {
        with(|files| files.insert(key(stat)));
        Self(key(stat))
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        with(|files| files.remove(&self.0));
    }
}

fn key(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn with<T>(act: impl FnOnce(&mut BTreeSet<(u64, u64)>) -> T) -> T {
    act(&mut FILES.get().lock().unwrap_or_else(PoisonError::into_inner))
}
