//! What every transport does to every payload: the sender writes each byte, the receiver checks
//! each byte.
//!
//! Message `seq` consists of the words `seed(seq) + 0, + 1, + 2, …`, so a byte that is stale, was
//! not written or sits at the wrong place does not match. Both loops compile to vector code that
//! runs at the speed of a copy; they are the same for all transports, so that a difference between
//! two transports is theirs.

#[cfg(feature = "peers")]
use std::mem::MaybeUninit;

use crate::args::{Size, Touch};

/// Writes and checks payload, or with `--touch none` leaves it alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload {
    touch: bool,
    /// The longest message.
    size: usize,
    mixed: bool,
}

impl Payload {
    pub(crate) fn new(touch: Touch, Size(size): Size) -> Self {
        Self { touch: touch == Touch::All, size, mixed: false }
    }

    /// Messages of every length from [`SHORTEST`] to the longest, each double as long half as often.
    pub(crate) fn mixed(self) -> Self {
        Self { mixed: true, ..self }
    }

    /// How many bytes message `seq` has.
    #[inline]
    pub(crate) fn len(self, seq: u64) -> usize {
        if !self.mixed {
            return self.size;
        }
        // The upper bits of a product are well mixed, and doubling stops at the first that is one.
        let doublings = seed(seq).leading_zeros();
        (SHORTEST << doublings.min(30)).min(self.size)
    }

    /// How many bytes a message has on average.
    pub(crate) fn mean_len(self) -> f64 {
        match self.size / SHORTEST {
            steps if self.mixed && steps > 0 => {
                SHORTEST as f64 * (1.0 + f64::from(steps.ilog2()) / 2.0)
            }
            _ => self.size as f64,
        }
    }

    /// Makes `bytes` the payload of message `seq`.
    #[inline]
    pub(crate) fn fill(self, bytes: &mut [u8], seq: u64) {
        if self.touch {
            fill(bytes, seq);
        }
    }

    /// The same in memory that is not initialised. All of it is, also if the payload is left alone.
    #[cfg(feature = "peers")]
    #[inline]
    pub(crate) fn fill_new(self, bytes: &mut [MaybeUninit<u8>], seq: u64) {
        let seed = if self.touch { seed(seq) } else { 0 };
        let (words, rest) = bytes.as_chunks_mut::<8>();
        let last = words.len() as u64;
        for (at, word) in words.iter_mut().enumerate() {
            *word = seed.wrapping_add(at as u64).to_ne_bytes().map(MaybeUninit::new);
        }
        for (byte, value) in rest.iter_mut().zip(seed.wrapping_add(last).to_ne_bytes()) {
            byte.write(value);
        }
    }

    /// The number of the message whose payload begins with `bytes`.
    pub(crate) fn number(self, bytes: &[u8]) -> u64 {
        bytes.first_chunk().map_or(0, |word| number(u64::from_ne_bytes(*word)))
    }

    /// Panics unless `bytes` are the payload of message `seq`.
    #[inline]
    pub(crate) fn check(self, bytes: &[u8], seq: u64) {
        if self.touch && !matches(bytes, seq) {
            complain(bytes, seq);
        }
    }
}

fn fill(bytes: &mut [u8], seq: u64) {
    let seed = seed(seq);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    let last = words.len() as u64;
    for (at, word) in words.iter_mut().enumerate() {
        *word = seed.wrapping_add(at as u64).to_ne_bytes();
    }
    if !rest.is_empty() {
        rest.copy_from_slice(&seed.wrapping_add(last).to_ne_bytes()[..rest.len()]);
    }
}

fn matches(bytes: &[u8], seq: u64) -> bool {
    let seed = seed(seq);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut difference = 0;
    for (at, word) in words.iter().enumerate() {
        difference |= u64::from_ne_bytes(*word) ^ seed.wrapping_add(at as u64);
    }
    let last = seed.wrapping_add(words.len() as u64).to_ne_bytes();
    difference == 0 && (rest.is_empty() || *rest == last[..rest.len()])
}

/// The shortest of mixed messages.
const SHORTEST: usize = 64;

/// Odd, so that multiplying can be undone.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const GATHER: u64 = 0xf1de_83e1_9937_733d;

/// Spreads the numbers of messages over all bits, so that neighbours share no byte.
fn seed(seq: u64) -> u64 {
    seq.wrapping_add(1).wrapping_mul(SPREAD)
}

/// The number that has this seed.
fn number(seed: u64) -> u64 {
    seed.wrapping_mul(GATHER).wrapping_sub(1)
}

#[cold]
fn complain(bytes: &[u8], seq: u64) -> ! {
    let mut expected = vec![0; bytes.len()];
    fill(&mut expected, seq);
    let wrong = bytes.iter().zip(&expected).filter(|(is, should)| is != should).count();
    let first = bytes.iter().zip(&expected).position(|(is, should)| is != should).unwrap_or(0);
    panic!(
        "message {seq}: {wrong} of {} bytes are wrong, the first at {first}: {:#04x} instead of {:#04x}",
        bytes.len(),
        bytes[first],
        expected[first],
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_matches_only_its_own_number() {
        for len in [0, 1, 7, 8, 9, 64, 4096, 4099] {
            let mut bytes = vec![0xa5; len];
            fill(&mut bytes, 41);
            assert!(matches(&bytes, 41));
            assert_eq!(matches(&bytes, 42), len == 0);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = vec![0; 77];
        fill(&mut bytes, 3);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert!(!matches(&bytes, 3), "bit {bit} of byte {at}");
                bytes[at] ^= 1 << bit;
            }
        }
    }

    #[test]
    fn swapped_words_are_noticed() {
        let mut bytes = vec![0; 64];
        fill(&mut bytes, 3);
        bytes.rotate_left(8);
        assert!(!matches(&bytes, 3));
    }

    #[test]
    #[should_panic(expected = "message 9: 1 of 64 bytes are wrong, the first at 17")]
    fn a_wrong_byte_panics() {
        let payload = Payload::new(Touch::All, Size(64));
        let mut bytes = [0; 64];
        payload.fill(&mut bytes, 9);
        bytes[17] ^= 0xff;
        payload.check(&bytes, 9);
    }

    #[test]
    fn a_payload_tells_its_number() {
        let payload = Payload::new(Touch::All, Size(64));
        for seq in [0, 1, 41, 1 << 40, u64::MAX] {
            let mut bytes = [0; 9];
            payload.fill(&mut bytes, seq);
            assert_eq!(payload.number(&bytes), seq);
        }
    }

    #[test]
    fn touch_none_leaves_the_bytes_alone() {
        let payload = Payload::new(Touch::None, Size(64));
        let mut bytes = [7; 64];
        payload.fill(&mut bytes, 9);
        payload.check(&bytes, 9);
        assert_eq!(bytes, [7; 64]);
    }

    #[test]
    fn mixed_messages_have_every_length_and_the_mean_that_is_told() {
        let payload = Payload::new(Touch::All, Size(1 << 20)).mixed();
        let lens: Vec<usize> = (0..1 << 18).map(|seq| payload.len(seq)).collect();
        for doublings in 0..=14 {
            assert!(lens.contains(&(64 << doublings)), "{doublings}");
        }
        assert!(lens.iter().all(|&len| (64..=1 << 20).contains(&len)));
        let mean = lens.iter().sum::<usize>() as f64 / lens.len() as f64;
        assert!((mean / payload.mean_len() - 1.0).abs() < 0.2, "{mean} {}", payload.mean_len());
        assert_eq!(Payload::new(Touch::All, Size(8)).mixed().len(7), 8);
    }
}
