//! Numbers that came from the peer.

use crate::error::PeerMisbehaved;

/// A number from the peer: no arithmetic, no conversion, one door out ([`Raw::parse`]).
#[derive(Clone, Copy)]
pub struct Raw<T>(T);

impl<T: Copy> Raw<T> {
    /// Marks a number as not yet checked.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The door: `check` turns the number into something that holds for local geometry, or names the
    /// rule it breaks.
    pub fn parse<U>(
        self,
        check: impl FnOnce(T) -> Option<U>,
        otherwise: PeerMisbehaved,
    ) -> Result<U, PeerMisbehaved> {
        check(self.0).ok_or(otherwise)
    }
}

impl<T: PartialEq> PartialEq<T> for Raw<T> {
    fn eq(&self, other: &T) -> bool {
        self.0 == *other
    }
}

impl<T: PartialEq> PartialEq for Raw<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Raw<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raw({:?})", self.0)
    }
}
