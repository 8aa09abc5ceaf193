//! `ipcbench limits`: what this machine allows, whatever carries the messages, and what the library makes of it.
//! A slow virtual machine shows here: a wake across its CPUs that costs a hundred times what it costs on one.

mod machine;

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use nix::unistd::getppid;
use serde::Serialize;
use shmipc_core::handle::{SPIN_NANOS, spinning_at_most};

use crate::args::{Limits, Pin, Transport, Wait};
use crate::measure::{Figures, duration, median};
use crate::plan::Plan;
use crate::turns;

pub(crate) use machine::Machine;

/// What sleeps in the kernel until it is woken.
const SLEEPERS: [Transport; 5] =
    [Transport::Eventfd, Transport::Futex, Transport::Pipe, Transport::Uds, Transport::Tcp];

/// All that is found out. The names are those of the JSON object.
#[derive(Debug, Serialize)]
struct Found {
    machine: Machine,
    system_call_ns: f64,
    memcpy_64k_gb_per_s: f64,
    memcpy_64m_gb_per_s: f64,
    /// There and back between two CPUs.
    cacheline_ns: Option<f64>,
    across: Vec<Wake>,
    on_one: Vec<Wake>,
    /// What shmipc takes for the same between two CPUs (or on the one there is), by wait mode.
    shmipc: Vec<Wake>,
    spinning_at_most: usize,
    spin_ns: (u32, u32, u32),
}

/// A round trip in which both sides sleep: two wakes.
#[derive(Debug, Serialize)]
struct Wake {
    what: String,
    p50_ns: f64,
    /// Of the blocks' medians.
    lowest_ns: f64,
    highest_ns: f64,
    p99_ns: f64,
}

pub(crate) fn run(limits: &Limits) -> io::Result<()> {
    let found = find(limits)?;
    if limits.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print(&found);
    }
    Ok(())
}

fn find(limits: &Limits) -> io::Result<Found> {
    // Before a measurement pins this process.
    let (machine, spinning_at_most) = (Machine::look(), spinning_at_most());
    let mut found = Found {
        machine,
        system_call_ns: rate(|| _ = black_box(getppid())),
        memcpy_64k_gb_per_s: memcpy(64 << 10),
        memcpy_64m_gb_per_s: memcpy(64 << 20),
        cacheline_ns: None,
        across: Vec::new(),
        on_one: Vec::new(),
        shmipc: Vec::new(),
        spinning_at_most,
        spin_ns: SPIN_NANOS,
    };
    let same = Pin { peer: limits.pin.driver, ..limits.pin };
    found.on_one = wakes(limits, same, &SLEEPERS)?;
    let pin = if found.machine.cpus > 1 { limits.pin } else { same };
    if found.machine.cpus > 1 {
        let line = measured(limits, pin, &[Transport::Cacheline], Wait::Spin)?;
        found.cacheline_ns = line.first().map(|line| line.p50_ns);
        found.across = wakes(limits, pin, &SLEEPERS)?;
    }
    for &wait in Wait::ALL {
        // On one CPU a spin lasts as long as a time slice.
        if found.machine.cpus > 1 || wait != Wait::Spin {
            let figures = measured(limits, pin, &[Transport::ShmSync], wait)?;
            found.shmipc.extend(figures.iter().map(|line| Wake::new(wait.to_string(), line)));
        }
    }
    Ok(found)
}

fn wakes(limits: &Limits, pin: Pin, transports: &[Transport]) -> io::Result<Vec<Wake>> {
    let figures = measured(limits, pin, transports, Wait::Block)?;
    Ok(figures.iter().map(|line| Wake::new(line.transport.to_string(), line)).collect())
}

fn measured(
    limits: &Limits,
    pin: Pin,
    transports: &[Transport],
    wait: Wait,
) -> io::Result<Vec<Figures>> {
    let outcome = turns::measure(&Plan::probe(limits, pin, transports, wait))?;
    match outcome.failures.first() {
        Some(failure) => Err(io::Error::other(format!("{}: {}", failure.arm, failure.reason))),
        None => Ok(outcome.figures),
    }
}

impl Wake {
    fn new(what: String, line: &Figures) -> Self {
        Self {
            what,
            p50_ns: line.p50_ns,
            lowest_ns: line.lowest_ns,
            highest_ns: line.highest_ns,
            p99_ns: line.p99_ns,
        }
    }
}

