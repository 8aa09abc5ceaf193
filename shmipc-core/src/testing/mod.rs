//! Memory and peers for tests, and what must hold whatever the peer does.
//!
//! | | |
//! |---|---|
//! | [`Script`] | a string of bytes that decides everything: what a peer answers, what we do next |
//! | [`AdversarialMemory`] | a peer's outbox that answers every load from a script |
//! | [`hostile`] | everything that reads a peer, run against such memory; panics if a promise is broken |
//!
//! The functions of [`hostile`] are run by property tests (`tests/adversarial.rs`) and by the targets of
//! `fuzz/`, with the same bytes. The crate's own tests add a pair of honest sides over the memory of the
//! heap (`testing/checks`), and what visits every state of a model (`testing/explore`).

mod actor;
mod adversarial;
pub mod hostile;
mod lies;
mod script;
mod side;
mod watched;

#[cfg(test)]
mod checks;
#[cfg(test)]
pub(crate) mod explore;
#[cfg(test)]
mod mix;

pub use adversarial::AdversarialMemory;
#[cfg(test)]
pub(crate) use mix::Mix;
pub use script::Script;
pub use watched::WatchedMemory;

use crate::config::Limits;
use crate::layout::{Geometry, negotiate, segment_bytes};
use crate::mem::HeapMemory;

/// Small limits: a ring of one page, four streams each way, windows of a few messages.
pub fn small_limits() -> Limits {
    Limits {
        ring_bytes: 4096,
        max_streams: 4,
        inline_max: 240,
        max_lent: 256,
        stream_window: 1024,
        unread_max: 4096,
        arena_max: 8 << 20,
        max_message: 1 << 20,
    }
}

/// The geometry of a direction between two sides with these limits.
///
/// # Panics
/// If the limits are out of bounds.
pub fn symmetric(limits: &Limits) -> Geometry {
    limits.check().expect("limits within bounds");
    negotiate(limits, limits).expect("limits that fit each other")
}

/// A fresh outbox on the heap, for a side that writes direction `out`.
pub fn outbox(out: &Geometry, incoming: &Geometry) -> HeapMemory {
    let memory =
        HeapMemory::new(segment_bytes(out, incoming), crate::layout::returns_at(out.ring_bytes));
    crate::notify::event::init(&memory);
    memory
}
