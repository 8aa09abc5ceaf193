//! That the first of several lanes is through: from then on there are fewer, and nothing more is timed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use crate::mem::{Mapping, Region};

const REGIONS: [usize; 1] = [64];

/// A word that lanes share wherever they run.
#[derive(Debug)]
pub(crate) struct Over {
    word: Region,
    fd: OwnedFd,
}

impl Over {
    pub(crate) fn new() -> io::Result<Self> {
        let (mapping, fd) = Mapping::create(&REGIONS)?;
        let [word] = mapping.cut(REGIONS);
        Ok(Self { word, fd })
    }

    /// That of another process, with its descriptor.
    pub(crate) fn join(fd: OwnedFd) -> io::Result<Self> {
        let [word] = Mapping::join(fd.try_clone()?, &REGIONS)?.cut(REGIONS);
        Ok(Self { word, fd })
    }

    /// For another process.
    pub(crate) fn fd(&self) -> io::Result<OwnedFd> {
        self.fd.as_fd().try_clone_to_owned()
    }

    pub(crate) fn clear(&self) {
        self.word.word(0).store(0, Ordering::Relaxed);
    }

    pub(crate) fn set(&self) {
        self.word.word(0).store(1, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.word.word(0).load(Ordering::Relaxed) != 0
    }
}
