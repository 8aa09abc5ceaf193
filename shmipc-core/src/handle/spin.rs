//! Whether and how long to spin before sleeping (the policy; the loop is [`Spinner`]).
//!
//! A sleep and a wake-up cost from 5 to 100 µs, a look at a cache line a nanosecond. So whoever waits
//! looks for about as long as sleeping would cost, and learns whether that pays: a spin that fails
//! halves the budget, a wake-up that comes shortly after giving up doubles it.
//!
//! * At most one thread fewer than the CPUs of this process spins at a time, but one may in any case: a
//!   process that is pinned to one CPU leaves the others to its peer.
//! * Nobody spins while the peer's waiting or working thread was last seen on the same CPU.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::config::WaitMode;
use crate::layout::CPU_AT;
use crate::mem::{Memory, MemoryMut};

use super::shared::Shared;

/// The longest spin, nanoseconds: twice what a wake-up costs on a virtual machine.
const LONGEST: u32 = 100_000;
/// The shortest budget: below it, the clock costs more than the spin.
const SHORTEST: u32 = 2_000;
/// Looks between two readings of the clock.
const LOOKS: u32 = 128;

/// What a session has learned about spinning.
#[derive(Debug)]
pub(super) struct SpinBudget {
    nanos: AtomicU32,
    paid: AtomicU64,
    failed: AtomicU64,
}

impl Default for SpinBudget {
    fn default() -> Self {
        Self { nanos: AtomicU32::new(LONGEST / 2), paid: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }
}

impl SpinBudget {
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.paid.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    fn budget(&self) -> Duration {
        Duration::from_nanos(u64::from(self.nanos.load(Ordering::Relaxed)))
    }

    fn on_paid(&self) {
        // Without a read-modify-write: two threads at once may count as one.
        self.paid.store(self.paid.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn on_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let half = self.nanos.load(Ordering::Relaxed) / 2;
        self.nanos.store(half.max(SHORTEST), Ordering::Relaxed);
    }

    /// A sleep ended after `slept`. If a longer spin would have spared it, allow one next time.
    pub(super) fn on_woken(&self, slept: Duration) {
        if slept < Duration::from_nanos(u64::from(LONGEST) * 3 / 2) {
            let double = self.nanos.load(Ordering::Relaxed).saturating_mul(2);
            self.nanos.store(double.min(LONGEST), Ordering::Relaxed);
        }
    }
}

/// Threads of this process that spin now, in any session.
static SPINNING: AtomicUsize = AtomicUsize::new(0);

/// CPUs that this process may use, by affinity and quota.
fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// One spin: `while spinner.again() { look }`. Ends by the budget, or when it must not spin at all.
#[derive(Debug)]
pub struct Spinner<'a> {
    shared: &'a Shared,
    /// When to give up; `None` before the first reading of the clock.
    until: Option<Instant>,
    looks: u32,
    forever: bool,
    counted: bool,
    deadline: Option<Instant>,
}

impl<'a> Spinner<'a> {
    /// Begins to spin, if the mode and the CPUs allow it. Never spins past `deadline`.
    pub(super) fn new(shared: &'a Shared, deadline: Option<Instant>) -> Self {
        let forever = shared.wait_mode == WaitMode::Spin;
        let mut spinner = Self { shared, until: None, looks: 0, forever, counted: false, deadline };
        spinner.counted = forever || (shared.wait_mode == WaitMode::Adaptive && spinner.admit());
        if !spinner.counted {
            spinner.looks = u32::MAX;
        }
        spinner
    }

    /// Takes a place among the spinning threads, unless all are taken or the peer needs our CPU.
    fn admit(&self) -> bool {
        let cpu = show_cpu(self.shared);
        if cpu != 0 && self.shared.peer.load64(CPU_AT) == cpu {
            return false;
        }
        if SPINNING.fetch_add(1, Ordering::Relaxed) + 1 < cpus().max(2) {
            return true;
        }
        SPINNING.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Whether to look once more.
    #[inline]
    pub fn again(&mut self) -> bool {
        if !self.counted {
            return false;
        }
        std::hint::spin_loop();
        self.looks += 1;
        !self.looks.is_multiple_of(LOOKS) || self.check_clock()
    }

    #[cold]
    fn check_clock(&mut self) -> bool {
        let now = Instant::now();
        let Some(until) = self.until else {
            self.until = Some(now + if self.forever { MILLISECOND } else { self.shared.spin.budget() });
            return true;
        };
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return false;
        }
        if now < until {
            return true;
        }
        if self.forever && !self.shared.is_over() {
            // In every mode the socket is looked at each millisecond.
            self.until = Some(now + MILLISECOND);
            self.shared.glance();
            return true;
        }
        self.shared.spin.on_failed();
        false
    }

    /// What was waited for came while spinning.
    pub fn paid(&self) {
        if self.looks > 0 && self.counted {
            self.shared.spin.on_paid();
        }
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);

impl Drop for Spinner<'_> {
    fn drop(&mut self) {
        if self.counted && !self.forever {
            SPINNING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Shows the peer which CPU we wait on; returns that number plus one, 0 if unknown.
pub(super) fn show_cpu(shared: &Shared) -> u64 {
    let cpu = nix::sched::sched_getcpu().map_or(0, |cpu| cpu as u64 + 1);
    // The peer's copy of the line stays valid if nothing changes.
    if shared.own.load64(CPU_AT) != cpu {
        shared.own.store64(CPU_AT, cpu);
    }
    cpu
}
