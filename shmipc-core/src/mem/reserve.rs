//! One descriptor in reserve, so that a peer can pass memory to a process that has all others in use.
//!
//! What a peer passes is mapped and closed at once: a single free number is enough for any number of
//! sessions, if it is kept for them. The reserve is given up while a descriptor of a peer is open.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::per_process::PerProcess;

static RESERVE: PerProcess<Mutex<Reserve>> = PerProcess::new();

#[derive(Default)]
struct Reserve {
    fd: Option<OwnedFd>,
    /// Connections to peers. Without any there is no reserve.
    users: usize,
}

/// The number that the reserve had is free. Dropped once what was received has been closed.
#[derive(Debug)]
pub(super) struct Lease(());

/// Gives the reserve up. `None` if there is none at the moment: another session makes use of it, or the
/// process has had no descriptor left for it.
pub(super) fn lease() -> Option<Lease> {
    with(|reserve| reserve.fd.take()).map(|fd| {
        drop(fd);
        Lease(())
    })
}

/// There is one connection more.
pub(crate) fn join() {
    with(|reserve| {
        reserve.users = reserve.users.saturating_add(1);
        reserve.refill();
    });
}

/// There is one connection less.
pub(crate) fn leave() {
    with(|reserve| {
        reserve.users = reserve.users.saturating_sub(1);
        if reserve.users == 0 {
            reserve.fd = None;
        }
    });
}

/// Makes the reserve, unless it is there or there is no descriptor left for it.
pub(super) fn refill() {
    with(Reserve::refill);
}

impl Reserve {
    fn refill(&mut self) {
        if self.fd.is_none() && self.users > 0 {
            let made = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC);
            self.fd = made.ok().map(OwnedFd::from);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        refill();
    }
}

fn with<T>(act: impl FnOnce(&mut Reserve) -> T) -> T {
    act(&mut RESERVE.get().lock().unwrap_or_else(PoisonError::into_inner))
}
