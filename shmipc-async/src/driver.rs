//! The one task of a session (steps V1 to V5 of `shmipc_core::notify`).
//!
//! It drives while nobody else does: it sleeps on the session's descriptor, armed, and whoever polls a
//! stream meanwhile drains for himself. While there is traffic it stays awake for a while, in slices
//! between which the other tasks run.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use shmipc_core::error::OsError;
use shmipc_core::handle::{Driver, Session};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::task::yield_now;

use crate::clock;
use crate::fd::{Watched, watch};

/// The longest that the driver keeps the other tasks of its thread waiting while it looks.
pub(crate) const SLICE: Duration = Duration::from_micros(20);

/// So many times at most the driver makes way for those whom it has woken before the runtime gets to look at
/// everything else: descriptors, timers, and what other threads have woken.
const TURNS: u32 = 8;

/// Starts the driver of a session on the current runtime. Keeps the session no longer open than its
/// handles do.
pub(crate) fn start(session: &Session) -> Result<(), OsError> {
    let runtime = Handle::current();
    let alone = runtime.metrics().num_workers() == 1;
    let fd = watch(session.driver(), Interest::READABLE)
        .map_err(|error| OsError::from_io("epoll_ctl", &error))?;
    runtime.spawn(Running { fd, alone }.run());
    Ok(())
}

struct Running {
    fd: AsyncFd<Watched<Driver>>,
    /// The driver shares its thread with all other tasks.
    alone: bool,
}

impl Running {
    async fn run(self) {
        let driver = &self.fd.get_ref().0;
        loop {
            driver.try_drive();
            if driver.is_over() {
                return;
            }
            if self.stay_awake().await || !driver.arm() {
                continue;
            }
            let slept = Instant::now();
            if self.sleep().await.is_err() {
                return;
            }
            driver.learn(slept.elapsed());
        }
    }

    /// Drives for as long as that has lately paid. True if there is something left to drive for.
    async fn stay_awake(&self) -> bool {
        let driver = &self.fd.get_ref().0;
        let budget = driver.spin_budget();
        if budget.is_zero() {
            return false;
        }
        let (mut idle_since, mut turns) = (None, 0);
        let mut drained = driver.drained();
        loop {
            if driver.is_over() {
                return true;
            }
            if driver.has_news() {
                driver.drive_awake();
                drained = driver.drained();
                idle_since = None;
                turns = (turns + 1) % TURNS;
                if turns == 0 {
                    yield_now().await;
                } else {
                    make_way().await;
                }
                continue;
            }
            let now = driver.drained();
            if now != drained {
                // Others drain for themselves. If they run on this thread, that is not to be disturbed.
                if !self.alone {
                    return false;
                }
                drained = now;
                idle_since = None;
            }
            // Before the first look, those run for whom something has come.
            yield_now().await;
            let since = *idle_since.get_or_insert_with(Instant::now);
            driver.glance();
            if !driver.has_news() && (since.elapsed() >= budget || !driver.spin(SLICE)) {
                return driver.has_news();
            }
        }
    }

    /// Sleeps until the session is to be driven. Fails when the runtime goes.
    async fn sleep(&self) -> std::io::Result<()> {
        let deadline = self.fd.get_ref().0.next_deadline();
        let Some(ready) = clock::until(deadline, self.fd.readable()).await else { return Ok(()) };
        // Before the next drive: what comes in between is seen twice, not never.
        ready?.clear_ready();
        Ok(())
    }
}

/// Lets those run who have been woken. Other than `yield_now`, without a look at the reactor.
async fn make_way() {
    let mut made = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut made, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Also when the runtime drops the task.
impl Drop for Running {
    fn drop(&mut self) {
        self.fd.get_ref().0.abandon();
    }
}
