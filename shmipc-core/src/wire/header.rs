//! The 8 bytes at the start of every frame.

use super::WireError;
use crate::error::PeerMisbehaved;
use crate::mem::Raw;

/// Bytes of a header.
pub const HEADER: usize = 8;
/// Most bytes of a frame, header included (W1).
pub const MAX_FRAME: usize = 4096;
/// Marks a frame of any dialect of Shmipc.
pub const MAGIC: u16 = 0x7758;
/// The dialect spoken here.
pub const VERSION: u8 = 16;
/// Dialects of earlier implementations: recognised, and refused by name.
pub const OLDER_DIALECTS: [u8; 3] = [2, 3, 4];

/// Frame types of [`VERSION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hello = 1,
    Refuse = 2,
    Outbox = 3,
    Ready = 4,
    Bell = 5,
    AddSegment = 6,
    RetireSegment = 7,
    Close = 8,
    Claim = 16,
    Offer = 17,
    Yield = 18,
    Serving = 19,
    Release = 20,
}

impl Kind {
    /// The type of a frame that we have encoded.
    #[cfg(feature = "steps")]
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        Self::from_wire(*frame.get(HEADER - 1)?)
    }

    fn from_wire(kind: u8) -> Option<Self> {
        Some(match kind {
            1 => Self::Hello,
            2 => Self::Refuse,
            3 => Self::Outbox,
            4 => Self::Ready,
            5 => Self::Bell,
            6 => Self::AddSegment,
            7 => Self::RetireSegment,
            8 => Self::Close,
            16 => Self::Claim,
            17 => Self::Offer,
            18 => Self::Yield,
            19 => Self::Serving,
            20 => Self::Release,
            _ => return None,
        })
    }

    /// Most descriptors that a frame of this type can declare (W2).
    pub(super) fn max_fds(self) -> usize {
        match self {
            Self::Outbox => 3,
            Self::AddSegment | Self::Claim => 1,
            Self::Offer => 5,
            _ => 0,
        }
    }
}

/// A checked header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the frame, header included: from [`HEADER`] to [`MAX_FRAME`].
    pub(super) length: usize,
    pub(super) kind: Kind,
}

impl Header {
    /// Checks the first 8 bytes of a frame. The version comes before length and type, since those may
    /// mean something else in another version.
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Result<Self, WireError> {
        let [l0, l1, l2, l3, m0, m1, version, kind] = *bytes;
        let rule = PeerMisbehaved::Frame;
        Raw::new(u16::from_be_bytes([m0, m1])).parse(|m| (m == MAGIC).then_some(()), rule)?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let in_bounds =
            |l: u32| usize::try_from(l).ok().filter(|l| (HEADER..=MAX_FRAME).contains(l));
        let length = Raw::new(u32::from_be_bytes([l0, l1, l2, l3])).parse(in_bounds, rule)?;
        let kind = Raw::new(kind).parse(Kind::from_wire, rule)?;
        Ok(Self { length, kind })
    }
}
