//! The part of a listener that hands it over: the upgrade socket, and the connections to the server before
//! and to the one after (`upgrade`).

mod door;
mod neighbours;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollFlags};

use super::ListenOptions;
use super::options::UpgradeAuthorizer;
use super::socket_file::{Bound, SocketFile, start_listening};
use crate::config::Config;
use crate::error::{ListenError, OsError};
use crate::link;
use crate::log;
use crate::mem;
use crate::upgrade::{Failure, Heard, Line, Predecessor, Side, Succession, Successor};

/// Keys of the epoll: the upgrade socket; then, for either neighbour, its connection and its process.
const DOOR: u64 = 2;
pub(super) const BEFORE: (u64, u64) = (4, 5);
const AFTER: (u64, u64) = (6, 7);

/// Successors that wait to be looked at.
const DOOR_BACKLOG: u16 = 16;

/// How long a neighbour may take for an answer that does not depend on its application.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// How long a successor may take to accept when its predecessor has made way. Clients that come meanwhile wait for
/// one of the two, so this ends well before their `connect_timeout` does by default.
const TURN: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug)]
pub(super) struct Upgrades {
    succession: Succession,
    /// 1 for a server that has bound its socket itself, one more for each successor.
    generation: u64,
    door: Bound,
    /// This process, for the neighbours to watch.
    process: Option<OwnedFd>,
    before: Neighbour,
    after: Neighbour,
    /// How long the successor may take to be ready.
    patience: Duration,
    /// The door is not looked at until then, for want of descriptors.
    door_closed_until: Option<Instant>,
    door_watched: bool,
    /// A peer had more for the last turn than its budget.
    left: bool,
    /// Which users are dealt with (U9).
    authorizer: UpgradeAuthorizer,
    /// The sessions are to be told to leave (U8).
    leaving: bool,
}

/// One side's connection, and what is to be done about it when.
#[derive(Debug, Default)]
struct Neighbour {
    line: Option<Line>,
    /// It ends when everything is sent.
    closing: bool,
    /// It was shut down for reading (U5).
    cut: bool,
    /// The answer that is waited for is late then.
    late_at: Option<Instant>,
    /// What could not be sent is tried again then.
    retry_at: Option<Instant>,
}

/// What an offer is made of.
#[derive(Clone, Copy)]
pub(super) struct Main<'a> {
    pub(super) socket: &'a OwnedFd,
    pub(super) file: Option<&'a SocketFile>,
}

/// Whether an epoll key is one of ours.
pub(super) fn is_ours(key: u64) -> bool {
    (DOOR..=AFTER.1).contains(&key)
}

/// The upgrade socket is for the same user alone.
pub(super) fn door_options() -> ListenOptions {
    ListenOptions::new().mode(0o600).backlog(DOOR_BACKLOG)
}

impl Upgrades {
    /// A server that has bound its sockets itself.
    pub(super) fn first(
        door: Bound,
        epoll: &Epoll,
        authorizer: UpgradeAuthorizer,
    ) -> Result<Self, ListenError> {
        Self::new(door, epoll, Succession::first(), 1, None, authorizer)
    }

    /// A server that has got its sockets over this line.
    pub(super) fn following(
        door: Bound,
        epoll: &Epoll,
        generation: u64,
        mut line: Line,
        authorizer: UpgradeAuthorizer,
    ) -> Result<Self, ListenError> {
        line.move_to(epoll, BEFORE)?;
        let succession = Succession::following(Successor::Holding);
        Self::new(door, epoll, succession, generation, Some(line), authorizer)
    }

    fn new(
        door: Bound,
        epoll: &Epoll,
        succession: Succession,
        generation: u64,
        before: Option<Line>,
        authorizer: UpgradeAuthorizer,
    ) -> Result<Self, ListenError> {
        // A successor's first frame carries its pidfd.
        mem::pass_rights(door.socket.as_fd(), true);
        link::watch(epoll, door.socket.as_fd(), EpollFlags::empty(), DOOR)?;
        let mut upgrades = Self {
            succession,
            generation,
            door,
            process: mem::pidfd_of_self()?,
            before: Neighbour { line: before, ..Neighbour::default() },
            after: Neighbour::default(),
            patience: ANSWER,
            door_closed_until: None,
            door_watched: false,
            left: false,
            authorizer,
            leaving: false,
        };
        upgrades.watch_door(epoll)?;
        Ok(upgrades)
    }

    /// Whether clients are to be accepted here.
    pub(super) fn accepts(&self) -> bool {
        self.succession.accepts()
    }

    /// Whether a peer had more for the last turn than its budget.
    pub(super) fn has_left(&self) -> bool {
        self.left
    }

