//! Blocking on a `poll_*` of the core: try, spin, sleep.

use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use shmipc_core::handle::Session;

/// What ends the wait, hence what to look at while spinning.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// A record of the peer.
    Record,
    /// Room: credit, queue space, memory.
    Room,
}

/// Runs `poll` until it is ready; `None` once `deadline` is over.
///
/// The calling thread drives the session for all who wait in it, or follows one that does
/// (`shmipc_core::notify`).
#[inline]
pub(crate) fn block_on<T>(
    session: &Session,
    what: For,
    deadline: Option<Instant>,
    mut poll: impl FnMut(Option<&Waker>) -> Poll<T>,
) -> Option<T> {
    let mut seen = look(session, what);
    if let Poll::Ready(value) = poll(None) {
        return Some(value);
    }
    {
        // Dropped before this thread sleeps.
        let _active = (what == For::Record).then(|| session.active());
        let mut spinner = session.spin(deadline);
        while spinner.again() {
            let now = look(session, what);
            if now == seen && !spinner.ticked() {
                continue;
            }
            session.will_read();
            seen = now;
            if let Poll::Ready(value) = poll(None) {
                spinner.paid();
                return Some(value);
            }
        }
    }
    sleep_on(session, deadline, poll)
}

/// What a spinning thread compares: one word of the peer's, or all three.
#[inline]
fn look(session: &Session, what: For) -> [shmipc_core::mem::Raw<u64>; 3] {
    match what {
        For::Record => [session.tail(); 3],
        For::Room => session.cursors(),
    }
}

#[cold]
fn sleep_on<T>(
    session: &Session,
    deadline: Option<Instant>,
    mut poll: impl FnMut(Option<&Waker>) -> Poll<T>,
) -> Option<T> {
    let waiting = session.wait_here();
    loop {
        if let Poll::Ready(value) = poll(Some(waiting.waker())) {
            return Some(value);
        }
        if !waiting.sleep(deadline) {
            return None;
        }
    }
}

/// When a wait of that length ends.
pub(crate) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    // The clock is read only if there is a limit.
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}
