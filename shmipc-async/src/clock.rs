//! Waiting until a time of the system's clock.
//!
//! The core's deadlines are times of the system's clock. Tokio's clock is the same one, unless a test has paused it
//! (`tokio::time::pause`, `start_paused`), after which it stands still or runs ahead: a timer of tokio would then end
//! at once, before the peer could answer, and again at once for as long as the deadline has not come. So whatever the
//! core waits for ends by the system's clock, and what callers pass as tokio's `Instant` ends by tokio's.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use shmipc_core::link::Alarm;
use tokio::io::Interest;
use tokio::time::{Instant as TokioInstant, timeout_at};

use crate::fd::watch;

/// Awaits `future` until `deadline`; `None` once that has passed, or now and then for nothing.
pub(crate) async fn until<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        None => Some(future.await),
        Some(deadline) if is_real() => timeout_at(deadline.into(), future).await.ok(),
        Some(deadline) => {
            let (mut future, mut alarm) = (pin!(future), pin!(alarm(deadline)));
            poll_fn(|cx| match future.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending => alarm.as_mut().poll(cx).map(|()| None),
            })
            .await
        }
    }
}

/// Sleeps until `deadline`.
pub(crate) async fn sleep_until(deadline: Instant) {
    while Instant::now() < deadline {
        until(Some(deadline), pending::<()>()).await;
    }
}

/// Whether tokio's clock is the system's.
fn is_real() -> bool {
    let before = Instant::now();
    let tokio = TokioInstant::now().into_std();
    before <= tokio && tokio <= Instant::now()
}

/// Ends at that time, whatever tokio's clock says. Without a descriptor for it tokio's timer has to do.
async fn alarm(deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    match Alarm::after(left).ok().and_then(|alarm| watch(alarm, Interest::READABLE).ok()) {
        Some(alarm) => drop(alarm.readable().await),
        None => tokio::time::sleep(left).await,
    }
}
