//! Named attacks, one rule each.

mod credit;
mod frames;
mod handshake;
mod records;
mod segments;
mod words;

use std::path::Path;

use shmipc_core::config::{Config, ConfigBuilder};
use shmipc_core::error::{HandshakeError, PeerMisbehaved};
use shmipc_core::handshake::Transmit;
use shmipc_core::queue::{Flags, Kind};

use super::by_hand::{ByHand, stream};
pub use handshake::segment_of_the_server;

/// One way to misbehave.
pub struct Attack {
    /// What it does.
    pub name: &'static str,
    /// The rule that it breaks.
    pub breaks: Ends,
    /// Whether it is one only for a server that never sleeps.
    pub awake: bool,
    limits: fn(ConfigBuilder) -> ConfigBuilder,
    run: Run,
}

/// When an attack takes place.
#[derive(Clone, Copy)]
enum Run {
    /// In a session.
    InSession(fn(&mut ByHand)),
    /// Before there is one: what is done to the outbox that is passed.
    InHandshake(fn(&mut Transmit)),
}

/// What an attack comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The server ends the session for this.
    By(PeerMisbehaved),
    /// The peer is gone.
    Died,
    /// It is legal, and what it costs the server is bounded: the session still works after it.
    Never,
}

impl std::fmt::Debug for Attack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attack").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Attack {
    const fn new(name: &'static str, breaks: PeerMisbehaved, run: fn(&mut ByHand)) -> Self {
        Self::of(name, Ends::By(breaks), Run::InSession(run))
    }

    const fn legal(name: &'static str, run: fn(&mut ByHand)) -> Self {
        Self::of(name, Ends::Never, Run::InSession(run))
    }

    const fn dying(name: &'static str, run: fn(&mut ByHand)) -> Self {
        Self::of(name, Ends::Died, Run::InSession(run))
    }

    const fn in_handshake(
        name: &'static str,
        breaks: PeerMisbehaved,
        change: fn(&mut Transmit),
    ) -> Self {
        Self::of(name, Ends::By(breaks), Run::InHandshake(change))
    }

    const fn of(name: &'static str, breaks: Ends, run: Run) -> Self {
        Self { name, breaks, awake: false, limits: |builder| builder, run }
    }

    const fn with(self, limits: fn(ConfigBuilder) -> ConfigBuilder) -> Self {
        Self { limits, ..self }
    }

    const fn of_who_never_sleeps(self) -> Self {
        Self { awake: true, ..self }
    }

    /// The end that the server is to tell of.
    pub fn end(&self) -> String {
        match (self.breaks, self.run) {
            (Ends::By(misdeed), Run::InHandshake(_)) => {
                format!("unmet {}", HandshakeError::Misbehaved(misdeed))
            }
            (Ends::By(misdeed), Run::InSession(_)) => format!("misbehaved {misdeed:?}"),
            (Ends::Died | Ends::Never, _) => "died".to_owned(),
        }
    }

    /// Attacks the server that listens there. Returns when the session is over.
    ///
    /// # Panics
    /// If the server bears what it should not, or the other way round.
    pub fn run(&self, path: &Path) {
        // Credit for the server is no concern here.
        let generous = Config::builder().stream_window(1 << 30).unread_max(1 << 30);
        let config = (self.limits)(generous).build().expect("limits within bounds");
        let run = match (self.run, self.breaks) {
            (Run::InHandshake(change), Ends::By(broken)) => {
                return handshake::meet(path, &config, change, broken);
            }
            (Run::InHandshake(_), _) => panic!("no attack in a handshake is legal"),
            (Run::InSession(run), _) => run,
        };
        let mut peer = ByHand::connect(path, &config);
        // Until now the server may still be busy with the handshake, and end that. The place is used by no attack.
        let flags = Flags::OPEN.with_if(Flags::FIN, true);
        assert!(peer.exchange(flags, stream(LAST), 100).is_some(), "an honest beginning");
        run(&mut peer);
        match self.breaks {
            Ends::By(_) => peer.wait_for_the_end(),
            Ends::Died => {}
            Ends::Never => {
                let reply = peer.exchange(Flags::OPEN, stream(LAST - 1), 100);
                assert_eq!(reply.map(|reply| reply.header.value), Some(100), "{}", self.name);
            }
        }
    }
}

/// All attacks.
pub fn all() -> impl Iterator<Item = &'static Attack> {
    let sessions =
        [words::ATTACKS, records::ATTACKS, credit::ATTACKS, segments::ATTACKS, frames::ATTACKS];
    sessions.into_iter().chain([handshake::ATTACKS]).flatten()
}

/// The last place of a session with default limits.
const LAST: u32 = 255;

/// Messages that nobody takes the answers of, until the server has no room for more of them.
fn jam(peer: &mut ByHand, flags: Flags, stream: u64) {
    for message in 0..JAM {
        let flags = if message == 0 { flags } else { Flags::none() };
        peer.put(Kind::Inline, flags, stream, 1000);
    }
    peer.publish();
}

/// More messages of 1000 bytes than a queue of the default size has room for, fewer than there is credit for.
const JAM: u32 = 120;
