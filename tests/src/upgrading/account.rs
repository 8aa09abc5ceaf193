//! What has become of every message, by the notes of both sides.

use std::fmt;

use super::message::Name;
use super::{Place, records};

/// What a client knows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// The right reply came.
    Answered,
    /// The server has certainly not seen it.
    NotSent,
    /// The server may have acted on it.
    Unknown,
    /// There is no use in repeating it.
    Refused,
    /// A reply came that is not its own.
    Wrong,
    /// A stream that had begun was over; the server has certainly not seen it.
    Broken,
}

/// Messages of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Answered, done once.
    pub good: u64,
    /// Reported to be `Unknown`, and done once or not at all.
    pub unknown: u64,
    /// Reported to be not sent or refused, and not done: a call, or the beginning of a stream, that found no
    /// server until its deadline.
    pub failed: u64,
    /// Not sent, since their stream broke before, and not done.
    pub broken: u64,
    /// Answered and not done, or done and never reported as anything.
    pub lost: u64,
    /// Done more than once, or though they were reported not to be sent.
    pub duplicated: u64,
    /// Done, or answered, before an earlier one of their stream.
    pub reordered: u64,
}

impl Sum {
    /// Reads the notes.
    pub fn of(place: &Place) -> Self {
        Self::count(&records(&place.done()), &records(&place.outcomes()))
    }

    pub(super) fn count(done: &[Name], outcomes: &[[u32; 4]]) -> Self {
        let mut sum = Self::default();
        let (mut done, mut outcomes) = (done.to_vec(), outcomes.to_vec());
        // Those of a stream stay in the order in which they were done.
        done.sort_by_key(|&[client, stream, _]| [client, stream]);
        for of_stream in done.chunk_by(|one, other| one[..2] == other[..2]) {
            let mut next = 0;
            for [_, _, sequence] in of_stream {
                sum.reordered += u64::from(*sequence > next);
                next = sequence + 1;
            }
        }
        done.sort();
        outcomes.sort();
        let mut done = done.chunk_by(|one, other| one == other).peekable();
        for [client, stream, sequence, outcome] in outcomes {
            let name = [client, stream, sequence];
            // Nobody has reported them.
            while done.next_if(|same| same[0] < name).is_some() {
                sum.lost += 1;
            }
            let times = done.next_if(|same| same[0] == name).map_or(0, <[Name]>::len);
            let failed = [Outcome::NotSent as u32, Outcome::Refused as u32].contains(&outcome);
            let broken = outcome == Outcome::Broken as u32;
            let count = match times {
                2.. => &mut sum.duplicated,
                1 if failed || broken => &mut sum.duplicated,
                _ if failed => &mut sum.failed,
                _ if broken => &mut sum.broken,
                _ if outcome == Outcome::Unknown as u32 => &mut sum.unknown,
                0 => &mut sum.lost,
                _ if outcome == Outcome::Wrong as u32 => &mut sum.reordered,
                _ => &mut sum.good,
            };
            *count += 1;
        }
        sum.lost += done.count() as u64;
        sum
    }

    /// Whether nothing is lost, duplicated or reordered, and nothing has failed while there was a server: of
    /// what is not answered a server that was killed may have seen the message, or has begun its stream.
    pub fn is_honest(&self) -> bool {
        self.good > 0 && self.lost + self.duplicated + self.reordered + self.failed == 0
    }

    /// Whether every message was answered.
    pub fn is_perfect(&self) -> bool {
        self.is_honest() && self.unknown + self.broken == 0
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { good, unknown, failed, broken, lost, duplicated, reordered } = self;
        write!(f, "{good} answered, {failed} failed, {unknown} unknown, {broken} broken off, ")?;
        write!(f, "{lost} lost, {duplicated} duplicated, {reordered} reordered")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(done: &[Name], outcomes: &[(Name, Outcome)]) -> Sum {
        let outcomes: Vec<_> = outcomes
            .iter()
            .map(|&([client, stream, sequence], outcome)| {
                [client, stream, sequence, outcome as u32]
            })
            .collect();
        Sum::count(done, &outcomes)
    }

    /// Each kind of mishap is noticed.
    #[test]
    fn mishaps_are_counted() {
        use Outcome::{Answered, Broken, NotSent, Unknown, Wrong};
        const A: Name = [1, 1, 0];
        const B: Name = [1, 1, 1];
        let none = Sum::default();
        let good = Sum { good: 2, ..none };
        assert_eq!(count(&[A, B], &[(A, Answered), (B, Answered)]), good);
        assert!(good.is_perfect());
        let unknown = Sum { good: 1, unknown: 1, ..none };
        assert_eq!(count(&[A, B], &[(A, Answered), (B, Unknown)]), unknown);
        assert_eq!(count(&[A], &[(A, Answered), (B, Unknown)]), unknown);
        assert!(unknown.is_honest() && !unknown.is_perfect());
        let failed = Sum { good: 1, failed: 1, ..none };
        assert_eq!(count(&[A], &[(A, Answered), (B, NotSent)]), failed);
        assert!(!failed.is_honest() && !failed.is_perfect());
        let broken = Sum { good: 1, broken: 1, ..none };
        assert_eq!(count(&[A], &[(A, Answered), (B, Broken)]), broken);
        assert!(broken.is_honest() && !broken.is_perfect());
        for (done, outcomes, expected) in [
            (&[A][..], &[(A, Answered), (B, Answered)][..], Sum { good: 1, lost: 1, ..none }),
            (&[A, B], &[(A, Answered)], Sum { good: 1, lost: 1, ..none }),
            (&[A, A], &[(A, Answered)], Sum { duplicated: 1, ..none }),
            (&[A, A], &[(A, Unknown)], Sum { duplicated: 1, ..none }),
            (&[A], &[(A, NotSent)], Sum { duplicated: 1, ..none }),
            (&[A], &[(A, Broken)], Sum { duplicated: 1, ..none }),
            (&[A], &[(A, Wrong)], Sum { reordered: 1, ..none }),
            (&[B, A], &[(A, Answered), (B, Answered)], Sum { good: 2, reordered: 1, ..none }),
        ] {
            assert_eq!(count(done, outcomes), expected, "{done:?} {outcomes:?}");
            assert!(!expected.is_honest());
        }
    }
}
