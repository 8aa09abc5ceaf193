//! Whether and how long to spin before sleeping (the policy; the loop is [`Spinner`]).
//!
//! A sleep and a wake-up cost from 5 to 100 µs, a look at a cache line a nanosecond. So whoever waits
//! looks for about as long as sleeping would cost, and learns whether that pays: a wake-up that comes
//! shortly after giving up doubles the budget, one that comes late halves it.
//!
//! * At most one thread fewer than the CPUs of this process spins at a time, but one may in any case: a
//!   process that is pinned to one CPU leaves the others to its peer.
//! * Nobody spins while the peer's waiting or working thread was last seen on the same CPU.
//! * A thread that spins beside an event loop of this process, without being one of its tasks, keeps the loop
//!   asleep: the loop spins for nobody until a millisecond after ([`Spinner::outside`]). For its timers and
//!   other descriptors it is woken some thousand times a second, and offered the CPU.
//! * Whoever spins and drains something for a thread that sleeps leaves it the CPU, if the session has at
//!   least as many waiting threads as this process has CPUs.

mod outside;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::config::WaitMode;
use crate::layout::CPU_AT;
use crate::mem::{Memory, MemoryMut};

use super::shared::Shared;
use outside::Outside;

/// The longest spin unless the configuration says otherwise, nanoseconds: a few wake-ups of a virtual machine, so
/// that a peer that fills a megabyte is waited for awake (`docs/decisions.md`).
const LONGEST: u32 = 150_000;
/// The first budget: about one wake-up of a virtual machine.
const FIRST: u32 = 50_000;
/// The shortest budget: below it, the clock costs more than the spin.
const SHORTEST: u32 = 2_000;
/// For how many nanoseconds [`WaitMode::Adaptive`] spins before it sleeps: at least, at first, at most.
pub const SPIN_NANOS: (u32, u32, u32) = (SHORTEST, FIRST, LONGEST);
/// Looks between two readings of the clock.
const LOOKS: u32 = 128;

/// What a session has learned about spinning.
#[derive(Debug)]
pub(super) struct SpinBudget {
    nanos: AtomicU32,
    /// The shortest and the longest budget, nanoseconds.
    bounds: (u32, u32),
    paid: AtomicU64,
    failed: AtomicU64,
    outside: Outside,
}

impl SpinBudget {
    /// Spins for `longest` at most.
    pub(super) fn new(longest: Duration) -> Self {
        let longest = u32::try_from(longest.as_nanos()).unwrap_or(u32::MAX);
        Self {
            nanos: AtomicU32::new(FIRST.min(longest)),
            bounds: (SHORTEST.min(longest), longest),
            paid: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            outside: Outside::default(),
        }
    }

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
    }

    /// A sleep after a failed spin ended after `slept`. A budget that would have spared it is worth
    /// having; else the spin was for nothing.
    pub(super) fn on_woken(&self, slept: Duration) {
        let budget = self.nanos.load(Ordering::Relaxed);
        let (shortest, longest) = self.bounds;
        let learned = if self.budget() + slept < Duration::from_nanos(u64::from(longest)) {
            budget.saturating_mul(2).min(longest)
        } else {
            (budget / 2).max(shortest)
        };
        if learned != budget {
            self.nanos.store(learned, Ordering::Relaxed);
        }
    }
}

impl Shared {
    /// How long an event loop may spin before it sleeps: not at all while a thread beside it does.
    pub(super) fn loop_spin_budget(&self) -> Duration {
        if self.spin.outside.somebody_spins() {
            return Duration::ZERO;
        }
        match self.wait_mode {
            WaitMode::Adaptive => self.spin.budget(),
            WaitMode::Spin => Duration::MAX,
            WaitMode::Block => Duration::ZERO,
        }
    }
}

/// Threads of this process that spin now, in any session.
static SPINNING: AtomicUsize = AtomicUsize::new(0);

/// CPUs that this process may use, by affinity and quota; 0 before anything asked.
static CPUS: AtomicUsize = AtomicUsize::new(0);

