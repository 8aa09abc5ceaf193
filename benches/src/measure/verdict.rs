//! Whether one figure is better than another, or nobody can tell.

use serde::Serialize;

use super::Figures;

/// With fewer blocks than these nothing is judged.
pub(crate) const ENOUGH_BLOCKS: usize = 10;

/// A figure beside another, in what their benchmark is about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    /// How many times the other's duration, or rate, this one has.
    pub(crate) ratio: f64,
    /// The larger spread of the two: a smaller margin says nothing.
    pub(crate) spread: f64,
    blocks: usize,
}

impl Verdict {
    pub(crate) fn new(figure: &Figures, other: &Figures) -> Self {
        let about = |figure: &Figures| match figure.bench.is_about_durations() {
            true => figure.p50_ns,
            false => figure.msgs_per_s,
        };
        Self {
            ratio: about(figure) / about(other),
            spread: figure.spread.max(other.spread),
            blocks: figure.blocks.min(other.blocks),
        }
    }

    /// The ratio, if the margin exceeds the spread.
    pub(crate) fn counts(self) -> Option<f64> {
        // A half and the double are equally far from one.
        let margin = self.ratio.max(1.0 / self.ratio) - 1.0;
        (self.blocks >= ENOUGH_BLOCKS && margin > self.spread).then_some(self.ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(ratio: f64, spread: f64) -> Verdict {
        Verdict { ratio, spread, blocks: ENOUGH_BLOCKS }
    }

    #[test]
    fn a_margin_within_the_spread_is_no_verdict() {
        assert_eq!(verdict(1.10, 0.09).counts(), Some(1.10));
        assert_eq!(verdict(1.10, 0.11).counts(), None);
        assert_eq!(verdict(0.5, 0.9).counts(), Some(0.5));
        assert_eq!(verdict(0.5, 1.1).counts(), None);
        assert_eq!(verdict(1.0, 0.0).counts(), None);
    }

    #[test]
    fn few_blocks_are_no_verdict() {
        assert_eq!(Verdict { blocks: ENOUGH_BLOCKS - 1, ..verdict(3.0, 0.1) }.counts(), None);
    }
}
