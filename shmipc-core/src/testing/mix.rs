//! Hashes that tell the states of a model apart.

use std::hash::Hasher;

/// Two lanes of multiply and fold.
pub(crate) struct Mix(u64, u64);

impl Default for Mix {
    fn default() -> Self {
        Self(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344)
    }
}

impl Mix {
    pub(crate) fn add(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, 0x9e37_79b9_7f4a_7c15);
        self.1 = fold(self.1 ^ word.rotate_left(32), 0xc2b2_ae3d_27d4_eb4f);
    }

    pub(crate) fn finish(&self) -> u128 {
        u128::from(fold(self.0, 0xff51_afd7_ed55_8ccd)) << 64
            | u128::from(fold(self.1, 0xc4ce_b9fe_1a85_ec53))
    }
}

/// For states that derive their hash.
impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            self.add(word.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn finish(&self) -> u64 {
        Self::finish(self) as u64
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ b.rotate_left(17)) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}
