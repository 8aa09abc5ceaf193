//! Threads that spin beside an event loop of this process, without being one of its tasks.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// How often a thread that spins wakes the event loop beside it, microseconds: by so much its timers are late at
/// most. A wake costs both sides about 10 µs.
const LOOP_EVERY: u64 = 250;
/// For so long after a loop has last seen such a spin it does not spin itself, microseconds.
const ALONE: u64 = 1_000;
/// Spins of such a thread between two readings of the clock.
const SPINS: u32 = 64;

/// Spins beside an event loop. Its numbers are hints: two threads at once may count as one.
#[derive(Debug)]
pub(super) struct Outside {
    spins: AtomicU32,
    /// As many as the loop knew of when it last asked.
    asked: AtomicU32,
    began: Instant,
    /// Until when the loop takes the thread for one that spins, microseconds since `began`. Longer than the
    /// loop keeps it off a CPU that they share.
    alone_until: AtomicU64,
    /// When the loop was last woken, microseconds since `began`.
    woken: AtomicU64,
}

impl Default for Outside {
    fn default() -> Self {
        Self {
            spins: AtomicU32::new(0),
            asked: AtomicU32::new(0),
            began: Instant::now(),
            alone_until: AtomicU64::new(0),
            woken: AtomicU64::new(0),
        }
    }
}

impl Outside {
    /// Notes a spin. True if the loop has been left alone for long.
    pub(super) fn note(&self) -> bool {
        let spins = self.spins.load(Ordering::Relaxed).wrapping_add(1);
        self.spins.store(spins, Ordering::Relaxed);
        spins % SPINS == 0 && self.is_due()
    }

    /// Whether somebody spins: has done so since the last call, or shortly before it.
    pub(super) fn somebody_spins(&self) -> bool {
        let spins = self.spins.load(Ordering::Relaxed);
        let now = self.micros();
        if spins != self.asked.swap(spins, Ordering::Relaxed) {
            self.alone_until.store(now + ALONE, Ordering::Relaxed);
        }
        now < self.alone_until.load(Ordering::Relaxed)
    }

    fn micros(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    #[cold]
    fn is_due(&self) -> bool {
        let now = self.micros();
        let due = now - self.woken.load(Ordering::Relaxed).min(now) >= LOOP_EVERY;
        if due {
            self.woken.store(now, Ordering::Relaxed);
        }
        due
    }
}
