//! What all polls of sessions and streams have in common.

use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use shmipc_core::handle::Session;
use shmipc_core::mem::Raw;
use tokio::task::coop;

use crate::driver::SLICE;

/// The longest look outside of a task: as long as the longest spin of a thread.
const LONG_SLICE: Duration = Duration::from_micros(150);

/// Polls within the task's budget: at once, then for a little while, unless others wait who need whoever
/// drives, then with the task's waker.
pub(crate) fn poll<S, T>(
    session: &Session,
    cx: &mut Context<'_>,
    on: &mut S,
    others_wait: impl FnOnce(&S) -> bool,
    mut once: impl FnMut(&mut S, Option<&Waker>) -> Poll<T>,
) -> Poll<T> {
    let budget = ready!(coop::poll_proceed(cx));
    let seen = session.tail();
    let mut polled = once(on, None);
    if polled.is_pending() && !others_wait(on) {
        polled = look_longer(session, seen, || once(on, None));
    }
    if polled.is_pending() {
        polled = once(on, Some(cx.waker()));
    }
    if polled.is_ready() {
        budget.made_progress();
    }
    polled
}

/// Spins for a slice. A caller that is no task, in `block_on`, disturbs no worker, and would be woken at the
/// price of a system call: it looks for as long as a thread would.
fn look_longer<T>(
    session: &Session,
    mut seen: Raw<u64>,
    mut once: impl FnMut() -> Poll<T>,
) -> Poll<T> {
    let slice = if tokio::task::try_id().is_some() { SLICE } else { LONG_SLICE };
    let _active = session.active();
    let mut spinner = session.spin(Instant::now().checked_add(slice));
    while spinner.again() {
        let now = session.tail();
        if now == seen && !spinner.ticked() {
            continue;
        }
        session.will_read();
        seen = now;
        if let Poll::Ready(value) = once() {
            spinner.paid();
            return Poll::Ready(value);
        }
    }
    Poll::Pending
}

/// Polls for what no look at the peer's records gives for sure: room, or an end.
pub(crate) fn poll_once<S, T>(
    session: &Session,
    cx: &mut Context<'_>,
    on: &mut S,
    once: impl FnMut(&mut S, Option<&Waker>) -> Poll<T>,
) -> Poll<T> {
    poll(session, cx, on, |_| true, once)
}
