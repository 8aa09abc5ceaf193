//! Pauses between attempts.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Pauses that double from the first to the longest, each shortened at random by up to a half, so that
/// clients that lost the same server do not come back at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with `first`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next pause; `random` is any number.
    pub fn next(&mut self, random: u64) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.longest);
        whole - part_of(whole / 2, random)
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The longest pause.
    pub fn longest(&self) -> Duration {
        self.longest
    }
}

/// Another number each time, which nobody has to be unable to guess.
pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// A part of `whole`, from nothing to almost all of it; `random` is any number.
pub(super) fn part_of(whole: Duration, random: u64) -> Duration {
    // Sixteen bits are fine enough.
    whole.saturating_mul((random >> 48) as u32) / (1 << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_vary() {
        let (first, last) = (Duration::from_millis(1), Duration::from_millis(100));
        let (mut longest, mut shortest) = (Backoff::new(first, last), Backoff::new(first, last));
        let mut expected = first;
        for _ in 0..20 {
            let (long, short) = (longest.next(0), shortest.next(u64::MAX));
            assert_eq!(long, expected);
            assert!(short >= long / 2 && short < long, "{short:?} {long:?}");
            expected = (expected * 2).min(last);
        }
        assert_eq!(expected, last);
        longest.reset();
        assert_eq!(longest.next(0), first);
    }
}
