//! Where everything lies in segment 0, computed in one place for both sides.
//!
//! Each side of a session owns an *outbox*; segment 0 of it holds what only its owner writes:
//!
//! ```text
//!     0  header      magic, version                                      written once
//!   128  tail        bytes of records published, free-running
//!   256  head        bytes of the peer's records consumed, free-running
//!   384  returned    entries of our return queue published, free-running
//!   512  event_tail      our event words: the position of the *peer's* cursor at
//!   640  event_head      whose passing we want to be rung
//!   768  event_returned
//!   896  cpu         the CPU our waiting thread runs on, plus one
//!  1024  leaving     the going-away word, and the final position behind it (1032)
//!  4096  ring        records to the peer            `ring_bytes`
//!     …  returns     ids of extents handed back     `4 * max_lent` of the *peer's* limit
//! ```
//!
//! Every word that is written while the session runs has a 128-byte line of its own (adjacent-line
//! prefetch). The offsets are part of the wire format and never come from a type's layout.
//!
//! # Invariants
//! * **L1** Both sides compute the same [`Geometry`] from the two [`Limits`] of the hellos, by
//!   [`negotiate`]; nothing in shared memory is ever asked for a size.
//! * **L2** `ring` and `returns` start at multiples of 4096 and 64, inside `segment_bytes`.

use crate::config::Limits;
use crate::error::IncompatibleLimits;

/// First word of segment 0: "shmipc16" in ASCII.
pub const MAGIC: u64 = u64::from_le_bytes(*b"shmipc16");
/// Offset of the magic word.
pub const MAGIC_AT: usize = 0;
/// Offset of the word that holds the layout version.
pub const VERSION_AT: usize = 8;
/// The layout version.
pub const VERSION: u64 = 1;
/// Offset of the record cursor.
pub const TAIL_AT: usize = 128;
/// Offset of the consumption cursor.
pub const HEAD_AT: usize = 256;
/// Offset of the return cursor.
pub const RETURNED_AT: usize = 384;
/// Offset of the event word for the peer's record cursor.
pub const EVENT_TAIL_AT: usize = 512;
/// Offset of the event word for the peer's consumption cursor.
pub const EVENT_HEAD_AT: usize = 640;
/// Offset of the event word for the peer's return cursor.
pub const EVENT_RETURNED_AT: usize = 768;
/// Offset of the word that says which CPU the owner's waiting thread runs on, plus one; 0: unknown.
pub const CPU_AT: usize = 896;
/// Offset of the going-away word: 0, or 1 once the owner accepts no further streams.
pub const LEAVING_AT: usize = 1024;
/// Offset of the final position, plus one; 0: not yet known.
pub const FINAL_AT: usize = 1032;
/// Offset of the record ring.
pub const RING_AT: usize = 4096;

/// Alignment of extents and of footprints, bytes.
pub const EXTENT_ALIGN: u32 = 64;
/// Size of a record header and alignment of records, bytes.
pub const RECORD_ALIGN: u32 = 16;
/// Bytes of the smallest segment for several extents.
pub const FIRST_SEGMENT: u32 = 64 << 10;
/// Largest extent that shares a segment with others, bytes.
pub const LARGEST_SHARED: u32 = 512 << 10;
/// Bytes of the smallest dedicated segment.
pub const FIRST_DEDICATED: u32 = 1 << 20;

/// What one direction of a session looks like: the outbox of its writer, and the promises of its
/// reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of the record ring in the writer's outbox.
    pub ring_bytes: u32,
    /// Largest inline payload, bytes.
    pub inline_max: u32,
    /// Places in the reader's return queue: the cap of extents lent by the writer.
    pub max_lent: u32,
    /// Bytes of payload memory the writer may create.
    pub arena_max: u32,
    /// Largest payload of one record, bytes.
    pub max_message: u32,
    /// The reader's window per stream, bytes.
    pub stream_window: u32,
    /// The reader's window for the session, bytes.
    pub unread_max: u32,
    /// Streams the writer may open.
    pub writer_streams: u32,
    /// Streams the reader may open.
    pub reader_streams: u32,
}

/// Computes one direction from the limits of both sides.
///
/// Sizes of the outbox are the smaller of the two offers; windows and stream counts are the
/// promises of whoever has to keep them.
///
/// # Errors
/// [`IncompatibleLimits`] if the control reserve of the result exceeds half of the ring.
pub fn negotiate(writer: &Limits, reader: &Limits) -> Result<Geometry, IncompatibleLimits> {
    let ring_bytes = writer.ring_bytes.min(reader.ring_bytes);
    let arena_max = writer.arena_max.min(reader.arena_max);
    let max_message = writer.max_message.min(reader.max_message).min(arena_max / 8);
    let geometry = Geometry {
        ring_bytes,
        inline_max: writer
            .inline_max
            .min(reader.inline_max)
            .min(ring_bytes / 16 - 16)
            .min(max_message),
        max_lent: writer.max_lent.min(reader.max_lent),
        arena_max,
        max_message,
        stream_window: reader.stream_window,
        unread_max: reader.unread_max,
        writer_streams: reader.max_streams,
        reader_streams: writer.max_streams,
    };
    let reserve = geometry.control_reserve();
    if reserve > u64::from(ring_bytes) / 2 {
        return Err(IncompatibleLimits { reserve, ring_bytes });
    }
    Ok(geometry)
}

impl Geometry {
    /// Bytes of the ring that data may not use: what finish, reset, stop and window updates of every
    /// stream can need at one time, so that none of them ever waits.
    ///
    /// A stream of the writer owes three records of 16 bytes (terminal, stop, update); one of the
    /// reader five, because stop and update of the generation before may still be unread when the
    /// place is used again; the session eight updates and one plea for memory.
    pub fn control_reserve(&self) -> u64 {
        u64::from(self.ring_bytes) / 8
            + 48 * u64::from(self.writer_streams)
            + 80 * u64::from(self.reader_streams)
            + 256
    }

    /// Largest record, bytes: header and payload, or header and extent reference.
    pub fn max_record(&self) -> u64 {
        16 + u64::from(self.inline_max.next_multiple_of(RECORD_ALIGN)).max(16)
    }

    /// Bytes of the ring that data in flight and granted may occupy.
    pub fn data_limit(&self) -> u64 {
        u64::from(self.ring_bytes) - self.control_reserve() - (self.max_record() - 16)
    }

    /// How far the reader may lag with publishing its head, bytes.
    pub fn head_lag(&self) -> u64 {
        u64::from(self.ring_bytes) / 8
    }

    /// Segments that may be live at one time.
    pub fn max_segments(&self) -> u32 {
        max_segments(self.arena_max)
    }
}

/// Segments that an arena of this size may have live at one time.
pub const fn max_segments(arena_max: u32) -> u32 {
    let fit = 4 + arena_max / 2 / FIRST_DEDICATED;
    if fit < 64 { 64 } else { fit }
}

/// Offset of the return queue in an outbox whose record ring has `ring_bytes`.
pub fn returns_at(ring_bytes: u32) -> usize {
    RING_AT + ring_bytes as usize
}

/// Bytes of segment 0 of an outbox that writes direction `out` and returns extents of direction
/// `incoming`, rounded up to pages of 4 KiB.
pub fn segment_bytes(out: &Geometry, incoming: &Geometry) -> usize {
    (returns_at(out.ring_bytes) + 4 * incoming.max_lent as usize).next_multiple_of(4096)
}
