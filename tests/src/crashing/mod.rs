//! Processes that are killed, or stopped for a while, at each named step of the protocol
//! ([`shmipc_core::steps`]), and what the other side makes of it.
//!
//! ```text
//!   [`matrix`]   all cases, one after the other, and the table of what they gave
//!     └── [`case`]   starts a victim, waits until it stops at its step, kills it or lets it go on
//!           ├── [`victim`]     a process: session after session, as client or server, until it is killed
//!           ├── [`survivor`]   a thread of ours, on the other end of these sessions
//!           └── [`neighbour`]  another session of ours, with somebody else, which must not notice
//! ```
//!
//! In each session both ends talk as in [`talk`]. The victim notes what it sends and sees in a [`ledger`],
//! which outlives it.

pub mod case;
pub mod ledger;
pub mod matrix;
pub mod neighbour;
pub mod survivor;
pub mod talk;
pub mod victim;

use std::time::Duration;

use shmipc_core::config::{Config, WaitMode};
use shmipc_core::steps::Step;

/// Which end of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It connects.
    Client,
    /// It accepts.
    Server,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Client, Self::Server];

    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// The step of that name.
pub fn step_named(name: &str) -> Option<Step> {
    Step::ALL.iter().copied().find(|step| format!("{step:?}") == name)
}

/// Little credit, queue space and memory, so that all of it is waited for.
fn config(wait: WaitMode) -> Config {
    let patience = Duration::from_secs(60);
    let builder = Config::builder().wait(wait).ring_bytes(16 << 10).max_streams(16);
    let builder = builder.inline_max(1000).max_lent(256).stream_window(4 << 10);
    let builder = builder.unread_max(64 << 10).arena_max(8 << 20).max_message(1 << 20);
    let builder = builder.connect_timeout(patience).handshake_timeout(patience);
    builder.idle_memory_timeout(Duration::from_millis(1)).build().expect("valid")
}