/// CPUs that this process may use, by affinity and quota. Both may change while it runs: [`ask_for_cpus`].
pub(super) fn cpus() -> usize {
    match CPUS.load(Ordering::Relaxed) {
        0 => {
            let cpus = std::thread::available_parallelism().map_or(1, usize::from);
            CPUS.store(cpus, Ordering::Relaxed);
            cpus
        }
        cpus => cpus,
    }
}

/// Asks the kernel again how many CPUs there are, if nothing has asked for some seconds. For a thread that has just
/// slept: the answer takes some ten microseconds, as it is read from files of the cgroup.
pub(super) fn ask_for_cpus(now: Instant) {
    const EVERY: u64 = 5;
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let seconds = now.saturating_duration_since(*BEGAN.get_or_init(|| now)).as_secs();
    let asked = ASKED.load(Ordering::Relaxed);
    let due = seconds >= asked + EVERY;
    if due && ASKED.compare_exchange(asked, seconds, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        CPUS.store(0, Ordering::Relaxed);
        cpus();
    }
}

/// How many threads of this process may spin at one time.
pub fn spinning_at_most() -> usize {
    cpus().max(2) - 1
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
    /// A millisecond has passed since the last look at everything.
    ticked: bool,
    deadline: Option<Instant>,
    /// Threads woken before the spin began.
    woken: u64,
    /// Longest spin, if it is to be brief.
    slice: Option<Duration>,
}

impl<'a> Spinner<'a> {
    /// Begins to spin, if the mode and the CPUs allow it, and this is not a forked child. Never spins past
    /// `deadline`.
    pub(super) fn new(shared: &'a Shared, deadline: Option<Instant>) -> Self {
        let forever = shared.wait_mode == WaitMode::Spin;
        let (until, looks, counted, ticked, slice) = (None, 0, false, false, None);
        let woken = shared.woken.load(Ordering::Relaxed);
        let mut spinner =
            Self { shared, until, looks, forever, counted, ticked, deadline, woken, slice };
        spinner.counted = !shared.is_foreign()
            && (forever || (shared.wait_mode == WaitMode::Adaptive && spinner.admit()));
        if !spinner.counted {
            spinner.looks = u32::MAX;
        }
        spinner
    }

    /// The same, for `slice` at most. The clock is read only if it takes long.
    pub(super) fn brief(shared: &'a Shared, slice: Duration) -> Self {
        let mut spinner = Self::new(shared, None);
        spinner.slice = Some(slice);
        spinner
    }

    /// The same, for a thread that an event loop drives for too, and which is none of its tasks.
    pub(super) fn outside(shared: &'a Shared, slice: Duration) -> Self {
        let spinner = Self::brief(shared, slice);
        if spinner.counted && shared.spin.outside.note() {
            // While this one still counts as spinning, so that the loop does not begin to.
            shared.link.kick();
            std::thread::yield_now();
        }
        spinner
    }

    /// Takes a place among the spinning threads, unless all are taken or the peer needs our CPU.
    fn admit(&self) -> bool {
        let cpu = show_cpu(self.shared);
        if cpu != 0 && self.shared.peer.load64(CPU_AT) == cpu {
            return false;
        }
        if SPINNING.fetch_add(1, Ordering::Relaxed) < spinning_at_most() {
            return true;
        }
        SPINNING.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Whether it may spin at all.
    pub fn is_admitted(&self) -> bool {
        self.counted
    }

    /// Whether to look once more.
    #[inline]
    pub fn again(&mut self) -> bool {
        if !self.counted || self.shared.woken.load(Ordering::Relaxed) != self.woken {
            return false;
        }
        std::hint::spin_loop();
        self.looks = self.looks.wrapping_add(1);
        self.looks % LOOKS != 0 || self.check_clock()
    }

    #[cold]
    fn check_clock(&mut self) -> bool {
        let now = Instant::now();
        let Some(until) = self.until else {
            self.deadline = self.slice.map_or(self.deadline, |slice| now.checked_add(slice));
            self.until =
                Some(now + if self.forever { MILLISECOND } else { self.shared.spin.budget() });
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
            self.ticked = true;
            return true;
        }
        self.shared.spin.on_failed();
        false
    }

    /// True once each millisecond: what another thread of this process has done moves no cursor of the
    /// peer, so ask again.
    #[inline]
    pub fn ticked(&mut self) -> bool {
        std::mem::take(&mut self.ticked)
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
