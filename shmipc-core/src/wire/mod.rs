//! Control frames on the session's socket: how they look, and reading them from a byte stream.
//!
//! The socket carries little: the handshake, announcements of segments, the goodbye, and the bell.
//! Every frame starts with the 8 bytes that all dialects of Shmipc share, in big-endian order:
//!
//! ```text
//!   0        4        6         7      8
//!   | length | 0x7758 | version | type | body …           length counts from byte 0
//! ```
//!
//! | type | body | descriptors | who, when |
//! |---|---|---|---|
//! | 1 Hello | see [`Hello`] | – | each side once, first |
//! | 2 Refuse | reason, number, text | – | last word of a handshake |
//! | 3 Outbox | presence bits | segment 0, then a pidfd, then an eventfd, if their bits are set | each side once |
//! | 4 Ready | – | – | client, ends the handshake |
//! | 5 Bell | – | – | any time after |
//! | 6 AddSegment | id, bytes, class | the segment | any time after |
//! | 7 RetireSegment | id | – | any time after |
//! | 8 Close | code | – | last word of a session |
//! | 9 | reserved: descriptors of the application, passed over a stream | | |
//!
//! On the upgrade socket of a server ([`crate::upgrade`]), Ready and Refuse mean what fits there, and there
//! are some more:
//!
//! | type | body | descriptors | who, when |
//! |---|---|---|---|
//! | 16 Claim | see [`Claim`] | a pidfd | successor, first |
//! | 17 Offer | see [`Offer`] | listener, upgrade socket, then pidfd and locks if their bits are set | predecessor, once |
//! | 18 Yield | – | – | predecessor, after Ready |
//! | 19 Serving | – | – | successor, after Yield |
//! | 20 Release | – | – | successor, its last word |
//!
//! # Invariants
//! * **W1** A frame is at most [`MAX_FRAME`] bytes, and a length is believed only after that check.
//!   A [`Decoder`] that is drained between reads holds at most one unfinished frame.
//! * **W2** A frame's type and body declare how many descriptors belong to it. They arrive with its
//!   first byte or not at all, and fewer or more end the connection.
//! * **W3** Decoding depends on the bytes alone, not on how the kernel cut them.
//! * **W4** A Hello, a Claim and a Refuse may grow at the end: what follows the fields known here is ignored,
//!   because they are sent before the sides know each other's version. All other frames are exact.
//! * **W5** A number that means something only together with local state (segments) leaves this module
//!   as a [`Raw`](crate::mem::Raw).

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic
)]

mod body;
mod decoder;
mod encode;
mod frame;
mod header;
mod hello;
mod upgrade;

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic
)]
mod tests;

pub use decoder::Decoder;
pub use encode::{BELL, add_segment, close, outbox, ready, refuse, retire_segment};
pub use frame::{AddSegment, Frame, Outbox, Refuse, SegmentClass};
#[cfg(feature = "steps")]
pub(crate) use header::Kind as FrameKind;
pub use header::{HEADER, MAGIC, MAX_FRAME, OLDER_DIALECTS, VERSION};
pub use hello::{Features, Hello, MAX_NAME};
pub use upgrade::{Claim, Inode, Offer, offer, release, serving, yield_};

use crate::error::PeerMisbehaved;

/// Why the bytes of a peer are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A header of Shmipc with another version than [`VERSION`].
    #[error("the peer speaks version {0}")]
    Version(u8),
    /// Not a frame of any version, or a malformed one.
    #[error(transparent)]
    Misbehaved(#[from] PeerMisbehaved),
}

impl From<WireError> for PeerMisbehaved {
    /// After the handshake a foreign version is just another malformed frame.
    fn from(error: WireError) -> Self {
        match error {
            WireError::Version(_) => Self::Frame,
            WireError::Misbehaved(rule) => rule,
        }
    }
}
