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

use shmipc_core::config::{BellKind, Config, WaitMode};
use shmipc_core::steps::Step;

use crate::deadline::patience;
use crate::setup::trust;

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

/// How streams end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both sides finish.
    Finish,
    /// Both sides break off.
    Reset,
    /// Who reads asks who writes to stop.
    Stop,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Finish, Self::Reset, Self::Stop];
}

/// What both ends of a session have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// How they wait.
    pub wait: WaitMode,
    /// How they wake.
    pub bell: BellKind,
    /// How some of their streams end.
    pub ending: Ending,
}

impl Manner {
    /// They sleep, ring on the socket, and end their streams in good order.
    pub const PLAIN: Self =
        Self { wait: WaitMode::Block, bell: BellKind::Socket, ending: Ending::Finish };

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        let waits = [WaitMode::Block, WaitMode::Adaptive];
        let bells = [BellKind::Socket, BellKind::Eventfd];
        let pairs = waits.into_iter().flat_map(move |wait| bells.map(|bell| (wait, bell)));
        pairs.flat_map(|(wait, bell)| Ending::ALL.map(|ending| Self { wait, bell, ending }))
    }

    /// The one of that name.
    fn named(name: &str) -> Option<Self> {
        Self::all().find(|manner| manner.name() == name)
    }

    /// As one word.
    fn name(self) -> String {
        let Self { wait, bell, ending } = self;
        format!("{wait:?},{bell:?},{ending:?}")
    }

    /// Little credit, queue space and memory, so that all of it is waited for.
    fn config(self) -> Config {
        let builder = Config::builder().wait(self.wait).ring_bytes(16 << 10).max_streams(16);
        let builder = builder.inline_max(1000).max_lent(256).stream_window(4 << 10);
        let builder = builder.unread_max(64 << 10).arena_max(8 << 20).max_message(1 << 20);
        let builder = builder.connect_timeout(patience()).handshake_timeout(patience());
        // A victim that is dead does not come back.
        let builder = builder.wait_for_server(false);
        let builder = builder.idle_memory_timeout(Duration::from_millis(1)).bell(self.bell);
        let trusted = self.bell == BellKind::Eventfd;
        let builder = if trusted { builder.trust(trust()) } else { builder };
        builder.build().expect("valid")
    }
}

/// The step of that name.
pub fn step_named(name: &str) -> Option<Step> {
    Step::ALL.iter().copied().find(|step| format!("{step:?}") == name)
}
