//! The first frame of each side: what it is, offers, and wishes.

use super::body::Body;
use super::encode::Writer;
use super::header::Kind;
use crate::config::{BellKind, Limits, WaitMode};

/// Most bytes of an application protocol's name.
pub const MAX_NAME: usize = 255;

/// Optional parts of the protocol, one bit each. A session uses those that both sides have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u64);

impl Features {
    /// Knows the eventfd bell. It is used only if both sides also ask for it and trust each other.
    pub const EVENTFD_BELL: Self = Self(1);
    /// Everything that this version of the library knows.
    pub const SUPPORTED: Self = Self::EVENTFD_BELL;

    /// Features from the bits of a Hello, unknown ones included.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// What both have.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether every feature of `other` is in here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What one side says about itself before anything else.
///
/// ```text
///   8 word bits | byte order | wait | bell | trusts | 3 zeros       a byte each
///  16 features                                                      8 bytes
///  24 ring_bytes max_streams inline_max max_lent stream_window
///     unread_max arena_max max_message                              4 bytes each
///  56 application version                                           4 bytes
///  60 length of the application's name, name                        2 bytes, then as many
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Bits of a machine word.
    pub word_bits: u8,
    /// Whether words in shared memory are little-endian; big-endian otherwise.
    pub little_endian: bool,
    /// How its threads wait. Informative.
    pub wait: WaitMode,
    /// The bell it asks for.
    pub bell: BellKind,
    /// Whether it trusts us not to write what we lent it.
    pub trusts: bool,
    /// Optional parts of the protocol it knows.
    pub features: Features,
    /// Its limits, within their bounds.
    pub limits: Limits,
    /// Version of its application protocol.
    pub app_version: u32,
    /// Name of its application protocol, at most [`MAX_NAME`] bytes.
    pub app_name: String,
}

impl Hello {
    /// Whether words in shared memory look the same on this machine.
    pub fn fits_this_machine(&self) -> bool {
        u32::from(self.word_bits) == usize::BITS
            && self.little_endian == cfg!(target_endian = "little")
    }

    /// Parses a body. Wishes that are not known here count as the default (W4).
    pub(super) fn parse(mut body: Body<'_>) -> Option<Self> {
        let word_bits = body.u8()?;
        let little_endian = match body.u8()? {
            1 => true,
            2 => false,
            _ => return None,
        };
        let wait = wait_from_wire(body.u8()?);
        let bell = if body.u8()? == 1 { BellKind::Eventfd } else { BellKind::Socket };
        let trusts = body.u8()? == 1;
        body.zeros::<3>()?;
        let features = Features::from_bits(body.u64()?);
        let limits = Limits {
            ring_bytes: body.u32()?,
            max_streams: body.u32()?,
            inline_max: body.u32()?,
            max_lent: body.u32()?,
            stream_window: body.u32()?,
            unread_max: body.u32()?,
            arena_max: body.u32()?,
            max_message: body.u32()?,
        };
        limits.check().ok()?;
        let app_version = body.u32()?;
        let app_name = body.text(MAX_NAME)?.to_owned();
        Some(Self {
            word_bits,
            little_endian,
            wait,
            bell,
            trusts,
            features,
            limits,
            app_version,
            app_name,
        })
    }

    /// The frame.
    pub fn encode(&self) -> Vec<u8> {
        let l = &self.limits;
        let sizes = [
            l.ring_bytes,
            l.max_streams,
            l.inline_max,
            l.max_lent,
            l.stream_window,
            l.unread_max,
            l.arena_max,
            l.max_message,
        ];
        let order = if self.little_endian { 1 } else { 2 };
        let bell = u8::from(self.bell == BellKind::Eventfd);
        let mut frame = Writer::new(Kind::Hello);
        frame.bytes(&[self.word_bits, order, wait_to_wire(self.wait), bell]);
        frame.bytes(&[u8::from(self.trusts), 0, 0, 0]);
        frame.bytes(&self.features.bits().to_be_bytes());
        sizes.iter().for_each(|size| frame.bytes(&size.to_be_bytes()));
        frame.bytes(&self.app_version.to_be_bytes());
        frame.text(&self.app_name, MAX_NAME);
        frame.finish()
    }
}

fn wait_from_wire(wait: u8) -> WaitMode {
    match wait {
        1 => WaitMode::Spin,
        2 => WaitMode::Block,
        _ => WaitMode::Adaptive,
    }
}

fn wait_to_wire(wait: WaitMode) -> u8 {
    match wait {
        WaitMode::Adaptive => 0,
        WaitMode::Spin => 1,
        WaitMode::Block => 2,
    }
}
