//! What a process spends on a leg: CPU, bells, switches, and system calls in a leg that counts them.
//!
//! System calls are counted by the kernel at its tracepoint `raw_syscalls:sys_enter`, for every thread that
//! there is as the leg begins and for those that these start. As long as anybody counts, all system calls of the
//! machine take a longer way; so there is a counter only in legs that are not timed.

use std::fs;
use std::io;

use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter, ReadFormat};

use crate::control::Spent;
use crate::process;

/// Where the tracepoint may be found.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

pub(crate) struct Meter {
    /// One for each thread; empty where nothing is counted.
    counters: Vec<Counter>,
    before: Spent,
    start_ns: u64,
}

impl Meter {
    /// Gets ready, which takes a while if system calls are to be counted.
    pub(crate) fn new(counts: bool) -> Self {
        let counters = if counts { counters().unwrap_or_default() } else { Vec::new() };
        Self { counters, before: Spent::default(), start_ns: 0 }
    }

    /// What follows belongs to the leg.
    pub(crate) fn start(&mut self, bells: u64) -> io::Result<()> {
        self.before = self.so_far(bells)?;
        self.start_ns = process::now_ns();
        Ok(())
    }

    /// What was spent since it started.
    pub(crate) fn spent(&mut self, bells: u64) -> io::Result<Spent> {
        let elapsed_ns = process::now_ns() - self.start_ns;
        let (now, before) = (self.so_far(bells)?, self.before);
        Ok(Spent {
            cpu_ns: now.cpu_ns - before.cpu_ns,
            bells: now.bells - before.bells,
            switches: now.switches - before.switches,
            syscalls: now.syscalls.zip(before.syscalls).map(|(now, before)| now - before),
            elapsed_ns,
        })
    }

    fn so_far(&mut self, bells: u64) -> io::Result<Spent> {
        let mut syscalls = None;
        for counter in &mut self.counters {
            syscalls = Some(syscalls.unwrap_or(0) + counter.read()?);
        }
        let (cpu_ns, switches) = (process::cpu_ns(), process::switches());
        Ok(Spent { cpu_ns, bells, switches, syscalls, elapsed_ns: 0 })
    }
}

/// Why system calls cannot be counted here, if so.
pub(crate) fn why_not() -> Option<io::Error> {
    counters().err()
}

fn counters() -> io::Result<Vec<Counter>> {
    let event = tracepoint()?;
    let threads = fs::read_dir("/proc/self/task")?;
    let counters = threads.map(|thread| {
        let thread = thread?.file_name();
        let id =
            thread.to_str().and_then(|id| id.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let mut counter = Builder::new(event);
        // Together with other formats the kernel does not count for threads yet to come.
        counter.include_kernel().inherit(true).read_format(ReadFormat::empty());
        counter.observe_pid(id).enabled(true).build()
    });
    counters.collect()
}

fn tracepoint() -> io::Result<Tracepoint> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for tracefs in TRACEFS {
        let path = format!("{tracefs}/events/raw_syscalls/sys_enter/id");
        match fs::read_to_string(&path) {
            Ok(id) => return id.trim().parse().map(Tracepoint::with_id).map_err(io::Error::other),
            Err(error) => last = io::Error::new(error.kind(), format!("{path}: {error}")),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn system_calls_of_threads_yet_to_come_are_counted_where_the_kernel_allows_it() {
        let mut meter = Meter::new(true);
        meter.start(3).unwrap();
        let calls = || (0..500).for_each(|_| drop(fs::metadata("/proc/self")));
        calls();
        thread::spawn(calls).join().unwrap();
        let spent = meter.spent(5).unwrap();
        assert_eq!(spent.bells, 2);
        match why_not() {
            None => assert!(spent.syscalls.is_some_and(|calls| calls >= 1000), "{spent:?}"),
            Some(_) => assert_eq!(spent.syscalls, None),
        }
        let mut without = Meter::new(false);
        without.start(0).unwrap();
        assert_eq!(without.spent(0).unwrap().syscalls, None);
    }
}
