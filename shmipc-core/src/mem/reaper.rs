//! Closing what a peer chose, by a thread that serves nothing.
//!
//! `close` can block for as long as the maker of the file likes: a TCP socket that lingers, a file of
//! a FUSE mount. A descriptor that a peer passed, and a socket whose receive queue may hold some, is
//! therefore closed here, unless it is known to close at once. A process has such threads only while
//! there is something to close.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;

use super::per_process::PerProcess;
use super::reserve;

/// Most threads that close at the same time. A close that blocks has given its descriptor's number
/// back already, so each of these threads frees one more.
const THREADS: usize = 8;
/// How long a thread waits for more to close before it ends.
const IDLE: Duration = Duration::from_secs(1);
/// The longest close that is not worth a word in the log.
const SLOW: Duration = Duration::from_secs(1);
const STACK: usize = 256 * 1024;

static REAPER: PerProcess<Reaper> = PerProcess::new();

/// The threads of one process, and what they have to close.
#[derive(Default)]
struct Reaper {
    queue: Mutex<Queue>,
    work: Condvar,
}

/// The descriptors are open, so `RLIMIT_NOFILE` bounds their number.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<OwnedFd>,
    threads: usize,
    idle: usize,
}

/// Closes a descriptor in another thread. Never blocks. If no thread can be started, the descriptor
/// stays open until the next call succeeds to start one.
pub(crate) fn close_elsewhere(fd: OwnedFd) {
    let reaper = REAPER.get();
    let start = {
        let mut queue = reaper.lock();
        queue.waiting.push_back(fd);
        let start = queue.waiting.len() > queue.idle && queue.threads < THREADS;
        queue.threads += usize::from(start);
        start
    };
    reaper.work.notify_one();
    let thread = || thread::Builder::new().name("shmipc-reaper".into()).stack_size(STACK);
    if start && thread().spawn(|| reaper.run()).is_err() {
        reaper.lock().threads -= 1;
    }
}

impl Reaper {
    fn run(&self) {
        // A thread that stands still in the kernel must not be chosen for a signal of the process.
        let _ = SigSet::all().thread_set_mask();
        while let Some((fd, left)) = self.next() {
            let began = Instant::now();
            drop(fd);
            reserve::refill();
            let took = began.elapsed();
            if took > SLOW {
                tracing::warn!(?took, left, "closing a descriptor that a peer passed has blocked");
            }
        }
    }

    /// Waits for the next descriptor; with the number of those behind it. `None`: this thread ends.
    fn next(&self) -> Option<(OwnedFd, usize)> {
        let mut queue = self.lock();
        if queue.waiting.is_empty() {
            queue.idle += 1;
            let empty = |queue: &mut Queue| queue.waiting.is_empty();
            let waited = self.work.wait_timeout_while(queue, IDLE, empty);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            queue.idle -= 1;
        }
        let fd = queue.waiting.pop_front();
        queue.threads -= usize::from(fd.is_none());
        fd.map(|fd| (fd, queue.waiting.len()))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
