//! Room for one more client (A5): the connection that has been silent for longest makes way.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::Epoll;

use super::{Handshakes, Pending};
use crate::error::{HandshakeError, Refusal};
use crate::handshake::{self, Established};

/// How long a client may be silent while another one wants its place. The first word of an honest client is there
/// when its connection is accepted; before the next one the kernel makes its memory.
const BEFORE_FIRST_WORD: Duration = Duration::from_millis(50);
const BETWEEN_WORDS: Duration = Duration::from_millis(250);
/// A client that has our outbox may have come to its end, so it cannot be told to come again: it would lose a session.
const BEFORE_LAST_WORD: Duration = Duration::from_secs(1);

/// Whose connections fill all places that there are for a client.
#[derive(Clone, Copy)]
enum Crowd {
    Everybody,
    User(u32),
}

impl Crowd {
    fn contains(self, pending: &Pending) -> bool {
        match self {
            Self::Everybody => true,
            Self::User(uid) => pending.uid == uid,
        }
    }
}

impl Handshakes {
    /// Whether a client of this user may start a handshake. Ends connections that have been silent for too long,
    /// if that makes room.
    pub(super) fn has_room(
        &mut self,
        uid: u32,
        epoll: &Epoll,
        now: Instant,
        ready: &mut impl Extend<Established>,
    ) -> bool {
        // Each turn ends a handshake, or hears of one: then that one is silent no longer.
        while let Some(crowd) = self.crowd(uid) {
            let Some((number, heard)) = self.most_silent(crowd, now) else { return false };
            // What the client said may still wait to be read, for instance if this process was stopped.
            ready.extend(self.progress(number, epoll, now));
            if self.pending.get(number).is_some_and(|pending| pending.heard == heard) {
                self.send_away(number, epoll, now);
            }
        }
        true
    }

    /// Returns what takes all the places that there are for a client of this user; `None` if one is free.
    fn crowd(&self, uid: u32) -> Option<Crowd> {
        let (turns, turns_of_uid) = self.turns.taken(uid);
        let (places, places_of_uid) = self.places.taken(uid);
        let (max_sessions, max_sessions_of_uid) = self.config.max_sessions();
        if turns_of_uid >= self.config.max_handshakes_per_uid
            || places_of_uid >= max_sessions_of_uid
        {
            Some(Crowd::User(uid))
        } else if turns >= self.config.max_handshakes || places >= max_sessions {
            Some(Crowd::Everybody)
        } else {
            None
        }
    }

    /// Finds the handshake whose client has said nothing for longest, and for longer than it may, and how
    /// many frames came before.
    fn most_silent(&self, crowd: Crowd, now: Instant) -> Option<(usize, u8)> {
        self.pending
            .iter()
            .filter(|(_, pending)| crowd.contains(pending))
            .filter(|(_, pending)| {
                now.saturating_duration_since(pending.heard_at) >= patience(pending)
            })
            .min_by_key(|(_, pending)| pending.heard_at)
            .map(|(number, pending)| (number, pending.heard))
    }

    fn send_away(&mut self, number: usize, epoll: &Epoll, now: Instant) {
        let Some(Pending { exchange, .. }) = self.remove(number, epoll) else { return };
        let cred = Some(exchange.cred());
        if exchange.is_refusable() {
            // An honest client that was slow comes again.
            handshake::tell(exchange.as_fd(), &HandshakeError::RefusedPeer(Refusal::Busy));
        }
        self.count_failure(HandshakeError::TimedOut, cred, now);
    }
}

fn patience(pending: &Pending) -> Duration {
    match pending.heard {
        0 => BEFORE_FIRST_WORD,
        _ if pending.exchange.is_refusable() => BETWEEN_WORDS,
        _ => BEFORE_LAST_WORD,
    }
}
