//! How long something has taken, many times.

use std::fmt;
use std::time::Duration;

/// Times, in order.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Of these.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }

    /// The time that this part of them has not exceeded; zero if there are none.
    pub fn at(&self, part: f64) -> Duration {
        let last = self.0.len().saturating_sub(1) as f64;
        self.0.get((last * part).round() as usize).copied().unwrap_or_default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, all] = [0.5, 0.99, 1.0].map(|part| self.at(part));
        write!(f, "p50 {half:.1?}, p99 {most:.1?}, at most {all:.1?}")
    }
}