    /// Whether something is to be sent, and need not wait for a while.
    pub(super) fn has_unsent(&self) -> bool {
        [&self.before, &self.after].iter().any(|neighbour| {
            let busy = |line: &Line| neighbour.closing || !line.is_idle();
            neighbour.retry_at.is_none() && neighbour.line.as_ref().is_some_and(busy)
        })
    }

    /// Whether a successor serves.
    pub(super) fn is_followed(&self) -> bool {
        self.succession.after().is_followed()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Why this server will never serve, if it will not.
    pub(super) fn failure(&self) -> Option<ListenError> {
        let Successor::Failed(failure) = self.succession.before() else { return None };
        Some(failed(failure))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let of = |neighbour: &Neighbour| [neighbour.late_at, neighbour.retry_at];
        let all = of(&self.before).into_iter().chain(of(&self.after));
        all.chain([self.door_closed_until]).flatten().min()
    }

    /// The application is ready to accept.
    pub(super) fn ready(&mut self, now: Instant) {
        let steps = self.succession.ready();
        self.act(&steps, now);
    }

    /// Does what can be done now, with a [`Budget`](super::budget::Budget) for each peer.
    pub(super) fn progress(
        &mut self,
        main: Main<'_>,
        config: &Config,
        epoll: &Epoll,
        now: Instant,
    ) -> Result<(), ListenError> {
        if self.door_closed_until.take_if(|until| now >= *until).is_some() {
            self.door_watched = false;
        }
        let mut left = self.open_door(main, config, epoll, now)?;
        for side in [Side::Before, Side::After] {
            let neighbour = self.neighbour(side);
            neighbour.retry_at.take_if(|at| now >= *at);
            let late = neighbour.late_at.take_if(|at| now >= *at).is_some();
            left |= self.listen_to(side, config, epoll, now)?;
            if late {
                self.hear(side, Heard::Late, now);
                // What it is cut off from is read at once.
                left |= self.listen_to(side, config, epoll, now)?;
            }
        }
        self.left = left;
        // A step on one side may be the other one's turn.
        for side in [Side::Before, Side::After, Side::Before, Side::After] {
            self.speak_to(side, main, epoll, now)?;
        }
        self.watch_door(epoll)
    }

    /// Looks whether successors find the upgrade socket, and makes its file again if it is gone.
    pub(super) fn look(&mut self, epoll: &Epoll, now: Instant) -> Result<(), ListenError> {
        let looked = self.door.file.as_mut().map(|file| file.look(&door_options(), now));
        match looked.transpose() {
            Ok(made) => {
                let Some(socket) = made.flatten() else { return Ok(()) };
                let _ = epoll.delete(self.door.socket.as_fd());
                link::watch(epoll, socket.as_fd(), EpollFlags::empty(), DOOR)?;
                (self.door.socket, self.door_watched) = (socket, false);
                self.watch_door(epoll)
            }
            Err(error) => {
                log::line(move || tracing::warn!(%error, "no successor can find this server"));
                Ok(())
            }
        }
    }

    /// Closes the connections; false if somebody else goes on with the socket files.
    pub(super) fn close(mut self, main: Main<'_>, epoll: &Epoll, now: Instant) -> bool {
        let owns_files = self.succession.owns_files();
        let steps = self.succession.close();
        self.act(&steps, now);
        for side in [Side::Before, Side::After] {
            let _ = self.speak_to(side, main, epoll, now);
            self.hang_up(side, epoll);
        }
        let _ = epoll.delete(self.door.socket.as_fd());
        let Bound { socket, mut file } = self.door;
        file.iter_mut().for_each(|file| file.remove(owns_files));
        link::close_listener(socket, owns_files && file.is_some());
        owns_files
    }

    /// Whether the sessions are to be told to leave; once.
    pub(super) fn take_leaving(&mut self) -> bool {
        std::mem::take(&mut self.leaving)
    }

    /// Whether this server never serves again.
    pub(super) fn is_retired(&self) -> bool {
        self.succession.after() == Predecessor::Retired
    }

    /// This server begins to accept: peers are to see its credentials.
    pub(super) fn listen(&self) -> Result<(), OsError> {
        start_listening(&self.door.socket, &door_options())
    }

    fn neighbour(&mut self, side: Side) -> &mut Neighbour {
        match side {
            Side::Before => &mut self.before,
            Side::After => &mut self.after,
        }
    }
}

/// What the application is told.
pub(super) fn failed(failure: Failure) -> ListenError {
    match failure {
        Failure::Refused(reason) => ListenError::UpgradeRefused(reason),
        Failure::Gone | Failure::Silent => ListenError::UpgradeTimedOut,
        Failure::Closed => ListenError::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who comes when a successor stands still connects to whoever serves then.
    #[test]
    fn a_turn_ends_before_clients_give_up() {
        assert!(TURN + Duration::from_secs(1) < Config::default().connect_timeout());
    }
}
