//! What wakes a sleeping peer.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::socket::{Sent, send};
use crate::config::BellKind;
use crate::error::OsError;
use crate::wire::BELL;

/// The bell that both sides agreed on.
#[derive(Debug)]
pub enum Bell {
    /// A frame on the socket.
    Socket,
    /// An eventfd for each direction. Only between sides that trust each other: the peer could clear
    /// `O_NONBLOCK`, which belongs to the open file and not to the descriptor, and let our write block.
    Eventfd {
        /// We wait on this one, the peer writes to it.
        ours: OwnedFd,
        /// The peer waits on this one, we write to it.
        theirs: OwnedFd,
    },
}

impl Bell {
    /// Which of the two it is.
    pub fn kind(&self) -> BellKind {
        match self {
            Self::Socket => BellKind::Socket,
            Self::Eventfd { .. } => BellKind::Eventfd,
        }
    }

    pub(super) fn ring(&self, socket: BorrowedFd<'_>) -> Result<bool, OsError> {
        match self {
            Self::Socket => match send(socket, &BELL, &[])? {
                // `Full`: rings wait there already. `Gone`: the wait set tells.
                Sent::Whole | Sent::Full | Sent::Gone => Ok(true),
                Sent::Later => Ok(false),
            },
            Self::Eventfd { theirs, .. } => add_one(theirs).map(|()| true),
        }
    }
}

/// A new eventfd: close-on-exec, never blocking.
pub(crate) fn eventfd() -> Result<OwnedFd, OsError> {
    EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map(OwnedFd::from)
        .map_err(|errno| OsError::new("eventfd", errno))
}

/// Adds one to an eventfd, which wakes whoever watches it. A counter that is full has woken them.
pub(crate) fn add_one(eventfd: &OwnedFd) -> Result<(), OsError> {
    loop {
        match nix::unistd::write(eventfd, &1u64.to_ne_bytes()) {
            Ok(_) | Err(Errno::EAGAIN) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(OsError::new("write(eventfd)", errno)),
        }
    }
}