/// Nanoseconds of one call: the median of ten runs.
fn rate(mut call: impl FnMut()) -> f64 {
    const RUN: Duration = Duration::from_millis(20);
    let runs: Vec<f64> = (0..10)
        .map(|_| {
            let (start, mut calls) = (Instant::now(), 0_u32);
            while start.elapsed() < RUN {
                call();
                calls += 1;
            }
            start.elapsed().as_nanos() as f64 / f64::from(calls)
        })
        .collect();
    median(&runs)
}

/// Gigabytes a second, of what is copied.
fn memcpy(bytes: usize) -> f64 {
    let (from, mut to) = (vec![1_u8; bytes], vec![0_u8; bytes]);
    bytes as f64 / rate(|| black_box(&mut to).copy_from_slice(black_box(&from)))
}

fn print(found: &Found) {
    let machine = &found.machine;
    let or = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let yes = |is: bool| if is { "yes" } else { "NO" };
    let line = |name: &str, value: String| println!("{name:28} {value}");
    line("CPU", or(&machine.cpu));
    line("virtual machine", yes(machine.virtual_machine).to_lowercase());
    line("kernel", or(&machine.kernel));
    line("CPUs of this process", format!("{} ({} online)", machine.cpus, machine.cpus_online));
    line("CPU quota (cpu.max)", or(&machine.quota));
    line(
        "idle driver, governor",
        format!("{}, {}", or(&machine.idle_driver), or(&machine.governor)),
    );
    line("seals of shared memory", yes(machine.seals).to_owned());
    line("pidfd", yes(machine.pidfd).to_owned());
    line("huge pages, shared memory", or(&machine.huge_pages));
    line("system call", duration(found.system_call_ns));
    line("memcpy 64 KiB, 64 MiB", {
        format!("{:.1}, {:.1} GB/s", found.memcpy_64k_gb_per_s, found.memcpy_64m_gb_per_s)
    });
    if let Some(ns) = found.cacheline_ns {
        line("a cache line there and back", duration(ns));
    }
    table("round trip, both asleep, two CPUs", &found.across);
    table("round trip, both asleep, one CPU", &found.on_one);
    table("round trip of shmipc, 64 B", &found.shmipc);
    choice(found);
}

fn table(title: &str, wakes: &[Wake]) {
    if wakes.is_empty() {
        return;
    }
    println!("\n{title:36} {:>10} {:>10} {:>24}", "p50", "p99", "p50 of blocks from..to");
    for wake in wakes {
        println!(
            "  {:34} {:>10} {:>10} {:>24}",
            wake.what,
            duration(wake.p50_ns),
            duration(wake.p99_ns),
            format!("{}..{}", duration(wake.lowest_ns), duration(wake.highest_ns)),
        );
    }
}

/// What the library does on this machine unless told otherwise, and why.
fn choice(found: &Found) {
    let (shortest, first, longest) = found.spin_ns;
    println!("\nUnless told otherwise the library waits `adaptive`:");
    println!(
        "* It spins for {} at first and learns to spin for {} to {}: about what a wake costs.",
        duration(f64::from(first)),
        duration(f64::from(shortest)),
        duration(f64::from(longest)),
    );
    println!(
        "* At most {} of this process's threads spin at a time, for {} CPUs by affinity and quota.",
        found.spinning_at_most, found.machine.cpus,
    );
    let (Some(across), Some(on_one)) = (best(&found.across), best(&found.on_one)) else {
        println!(
            "* With one CPU both sides share it: whoever finds the peer there sleeps at once."
        );
        return;
    };
    println!(
        "* Here a wake costs {} between CPUs and {} on one, half of the best round trip above.",
        duration(across / 2.0),
        duration(on_one / 2.0),
    );
    if across / 2.0 > f64::from(longest) {
        println!(
            "* That is longer than it spins: a peer that is not awake costs a wake each time."
        );
    }
    if across > 4.0 * on_one {
        println!(
            "* Between CPUs a wake costs {:.0} times as much as on one: processes that cannot keep both \
             CPUs busy are faster pinned to one, and sleep.",
            across / on_one,
        );
    }
}

fn best(wakes: &[Wake]) -> Option<f64> {
    wakes.iter().map(|wake| wake.p50_ns).min_by(f64::total_cmp)
}
