//! Pauses between attempts.

use std::time::Duration;

/// The pause doubles from the first to the longest.
const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(256);

/// Pauses that grow, each shortened at random by up to a half, so that clients that lost the same server
/// do not come back at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The next pause; `random` is any number.
    pub fn next(&mut self, random: u64) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        let part = (random >> 48) as u32;
        whole - whole / 2 * part / (1 << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_vary() {
        let (mut longest, mut shortest) = (Backoff::default(), Backoff::default());
        let mut expected = FIRST;
        for _ in 0..20 {
            let (long, short) = (longest.next(0), shortest.next(u64::MAX));
            assert_eq!(long, expected);
            assert!(short >= long / 2 && short < long, "{short:?} {long:?}");
            expected = (expected * 2).min(LONGEST);
        }
        assert_eq!(expected, LONGEST);
    }
}
