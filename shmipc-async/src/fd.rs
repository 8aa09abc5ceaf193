//! Descriptors of the core in tokio's reactor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Something of the core that owns the descriptor it is watched by.
#[derive(Debug)]
pub(crate) struct Watched<T>(pub(crate) T);

impl<T: AsFd> AsRawFd for Watched<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Watches `inner` on the current runtime.
///
/// # Panics
/// Outside of a tokio runtime with I/O enabled.
#[allow(deprecated, reason = "its successor is unsafe because of descriptors that are not owned")]
pub(crate) fn watch<T: AsFd>(inner: T, interest: Interest) -> io::Result<AsyncFd<Watched<T>>> {
    AsyncFd::with_interest(Watched(inner), interest)
}
