//! A thread that drives a session when nobody else does.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use shmipc_core::error::OsError;
use shmipc_core::handle;
use shmipc_core::link::Poller;

use crate::Session;

/// A thread that drives a session; see [`Session::spawn_driver`]. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the thread ends when this is dropped"]
pub struct Driver {
    core: handle::Driver,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Stop {
    poller: Poller,
    asked: AtomicBool,
}

impl Session {
    /// Starts a thread that drives the session whenever no call does: the peer gets queue space and
    /// memory back, and what it sends is taken in up to the limits, though the application makes no call
    /// for long. The thread is named `shmipc-driver`, sleeps in the kernel while there is nothing to do,
    /// and does not keep the session open.
    ///
    /// It costs each call that sleeps a little, since the thread may be woken too. Use it for a session
    /// that is left alone for long, not for one that some thread waits on all the time.
    ///
    /// # Errors
    /// [`OsError`] without a thread, descriptors or memory.
    pub fn spawn_driver(&self) -> Result<Driver, OsError> {
        let core = self.core.driver();
        let stop = Arc::new(Stop { poller: Poller::new()?, asked: AtomicBool::new(false) });
        stop.poller.add(core.as_fd(), 0)?;
        let run = {
            let (core, stop) = (core.clone(), Arc::clone(&stop));
            move || stop.drive(&core)
        };
        let thread = thread::Builder::new()
            .name("shmipc-driver".to_owned())
            .spawn(run)
            .map_err(|error| OsError::from_io("clone", &error))?;
        Ok(Driver { core, stop, thread: Some(thread) })
    }
}

impl Stop {
    fn drive(&self, session: &handle::Driver) {
        let mut keys = Vec::new();
        loop {
            session.try_drive();
            if session.is_over() || self.asked.load(Ordering::Acquire) {
                break;
            }
            let deadline = session.next_deadline();
            if session.arm() {
                let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
                if let Err(error) = self.poller.wait(&mut keys, left) {
                    tracing::warn!(%error, "the session is driven no longer");
                    break;
                }
            }
        }
        session.leave();
    }
}

impl Drop for Driver {
    /// **Blocks** until the thread has ended, which it does at once.
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if self.core.is_foreign() {
            // The thread did not come along with the fork.
            std::mem::forget(thread);
            return;
        }
        self.stop.asked.store(true, Ordering::Release);
        self.stop.poller.wake();
        // It fails only if the thread has panicked, which was reported.
        let _ = thread.join();
    }
}
