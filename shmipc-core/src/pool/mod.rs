//! Memory for large payload: the owner allocates, the reader hands back.
//!
//! ```text
//!   our outbox                                          the peer's outbox
//!   segment 0   ring: record (segment, id, offset, len) ─────────▶ reads the extent
//!   segment 1   ┌────┬──────────┬───────────────┐
//!   small       │Held│  Lent    │  Free         │ ◀───── return queue: id, id, ack, …
//!   segment 2   ├────┴──────────┴───────────────┤          (4-byte entries, `max_lent` places)
//!   dedicated   │  one large extent             │
//!               └───────────────────────────────┘
//! ```
//!
//! Two regions share `arena_max` in halves: *small* (several extents per segment; segments of 64 KiB,
//! doubling, and of four extents at least while there is room) and *dedicated* (one extent per segment). A small extent that finds no room may use the
//! dedicated region. Segments are created on demand and announced on the socket before a record may
//! name them.
//!
//! # Invariants
//! * **P1** The allocator is private memory of the owner; the peer's word changes only which extents
//!   are Lent, and only from Lent to Free ([`ExtentTable`](crate::mem::ExtentTable)).
//! * **P2** Extents Held, Lent, and segments not acknowledged are at most `max_lent` together, so the
//!   return queue, which has as many places, is never full for a reader that keeps the rules.
//! * **P3** Segment ids rise by one and are never reused.
//! * **P4** A reservation creates no segment while the reader has two to acknowledge: a descriptor on its way
//!   counts against the limit of the user, also for its other processes.
//! * **P5** If the kernel refuses a segment, reservations wait for what is out, and the kernel is asked again
//!   after a pause for as long as one waits. With nothing out, the reservation fails instead.

mod arena;
mod returns;

pub use arena::{Arena, Plan, Region, Shortage};
pub use returns::{ReturnReader, ReturnWriter, Returned};
