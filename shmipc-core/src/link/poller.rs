//! One thread that sleeps on many descriptors: sessions, listeners.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::bell::{add_one, eventfd};
use super::wait::{epoll_wait, new_epoll, watch};
use crate::error::OsError;

/// Events taken from the kernel at once.
const BATCH: usize = 256;

const WAKE: u64 = u64::MAX;

/// Descriptors by keys, level-triggered, and a way to wake the thread that sleeps on them.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    /// Edge-triggered and never read (K2).
    wake: OwnedFd,
}

impl Poller {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// [`OsError`] without descriptors or memory.
    pub fn new() -> Result<Self, OsError> {
        let (epoll, wake) = (new_epoll()?, eventfd()?);
        watch(&epoll, wake.as_fd(), EpollFlags::EPOLLIN | EpollFlags::EPOLLET, WAKE)?;
        Ok(Self { epoll, wake })
    }

    /// Watches `fd` for reading, until it is removed or closed. `key` is any number but the greatest.
    ///
    /// # Errors
    /// [`OsError`] if the kernel refuses.
    pub fn add(&self, fd: BorrowedFd<'_>, key: u64) -> Result<(), OsError> {
        watch(&self.epoll, fd, EpollFlags::EPOLLIN, key)
    }

    /// Watches `fd` no longer.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        // It fails only for what is not watched.
        let _ = self.epoll.delete(fd);
    }

    /// **Blocks** until something can be read, somebody wakes it, or `timeout` is over (`None`: never).
    /// Puts the keys of what can be read into `keys`; not all of them at once if they are very many.
    ///
    /// # Errors
    /// [`OsError`] if `epoll_wait` fails.
    pub fn wait(&self, keys: &mut Vec<u64>, timeout: Option<Duration>) -> Result<(), OsError> {
        let mut events = [EpollEvent::empty(); BATCH];
        let happened = epoll_wait(&self.epoll, &mut events, timeout)?;
        keys.clear();
        keys.extend(events.iter().take(happened).map(EpollEvent::data).filter(|key| *key != WAKE));
        Ok(())
    }

    /// Ends the wait of the thread that is in [`wait`](Self::wait), or the next one.
    pub fn wake(&self) {
        let _ = add_one(&self.wake);
    }
}
