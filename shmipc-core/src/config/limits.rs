//! The limits of one side, and their bounds.

use crate::error::ConfigError;

/// The limits of one side, in the units of the field names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of the record ring. A power of two, 4 KiB to 64 MiB. Default 128 KiB.
    pub ring_bytes: u32,
    /// Streams the peer may have open at one time. From 1 to 1 Mi, as far as the control reserve has room in the
    /// ring: `128 * max_streams + 256` is at most `ring_bytes * 3/8`, 382 with the default ring. Default 256.
    pub max_streams: u32,
    /// Largest payload carried inside a record, bytes. At most `ring_bytes/16 - 16` and `max_message`.
    /// Default 4,096.
    pub inline_max: u32,
    /// Extents lent, held, and segments not yet acknowledged, together. A power of two from 256 to 1 Mi, at least
    /// four times `4 + arena_max / 2 MiB`. Default 16,384.
    pub max_lent: u32,
    /// Unread bytes of one stream that the peer may send ahead. A multiple of 128, from 128 to 1 GiB.
    /// Default 256 KiB.
    pub stream_window: u32,
    /// Unread bytes of a whole session that the peer may send ahead: our promise of heap.
    /// A multiple of 512, from 4 KiB to 1 GiB. Default 16 MiB.
    pub unread_max: u32,
    /// Bytes of shared memory for payload of this side, made as messages need it. A power of two from 8 MiB to
    /// 2 GiB. Default 64 MiB.
    pub arena_max: u32,
    /// Largest message in one contiguous extent, bytes. From 1 to `arena_max / 8`. Default 4 MiB.
    pub max_message: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ring_bytes: 128 << 10,
            max_streams: 256,
            inline_max: 4096,
            max_lent: 16 << 10,
            stream_window: 256 << 10,
            unread_max: 16 << 20,
            arena_max: 64 << 20,
            max_message: 4 << 20,
        }
    }
}

impl Limits {
    /// Checks every limit against its bounds.
    ///
    /// # Errors
    /// [`ConfigError`] names the first limit out of bounds and what it may be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let ensure = |ok: bool, limit: &'static str, must: &'static str| {
            if ok { Ok(()) } else { Err(ConfigError { limit, must }) }
        };
        let power = |v: u32, min: u32, max: u32| v.is_power_of_two() && (min..=max).contains(&v);
        ensure(
            power(self.ring_bytes, 4 << 10, 64 << 20),
            "ring_bytes",
            "be a power of two from 4 KiB to 64 MiB",
        )?;
        ensure(
            (1..=1 << 20).contains(&self.max_streams),
            "max_streams",
            "lie between 1 and 1,048,576",
        )?;
        ensure(
            u64::from(self.max_streams) * 128 + 256 <= u64::from(self.ring_bytes) * 3 / 8,
            "max_streams",
            "leave room for the control reserve: 128 * max_streams + 256 <= ring_bytes * 3/8; raise ring_bytes",
        )?;
        ensure(
            self.inline_max <= self.ring_bytes / 16 - 16,
            "inline_max",
            "be at most ring_bytes/16 - 16",
        )?;
        ensure(
            power(self.arena_max, 8 << 20, 1 << 31),
            "arena_max",
            "be a power of two from 8 MiB to 2 GiB",
        )?;
        ensure(
            (1..=self.arena_max / 8).contains(&self.max_message),
            "max_message",
            "lie between 1 and arena_max/8",
        )?;
        ensure(self.inline_max <= self.max_message, "inline_max", "be at most max_message")?;
        ensure(
            power(self.max_lent, 256, 1 << 20),
            "max_lent",
            "be a power of two from 256 to 1,048,576",
        )?;
        ensure(
            self.max_lent / 4 >= crate::layout::max_segments(self.arena_max),
            "max_lent",
            "be at least four times the segments that arena_max allows (4 + arena_max / 2 MiB)",
        )?;
        ensure(
            self.stream_window >= 128
                && self.stream_window % 128 == 0
                && self.stream_window <= 1 << 30,
            "stream_window",
            "be a multiple of 128 from 128 to 1 GiB",
        )?;
        ensure(
            self.unread_max >= 4096 && self.unread_max % 512 == 0 && self.unread_max <= 1 << 30,
            "unread_max",
            "be a multiple of 512 from 4,096 to 1 GiB",
        )
    }
}
