//! How fast a peer may announce segments.
//!
//! A segment costs its owner the clearing of its pages, and us a look at each of them. A peer that
//! announces the same memory again and again saves its own part; so announcing is held to a pace that
//! no owner that clears pages can keep up.

use std::time::{Duration, Instant};

use crate::error::PeerMisbehaved;
use crate::layout::Geometry;

/// Bytes a microsecond: several times what a processor clears, and a tenth of what it looks at.
const RATE: u64 = 8 << 10;
/// What a segment counts at least, bytes: mapping and unmapping it.
const LEAST: u64 = 2 << 20;

/// What was announced lately.
#[derive(Debug)]
pub(super) struct Pace {
    bytes: u64,
    most: u64,
    seen: Instant,
}

impl Pace {
    /// For the arena of a peer, which may come twice at once: made, idle and retired, and made again.
    pub(super) fn of(incoming: &Geometry, now: Instant) -> Self {
        let segments = u64::from(incoming.max_segments()).saturating_mul(LEAST);
        let most = u64::from(incoming.arena_max).saturating_add(segments).saturating_mul(2);
        Self { bytes: 0, most, seen: now }
    }

    /// Counts a segment.
    ///
    /// # Errors
    /// [`PeerMisbehaved::SegmentFlood`] if too many have come lately.
    pub(super) fn count(&mut self, bytes: usize, now: Instant) -> Result<(), PeerMisbehaved> {
        let passed = now.saturating_duration_since(self.seen).min(Duration::from_secs(3600));
        let forgotten = (passed.as_micros() as u64).saturating_mul(RATE);
        self.seen = now;
        self.bytes = self.bytes.saturating_sub(forgotten).saturating_add((bytes as u64).max(LEAST));
        if self.bytes > self.most { Err(PeerMisbehaved::SegmentFlood) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{small_limits, symmetric};

    fn pace(now: Instant) -> (Pace, usize) {
        let incoming = symmetric(&small_limits());
        (Pace::of(&incoming, now), incoming.max_segments() as usize)
    }

    #[test]
    fn arena_announced_twice_at_once_is_within_the_pace() {
        let now = Instant::now();
        let (mut pace, most) = pace(now);
        for _ in 0..2 * most {
            assert_eq!(pace.count(4096, now), Ok(()));
        }
    }

    #[test]
    fn segments_without_end_are_a_flood() {
        let now = Instant::now();
        let (mut pace, most) = pace(now);
        let flood = (0..4 * most).find_map(|_| pace.count(1 << 20, now).err());
        assert_eq!(flood, Some(PeerMisbehaved::SegmentFlood));
    }

    #[test]
    fn owner_that_clears_four_gigabytes_a_second_keeps_the_pace() {
        let began = Instant::now();
        let (mut pace, _) = pace(began);
        for segment in 0..100_000 {
            let now = began + Duration::from_micros(500) * segment;
            assert_eq!(pace.count(2 << 20, now), Ok(()), "{segment}");
        }
    }
}
