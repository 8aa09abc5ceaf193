//! Stream ids: who opened it, in which place, and which use of the place it is.

use crate::handshake::Role;

/// Set in ids of streams that the server opened.
const BY_SERVER: u64 = 1 << 31;

/// Names a stream for the life of the session.
///
/// Bits 0–30 are the place (which finds the stream without hashing), bit 31 says who opened it, bits
/// 32–63 count the uses of the place, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(u64);

impl StreamId {
    /// The id of the `generation`-th use of `place` by `opener`.
    pub fn new(opener: Role, place: u32, generation: u32) -> Self {
        let by = if opener == Role::Server { BY_SERVER } else { 0 };
        Self(u64::from(generation) << 32 | by | u64::from(place))
    }

    /// The id in a record; any number is one.
    pub fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word for a record.
    pub fn word(self) -> u64 {
        self.0
    }

    /// Who opened it.
    pub fn opener(self) -> Role {
        if self.0 & BY_SERVER == 0 { Role::Client } else { Role::Server }
    }

    /// Its place among the opener's streams.
    pub fn place(self) -> u32 {
        (self.0 & (BY_SERVER - 1)) as u32
    }

    /// Which use of the place it is.
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl std::fmt::Debug for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}:{}.{}", self.opener(), self.place(), self.generation())
    }
}
