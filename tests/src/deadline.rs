//! A bug is a failure, never a hang.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Far more than any wait of these tests takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Returns how long a test waits before it takes something for a hang: [`PATIENCE`], as many times as
/// `SHMIPC_PATIENCE` says, which is for emulators.
pub fn patience() -> Duration {
    let times = std::env::var("SHMIPC_PATIENCE").ok().and_then(|times| times.parse().ok());
    PATIENCE * times.unwrap_or(1)
}

/// Work that was started on a thread of its own.
#[derive(Debug)]
pub struct Running<T> {
    name: String,
    result: mpsc::Receiver<thread::Result<T>>,
}

/// Starts `work` on a thread of its own.
pub fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Running<T> {
    let (done, result) = mpsc::channel();
    let run = move || {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let _ = done.send(outcome);
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).expect("a thread");
    Running { name: name.to_owned(), result }
}

impl<T> Running<T> {
    /// What the work gave; fails the test if it panicked or has not ended in time. The thread of a
    /// hang is left behind.
    #[track_caller]
    pub fn join(self) -> T {
        match self.result.recv_timeout(patience()) {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => panic!("`{}` hangs", self.name),
        }
    }

    /// Whether the work has ended.
    pub fn is_done(&self) -> bool {
        !matches!(self.result.try_recv(), Err(mpsc::TryRecvError::Empty))
    }
}

/// Runs `work` on a thread of its own until its end; fails the test if that does not come.
#[track_caller]
pub fn within<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    start(name, work).join()
}

/// Looks until `condition` holds; fails the test if that does not come.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience();
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::yield_now();
    }
}
