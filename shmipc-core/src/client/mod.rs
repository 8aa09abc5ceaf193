//! What a client decides, without connecting or waiting: which session to use, when to connect, which
//! failed call to repeat, when to move. Time and randomness are arguments.
//!
//! ```text
//!                 connected                    a call, or 0 to 50 ms later if none comes
//!   vacant ──────────────────▶ ready ───────────────────────────────────────────────┐
//!     ▲                         │  │ the server leaves (`notify::leaving`):            ▼
//!     │  lost: the next call    │  └─▶ its streams go on, the place is vacant      connecting
//!     └─────────────────────────┘
//! ```
//!
//! A client has a fixed number of *places*, with a session each, or none yet. All sessions are with the
//! same address. Who wants a stream takes a [`Turn`].
//!
//! # Invariants
//! * **K1** A call is repeated only if the server has certainly seen nothing of it
//!   ([`CallError::delivery`]), if another session may do better ([`CallError::is_passing`]), and if the
//!   caller allows it. Connecting, and opening a stream, are no part of a request: they are repeated always.
//! * **K2** One call at a time connects, for all; who gives up lets another one go on. Meanwhile the others
//!   use the sessions that are ready. A refusal is the result of all requests that wait, and of the calls of the pause after it:
//!   none of them asks again for itself. A call whose deadline passes without a session is told why the last attempt
//!   failed.
//! * **K3** Attempts to connect are a pause apart that grows from one to the next, until a call has
//!   succeeded or a session has lasted as long as the longest pause. The first one is made at once.
//! * **K4** Places are taken in turn. One that is vacant is filled by the call whose turn it is, unless K2
//!   or K3 forbid that and another one is ready. A session that is full of streams is passed over.
//! * **K5** When a server leaves, its place is vacant from that moment: the next call connects at once.
//!   If none comes, the place is filled after a time chosen at random, so that idle clients do not all
//!   come at the same moment. A session that is lost is replaced by a call only.
//! * **K6** The client holds no handle of a session that its server leaves. So it closes when its last
//!   stream is let go. How long that may take is the server's business, which closes it at a deadline.
//! * **K7** Events are told in the order in which they happened, each once to each reader; a reader that
//!   is too far behind is told how many it has missed. Only so many are kept.
//! * **K8** A client that is being closed begins no new calls; those that have begun may connect and repeat
//!   until it is closed.

use std::time::Duration;

mod attempts;
mod backoff;
mod config;
mod error;
mod events;
mod line;
mod lines;

/// If every session is full of streams, one of them is waited for this long before the others are looked at
/// again (K4).
pub const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub use attempts::Attempts;
pub use backoff::{Backoff, random};
pub use config::{ClientConfig, ClientConfigBuilder};
pub use error::CallError;
pub use events::{ClientEvent, Reader};
pub use line::Line;
pub use lines::{Idle, Lines, Turn};
