//! The processes: starting them, pinning, CPU time, and that none outlives the one that has started it.
//!
//! Measuring loops wait for the link alone and look at nothing else. What ends them when something
//! goes wrong are two threads of the driver that sleep meanwhile, and the kernel:
//!
//! * The driver waits for the peer's process in a thread of its own and exits when it ends.
//! * The kernel kills a process when the one that has started it is gone (`PR_SET_PDEATHSIG`).
//! * The [`Watchdog`] exits when nothing has been finished for long.
//!
//! Who has started the driver hears from it why ([`Child`]).

use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{self, ChildStderr, Command, Stdio, exit};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, ScopedJoinHandle};
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, getppid};

/// Restricts this process to one CPU, if one is given. Threads started later inherit it.
pub(crate) fn pin(cpu: Option<usize>) -> io::Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.map_err(|error| {
        io::Error::other(format!("cannot run on CPU {cpu} ({error}); choose others with --pin A,B"))
    })
}

/// How many descriptors this process may have: it asks for as many as it can get, also for its peer.
pub(crate) fn descriptors_at_most() -> usize {
    let Ok((now, most)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 256 };
    let raised = setrlimit(Resource::RLIMIT_NOFILE, most, most).is_ok();
    (if raised { most } else { now }) as usize
}

/// Nanoseconds of CPU that all threads of this process have used.
pub(crate) fn cpu_ns() -> u64 {
    let time =
        clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from);
    time.as_nanos() as u64
}

/// How often the kernel has taken the CPU from a thread of this process, or a thread gave it up to wait.
pub(crate) fn switches() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF);
    usage.map_or(0, |usage| {
        (usage.voluntary_context_switches() + usage.involuntary_context_switches()) as u64
    })
}

/// A clock that is the same in both processes.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    time.as_nanos() as u64
}

/// Asks the kernel to kill this process together with the one that has started it.
pub(crate) fn die_with(parent: i32) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != Pid::from_raw(parent) {
        return Err(io::Error::other("the process that has started this one is gone"));
    }
    Ok(())
}

/// This program once more, in another role.
pub(crate) fn again(role: &str, cpu: Option<usize>) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(role).args(["--parent", &process::id().to_string()]);
    if let Some(cpu) = cpu {
        command.args(["--cpu", &cpu.to_string()]);
    }
    command
}

/// A process with a control channel, and what it has said lately on standard error, where all is passed on.
#[derive(Debug)]
pub(crate) struct Child {
    child: process::Child,
    said: Arc<Mutex<Vec<String>>>,
    listener: JoinHandle<()>,
}

impl Child {
    pub(crate) fn start(mut command: Command, control: OwnedFd) -> io::Result<Self> {
        command.stdin(Stdio::from(control)).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let listener = thread::Builder::new().name("listener".into());
        let listener = listener.spawn(move || listen(stderr, &heard))?;
        Ok(Self { child, said, listener })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far has nothing to do with what comes.
    pub(crate) fn forget(&self) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Waits until it and those that it has started have ended. If not well, gives what they have said.
    pub(crate) fn end(mut self) -> Result<(), String> {
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(());
        }
        let heard = self.listener.join();
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match heard {
            Ok(()) if !said.is_empty() => Err(said.join("; ")),
            _ => Err(format!("the driver has ended: {status}")),
        }
    }
}

fn listen(stderr: ChildStderr, said: &Mutex<Vec<String>>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        eprintln!("{line}");
        let line = line.strip_prefix("ipcbench: ").unwrap_or(&line).trim();
        if !line.is_empty() && !line.starts_with("note: ") {
            said.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
        }
    }
}

/// The peer or a client, seen from the driver.
#[derive(Debug)]
pub(crate) struct Peer {
    leaving: Arc<AtomicBool>,
    reaper: JoinHandle<bool>,
}

impl Peer {
    /// Starts this program once more in `role`, with `control` as its standard input.
    pub(crate) fn start(
        role: &str,
        cpu: Option<usize>,
        control: OwnedFd,
    ) -> io::Result<(Self, u32)> {
        let child = again(role, cpu).stdin(Stdio::from(control)).spawn()?;
        let pid = child.id();
        let leaving = Arc::new(AtomicBool::new(false));
        let expected = Arc::clone(&leaving);
        let reaper =
            thread::Builder::new().name("reaper".into()).spawn(move || reap(child, &expected))?;
        Ok((Self { leaving, reaper }, pid))
    }

    /// From now on the peer may end; [`Peer::join`] waits for it.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub(crate) fn join(self) -> io::Result<()> {
        match self.reaper.join() {
            Ok(true) => Ok(()),
            _ => Err(io::Error::other("the peer process did not end well")),
        }
    }
}

fn reap(mut child: process::Child, expected: &AtomicBool) -> bool {
    let status = child.wait();
    if !expected.load(Ordering::Acquire) {
        // Let a reason that is already on the control channel be told first.
        thread::sleep(Duration::from_millis(200));
        match status {
            Ok(status) => eprintln!("ipcbench: the peer process ended early: {status}"),
            Err(error) => eprintln!("ipcbench: lost the peer process: {error}"),
        }
        exit(1);
    }
    status.is_ok_and(|status| status.success())
}

/// What a thread of this process gave, once it has ended.
pub(crate) fn joined<T>(thread: ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}

/// Ends the process when nothing has been finished for too long.
#[derive(Clone, Debug)]
pub(crate) struct Watchdog {
    finished: Arc<AtomicU64>,
}

impl Watchdog {
    pub(crate) fn start(patience: Duration) -> io::Result<Self> {
        let finished = Arc::new(AtomicU64::new(0));
        let seen = Arc::downgrade(&finished);
        thread::Builder::new().name("watchdog".into()).spawn(move || {
            let mut last = 0;
            loop {
                thread::sleep(patience);
                // It is over when nobody can finish anything any more.
                let Some(seen) = seen.upgrade() else { break };
                let now = seen.load(Ordering::Relaxed);
                if now == last {
                    eprintln!("ipcbench: no progress for {patience:?}, giving up");
                    exit(1);
                }
                last = now;
            }
        })?;
        Ok(Self { finished })
    }

    /// Something was finished.
    pub(crate) fn pat(&self) {
        self.finished.fetch_add(1, Ordering::Relaxed);
    }
}
