//! A descriptor that a peer has passed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::reserve::Lease;
use super::{Home, close_elsewhere, fds};
use crate::error::PeerMisbehaved;

/// A descriptor that a peer has passed: any file at all, until it has been looked at. Dropping it does
/// not close it, because that may block; another thread does.
///
/// [`adopt`](super::adopt) and [`into_pidfd`](Self::into_pidfd) make something of it whose close is
/// known not to block.
#[derive(Debug)]
pub struct Passed {
    /// `None` only while it is dropped.
    fd: Option<OwnedFd>,
    home: Home,
    /// What it came by, if it was received in a shortage.
    lease: Option<Lease>,
}

impl Passed {
    pub(super) fn new(fd: OwnedFd, lease: Option<Lease>) -> Self {
        Self { fd: Some(fd), home: Home::here(), lease }
    }

    /// The process that it stands for.
    ///
    /// # Errors
    /// [`PeerMisbehaved::NotAPidfd`] if it is something else.
    pub fn into_pidfd(self) -> Result<OwnedFd, PeerMisbehaved> {
        match fds::is_pidfd(self.as_fd()) {
            true => Ok(self.into_trusted()),
            false => Err(PeerMisbehaved::NotAPidfd),
        }
    }

    /// Closes it at once, because its file is known to close at once.
    pub(super) fn close(mut self) {
        drop(self.fd.take());
    }

    /// The descriptor, of a peer that is trusted, or of a file that is known to close at once.
    pub(crate) fn into_trusted(mut self) -> OwnedFd {
        self.fd.take().expect("only a drop leaves it empty")
    }
}

/// Also for a descriptor that came by another way.
impl From<OwnedFd> for Passed {
    fn from(fd: OwnedFd) -> Self {
        Self::new(fd, None)
    }
}

impl AsFd for Passed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("only a drop leaves it empty").as_fd()
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        match self.fd.take() {
            // The process that it was passed to has it open.
            Some(fd) if self.home.is_foreign() => drop(fd),
            Some(fd) => close_elsewhere(fd),
            None => {}
        }
        drop(self.lease.take());
    }
}
