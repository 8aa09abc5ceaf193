//! The record queue of one direction: a ring of records in the writer's outbox.
//!
//! ```text
//!            head (reader's outbox)                        tail (writer's outbox)
//!              │                                             │
//!   ───────────▼─────────────────────────────────────────────▼──────────────────────
//!   … consumed │ record │ record + inline payload │ extent   │ granted │   free   │ pad
//!   ───────────────────────────────────────────────────────────────────────────────
//!
//!   record:  +0  kind u8, flags u8, zero u16, length u32      (one 8-byte word)
//!            +8  stream id u64
//!           +16  payload of `length` bytes, or an extent: segment u32, id u32,
//!                offset/64 u32, length u32
//! ```
//!
//! Positions count bytes since the session began and never wrap; a position's place in the ring is
//! its remainder. A record starts at a multiple of 16 and never crosses the end of the ring: a
//! padding record fills what is left there.
//!
//! # Who writes what
//! The writer alone writes ring and tail; the reader alone writes its head, in its own outbox. A
//! publication is one Release store of the tail; the process may be killed before or after it.
//!
//! # Invariants
//! * **Q1** `head ≤ published ≤ written`, and `written − head ≤ ring`.
//! * **Q2** Data in flight and data granted together stay within `data_limit`
//!   ([`Geometry::data_limit`](crate::layout::Geometry::data_limit)), so a control record always
//!   finds room and never waits.
//! * **Q3** The reader validates a record against the tail it loaded and the end of the ring before it
//!   acts on it, in bounded work, and reads every word of it once.
//! * **Q4** The reader publishes its head when it lags by an eighth of the ring (looked at after
//!   every record, before acting on it), at the end of a batch that held a control record, and
//!   before it sleeps.

mod record;
mod recv;
mod send;

pub use record::{ExtentRef, Flags, Header, Kind};
pub use recv::{Record, RecordReader};
pub use send::RecordWriter;
