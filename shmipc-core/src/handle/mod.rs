//! The runtime-neutral session: locks, wakers, driving and polling.
//!
//! ```text
//!   blocking flavour            tokio flavour
//!        │ poll_*(None|waker), Waiting    │ poll_*(waker), Driver
//!        ▼                                ▼
//!   Session ── SendHalf ── RecvHalf ── Reservation ── Message
//!        └────────────┬──────────────────────┘
//!                  Shared:   rx  ─────▶ tx ─────▶ returns      gate
//!                            (locks, in this order, never during a kernel wait)
//! ```
//!
//! A `poll_*` takes the waker of whoever waits, or `None` from a caller that spins and will ask again.
//! It drives the session inline: whoever looks for something drains the peer's records for all.
//!
//! # Invariants
//! * **H1** Locks are process-local and taken in the order rx → socket → tx → returns, frames, own files (of
//!   these one at a time); the gate is taken with none of them held. Nobody sleeps, rings, wakes or runs
//!   foreign code while holding one.
//! * **H2** A poll stores its waker in the section in which it finds nothing; whoever delivers takes
//!   the waker in the section in which it delivers, and calls it after.
//!   A waker that panics is no concern of the others'.
//! * **H3** Whatever a call publishes is seen or rung for when it returns (`notify`, N1).
//! * **H4** When the last handle of the application goes, the session closes; messages and their
//!   memory stay readable for as long as they are kept. A [`Driver`], a [`Watch`] or a [`WeakSession`] is no such
//!   handle.

mod accepting;
mod buffers;
mod driver;
mod leaving;
mod message;
mod opening;
mod recv;
mod send;
mod session;
mod shared;
mod spin;
mod staged;
mod waiting;
mod watch;
mod weak;

pub use driver::Driver;
pub use leaving::Parting;
pub use message::Message;
pub use opening::Opening;
pub use recv::RecvHalf;
pub use send::{Reservation, Reserving, SendHalf};
pub use session::Session;
pub use spin::{SPIN_NANOS, Spinner, spinning_at_most};
pub use staged::Staged;
pub use waiting::Waiting;
pub use watch::Watch;
pub use weak::WeakSession;
