//! One thread that sleeps on many descriptors: sessions, listeners.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::bell::{add_one, eventfd};
use super::wait::{epoll_wait, new_epoll, watch};
use crate::error::OsError;
use crate::mem::Home;

/// Events taken from the kernel at once.
const BATCH: usize = 256;

const WAKE: u64 = u64::MAX;

/// Descriptors by keys, level-triggered, and a way to wake the thread that sleeps on them.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    /// Edge-triggered and never read (K2).
    wake: OwnedFd,
    /// A forked child shares both with us, and leaves them alone.
    home: Home,
}

impl Poller {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// [`OsError`] without descriptors or memory.
    pub fn new() -> Result<Self, OsError> {
        let (epoll, wake) = (new_epoll()?, eventfd()?);
        watch(&epoll, wake.as_fd(), EpollFlags::EPOLLIN | EpollFlags::EPOLLET, WAKE)?;
        Ok(Self { epoll, wake, home: Home::here() })
    }

    /// Watches `fd` for reading, until it is removed or closed. `key` is any number but the greatest.
    ///
    /// # Errors
    /// [`OsError`] if the kernel refuses; `EPERM` in a forked child.
    pub fn add(&self, fd: BorrowedFd<'_>, key: u64) -> Result<(), OsError> {
        self.check_home()?;
        watch(&self.epoll, fd, EpollFlags::EPOLLIN, key)
    }

    /// Watches `fd` no longer.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        if !self.home.is_foreign() {
            // It fails only for what is not watched.
            let _ = self.epoll.delete(fd);
        }
    }

    /// **Blocks** until something can be read, somebody wakes it, or `timeout` is over (`None`: never).
    /// Puts the keys of what can be read into `keys`; not all of them at once if they are very many.
    ///
    /// # Errors
    /// [`OsError`] if `epoll_wait` fails; `EPERM` in a forked child.
    pub fn wait(&self, keys: &mut Vec<u64>, timeout: Option<Duration>) -> Result<(), OsError> {
        self.check_home()?;
        let mut events = [EpollEvent::empty(); BATCH];
        let happened = epoll_wait(&self.epoll, &mut events, timeout)?;
        keys.clear();
        keys.extend(events.iter().take(happened).map(EpollEvent::data).filter(|key| *key != WAKE));
        Ok(())
    }

    /// Ends the wait of the thread that is in [`wait`](Self::wait), or the next one.
    pub fn wake(&self) {
        if !self.home.is_foreign() {
            let _ = add_one(&self.wake);
        }
    }

    /// # Errors
    /// `EPERM` in a forked child of the process that made it.
    pub fn check_home(&self) -> Result<(), OsError> {
        match self.home.is_foreign() {
            true => Err(OsError::new("waiting in a forked child", Errno::EPERM)),
            false => Ok(()),
        }
    }
}
