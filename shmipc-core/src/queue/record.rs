//! Records: kinds, flags, and their two words.

use crate::error::PeerMisbehaved;
use crate::layout::RECORD_ALIGN;
use crate::mem::Raw;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// Fills the end of the ring.
    Pad = 1,
    /// Payload inside the record.
    Inline = 2,
    /// Payload in an extent that the record names.
    Extent = 3,
    /// Opens a stream and says nothing else.
    Open = 4,
    /// Ends the sender's direction of a stream.
    Finish = 5,
    /// Breaks the sender's direction of a stream off; `value` is the application's code.
    Reset = 6,
    /// Asks the peer to stop sending on a stream; `value` is the application's code.
    Stop = 7,
    /// Stream credit: `value` is the cumulative grant in units of 64 bytes, modulo 2^32.
    Window = 8,
    /// Session credit: the stream word is the cumulative grant in bytes.
    SessionWindow = 9,
    /// The writer lacks memory: please return what is unread.
    Need = 10,
}

/// Flags of a record that carries data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// The stream begins with this record.
    pub const OPEN: Self = Self(1);
    /// The message goes on in the next record of the stream.
    pub const MORE: Self = Self(2);
    /// The sender's direction ends with this record.
    pub const FIN: Self = Self(4);

    /// No flag.
    pub const fn none() -> Self {
        Self(0)
    }

    /// True if all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// A peer that was sent both would end the session.
    #[inline]
    pub(crate) const fn assert_possible(self) {
        let both = self.contains(Self::MORE) && self.contains(Self::FIN);
        assert!(!both, "a message cannot both go on and end the stream");
    }

    /// Sets the flags of `other` if `condition` holds.
    #[must_use]
    pub const fn with_if(self, other: Self, condition: bool) -> Self {
        if condition { Self(self.0 | other.0) } else { self }
    }
}

/// The two words at the start of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the record says.
    pub kind: Kind,
    /// Flags, for kinds that carry data.
    pub flags: Flags,
    /// Bytes of inline payload or padding; the value of other kinds.
    pub value: u32,
    /// The stream, or the value of a session window.
    pub stream: u64,
}

impl Header {
    /// A record without payload.
    pub const fn control(kind: Kind, stream: u64, value: u32) -> Self {
        Self { kind, flags: Flags::none(), value, stream }
    }

    /// The first word.
    pub(super) fn word(&self) -> u64 {
        u64::from(self.kind as u8) | (u64::from(self.flags.0) << 8) | (u64::from(self.value) << 32)
    }

    /// Parses the first word; the second is any number.
    pub(super) fn parse(word: Raw<u64>, stream: u64) -> Result<Self, PeerMisbehaved> {
        let kind = word.parse(kind_of, PeerMisbehaved::RecordKind)?;
        let flags = word.parse(|w| flags_of(kind, w), PeerMisbehaved::RecordFlags)?;
        let value = word.parse(|w| u32::try_from(w >> 32).ok(), PeerMisbehaved::RecordLength)?;
        Ok(Self { kind, flags, value, stream })
    }

    /// The length of inline payload, and whether the direction ends with it, if the first word is that of
    /// an inline record without other flags and no longer than `max`.
    #[inline]
    pub(super) fn plain_inline(word: Raw<u64>, max: u32) -> Option<(u32, bool)> {
        const PLAIN: u32 = Kind::Inline as u32;
        const LAST: u32 = PLAIN | (Flags::FIN.0 as u32) << 8;
        let plain = |word: u64| {
            let (len, low) = ((word >> 32) as u32, word as u32);
            ((low == PLAIN || low == LAST) && len <= max).then_some((len, low == LAST))
        };
        word.parse(plain, PeerMisbehaved::RecordKind).ok()
    }

    /// Bytes the record takes in the ring.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::Pad | Kind::Inline => {
                16 + u64::from(self.value).next_multiple_of(u64::from(RECORD_ALIGN))
            }
            Kind::Extent => 32,
            _ => 16,
        }
    }

    /// True for kinds that may use the control reserve.
    pub fn is_control(&self) -> bool {
        matches!(
            self.kind,
            Kind::Finish
                | Kind::Reset
                | Kind::Stop
                | Kind::Window
                | Kind::SessionWindow
                | Kind::Need
        )
    }
}

fn kind_of(word: u64) -> Option<Kind> {
    Some(match word & 0xff {
        1 => Kind::Pad,
        2 => Kind::Inline,
        3 => Kind::Extent,
        4 => Kind::Open,
        5 => Kind::Finish,
        6 => Kind::Reset,
        7 => Kind::Stop,
        8 => Kind::Window,
        9 => Kind::SessionWindow,
        10 => Kind::Need,
        _ => return None,
    })
}

/// Data may carry any of the three flags, but a message cannot both go on and end the stream; an open
/// carries its own flag, a finish may carry it, and nothing else any. The two unused bytes are zero.
fn flags_of(kind: Kind, word: u64) -> Option<Flags> {
    let flags = Flags(((word >> 8) & 0xff) as u8);
    let fits = match kind {
        Kind::Inline | Kind::Extent => {
            flags.0 < 8 && !(flags.contains(Flags::MORE) && flags.contains(Flags::FIN))
        }
        Kind::Open => flags == Flags::OPEN,
        Kind::Finish => flags.0 <= Flags::OPEN.0,
        _ => flags.0 == 0,
    };
    (fits && (word >> 16) & 0xffff == 0).then_some(flags)
}

/// Names an extent of the writer's arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentRef {
    /// The segment.
    pub segment: u32,
    /// What to return it by.
    pub id: u32,
    /// Where it starts, bytes; a multiple of 64.
    pub offset: u64,
    /// Bytes of payload.
    pub len: u32,
}

impl ExtentRef {
    /// The two words behind the header.
    pub(super) fn words(&self) -> (u64, u64) {
        let place = u64::from(self.segment) | (u64::from(self.id) << 32);
        (place, (self.offset / 64) | (u64::from(self.len) << 32))
    }

    /// Unpacks the two words. All values are possible: whoever uses them checks them.
    pub(super) fn from_words(place: u64, range: u64) -> Self {
        let (low, high) = (|w: u64| (w & 0xffff_ffff) as u32, |w: u64| (w >> 32) as u32);
        Self {
            segment: low(place),
            id: high(place),
            offset: u64::from(low(range)) << 6,
            len: high(range),
        }
    }
}
