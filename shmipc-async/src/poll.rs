//! What all polls of sessions and streams have in common.

use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use shmipc_core::handle::Session;
use shmipc_core::mem::Raw;
use tokio::task::{coop, yield_now};

use crate::driver::SLICE;

/// The longest look outside of a task: as long as the longest spin of a thread.
const LONG_SLICE: Duration = Duration::from_micros(150);

/// Polls within the task's budget, with the task's waker. If nobody else has lately had to wait, it polls without
/// one before, at once and then for a little while; that others are there costs them, and so does a second look.
pub(crate) fn poll<S, T>(
    session: &Session,
    cx: &mut Context<'_>,
    on: &mut S,
    is_alone: impl FnOnce(&S) -> bool,
    mut once: impl FnMut(&mut S, Option<&Waker>) -> Poll<T>,
) -> Poll<T> {
    let budget = ready!(proceed(cx));
    let mut polled = Poll::Pending;
    if is_alone(on) {
        let seen = session.tail();
        polled = once(on, None);
        if polled.is_pending() {
            polled = look_longer(session, seen, || once(on, None));
        }
    }
    if polled.is_pending() {
        polled = once(on, Some(cx.waker()));
    }
    if polled.is_ready() {
        budget.made_progress();
    }
    polled
}

/// Takes one unit of the task's budget. A task that has none left comes back after the runtime has looked at
/// its reactor: a busy session never sleeps, and timers and sockets would wait for dozens of its budgets.
pub(crate) fn proceed(cx: &mut Context<'_>) -> Poll<coop::RestoreOnPending> {
    if coop::has_budget_remaining() {
        return coop::poll_proceed(cx);
    }
    let _: Poll<()> = pin!(yield_now()).poll(cx);
    Poll::Pending
}

/// Spins for a slice, or until something has come for others, who are to run then. A caller that is no task,
/// in `block_on`, disturbs no worker, and would be woken at the price of a system call: it looks for as long
/// as a thread would.
fn look_longer<T>(
    session: &Session,
    mut seen: Raw<u64>,
    mut once: impl FnMut() -> Poll<T>,
) -> Poll<T> {
    let in_task = tokio::task::try_id().is_some();
    let _active = session.active();
    let mut spinner =
        if in_task { session.spin_briefly(SLICE) } else { session.spin_outside(LONG_SLICE) };
    while spinner.again() {
        let now = session.tail();
        if now == seen && !spinner.ticked() {
            continue;
        }
        session.will_read();
        let before = std::mem::replace(&mut seen, now);
        if let Poll::Ready(value) = once() {
            spinner.paid();
            return Poll::Ready(value);
        }
        if in_task && now != before {
            break;
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
    poll(session, cx, on, |_| false, once)
}
