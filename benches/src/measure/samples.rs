//! Durations of operations, and the statistics of few values.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest duration that is told apart from longer ones: 100 s in picoseconds.
const LONGEST: u64 = 100_000_000_000_000;

/// How far apart two readings of a clock may be at least, in picoseconds.
const COARSEST_STEP: f64 = 10_000.0;

/// A histogram of nanoseconds, kept in picoseconds since a message may take twenty nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Counts", into = "Counts")]
pub(crate) struct Samples {
    picoseconds: Histogram<u64>,
}

/// Values that have occurred, and how often: what travels from one process to another.
type Counts = Vec<(u64, u64)>;

impl From<Counts> for Samples {
    fn from(counts: Counts) -> Self {
        let mut samples = Self::new();
        for (value, count) in counts {
            samples.picoseconds.saturating_record_n(value, count);
        }
        samples
    }
}

impl From<Samples> for Counts {
    fn from(samples: Samples) -> Self {
        let values = samples.picoseconds.iter_recorded();
        values.map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
    }
}

impl Samples {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3);
        Self {
            picoseconds: histogram.expect("the bounds are a range and three digits are allowed"),
        }
    }

    /// Notes that `ops` operations took `ns` together.
    #[inline]
    pub(crate) fn record(&mut self, ns: u64, ops: u64) {
        self.picoseconds.saturating_record(ns * 1000 / ops);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.picoseconds.add(&other.picoseconds).expect("all histograms have the same bounds");
    }

    /// The middle of the durations in nanoseconds.
    ///
    /// Some processors count time in steps of 10 ns, a seventh of a line's round trip. So a value
    /// stands for all between it and half the way to its neighbours, and the middle lies where the
    /// counts say.
    pub(crate) fn median_ns(&self) -> f64 {
        let half = self.picoseconds.len() as f64 / 2.0;
        let mut values = self.picoseconds.iter_recorded().peekable();
        let (mut below, mut previous) = (0.0, None);
        while let Some(step) = values.next() {
            let value = step.value_iterated_to() as f64;
            let count = step.count_at_value() as f64;
            if below + count >= half {
                let next = values.peek().map(|step| step.value_iterated_to() as f64);
                let gap = |other: Option<f64>| other.map_or(f64::MAX, |o: f64| (value - o).abs());
                let width = gap(previous).min(gap(next)).min(COARSEST_STEP);
                return (value + width * ((half - below) / count - 0.5)) / 1000.0;
            }
            below += count;
            previous = Some(value);
        }
        0.0
    }

    /// The duration in nanoseconds that the fraction `quantile` of the operations stays within.
    pub(crate) fn quantile_ns(&self, quantile: f64) -> f64 {
        self.picoseconds.value_at_quantile(quantile) as f64 / 1000.0
    }

    pub(crate) fn max_ns(&self) -> f64 {
        self.picoseconds.max() as f64 / 1000.0
    }
}

/// The value in the middle, or between the two in the middle. Zero if there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    quartile(&sorted(values), 0.5)
}

/// How far the values lie apart: the distance between their quartiles, relative to the median.
pub(crate) fn spread(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let middle = quartile(&sorted, 0.5);
    if middle == 0.0 { 0.0 } else { (quartile(&sorted, 0.75) - quartile(&sorted, 0.25)) / middle }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The value at `fraction` of the way through `sorted`, between its neighbours if need be.
fn quartile(sorted: &[f64], fraction: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = fraction * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[9.0, 1.0, 5.0, 7.0]), 6.0);
    }

    #[test]
    fn spread_is_the_middle_half_over_the_median() {
        assert_eq!(spread(&[]), 0.0);
        assert_eq!(spread(&[4.0, 4.0, 4.0]), 0.0);
        assert_eq!(spread(&[8.0, 9.0, 10.0, 11.0, 12.0]), 0.2);
        // One block that went astray does not count.
        assert_eq!(spread(&[10.0, 10.0, 10.0, 10.0, 1000.0]), 0.0);
    }

    #[test]
    fn the_middle_lies_between_the_steps_of_a_coarse_clock() {
        let mut samples = Samples::new();
        assert_eq!(samples.median_ns(), 0.0);
        for (ns, count) in [(70, 700), (80, 300), (1_000_000, 1)] {
            (0..count).for_each(|_| samples.record(ns, 1));
        }
        // 500.5 of the 700 that lie between 65 and 75.
        assert!((samples.median_ns() - 72.15).abs() < 0.1, "{}", samples.median_ns());
    }

    #[test]
    fn samples_resolve_less_than_a_nanosecond() {
        let mut samples = Samples::new();
        for _ in 0..1000 {
            samples.record(5632, 256);
        }
        samples.record(1_000_000, 1);
        assert!((samples.median_ns() - 22.0).abs() < 0.03, "{}", samples.median_ns());
        assert!((samples.max_ns() / 1e6 - 1.0).abs() < 1e-3);
        let mut merged = Samples::new();
        merged.add(&samples);
        merged.add(&Samples::from(Counts::from(samples.clone())));
        assert_eq!(merged.max_ns(), samples.max_ns());
        assert!((merged.quantile_ns(0.99) - 22.0).abs() < 0.03);
    }
}
