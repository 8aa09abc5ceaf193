//! Contents that can be checked, and random numbers that both ends know.

/// Contents of a message, different for every seed, length and place.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill(&mut bytes, seed);
    bytes
}

/// Writes the contents of [`pattern`].
pub fn fill(bytes: &mut [u8], seed: u64) {
    let mut random = Random::new(seed ^ (bytes.len() as u64) << 32);
    for chunk in bytes.chunks_mut(8) {
        let word = random.next().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// Fails the test unless these are the contents of [`pattern`].
#[track_caller]
pub fn check(bytes: &[u8], seed: u64, len: usize) {
    assert_eq!(bytes.len(), len, "length of message {seed}");
    let expected = pattern(seed, len);
    if bytes != expected {
        let at = bytes.iter().zip(&expected).position(|(a, b)| a != b);
        panic!("message {seed} of {len} bytes differs from byte {at:?} on");
    }
}

/// Random numbers: the same for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number (xorshift).
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }

    /// A size: mostly small, some around 4 KiB, few up to `max`.
    pub fn size(&mut self, max: usize) -> usize {
        let range = match self.below(20) {
            0..12 => 200,
            12..18 => 8 << 10,
            18 => 64 << 10,
            _ => max,
        };
        self.below(range.min(max) + 1)
    }
}
