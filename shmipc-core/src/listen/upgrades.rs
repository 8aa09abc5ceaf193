//! The part of a listener that hands it over: the upgrade socket, and the connections to the server before
//! and to the one after (`upgrade`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollFlags};

use super::handshakes::is_shortage;
use super::socket_file::{Bound, SocketFile, start_listening};
use super::{ListenOptions, SHORTAGE_PAUSE};
use crate::config::Config;
use crate::error::{ListenError, OsError, UpgradeRefusal};
use crate::handshake::{PAUSE, is_own_or_root};
use crate::link::{self, LinkError};
use crate::mem;
use crate::upgrade::{
    Failure, Heard, Incoming, Line, Message, Outgoing, Packet, Predecessor, Side, Step, Steps,
    Succession, Successor, judge, message_of, plain_frame,
};
use crate::wire::{self, Frame};

/// Keys of the epoll: the upgrade socket; then, for either neighbour, its connection and its process.
const DOOR: u64 = 2;
pub(super) const BEFORE: (u64, u64) = (4, 5);
const AFTER: (u64, u64) = (6, 7);

/// How long a neighbour may take for an answer that does not depend on its application.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// The longest that a successor may ask for to make ready.
const LONGEST_PATIENCE: Duration = Duration::from_secs(3600);

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
    ListenOptions::new().mode(0o600).backlog(16)
}

impl Upgrades {
    /// A server that has bound its sockets itself.
    pub(super) fn first(door: Bound, epoll: &Epoll) -> Result<Self, ListenError> {
        Self::new(door, epoll, Succession::first(), 1, None)
    }

    /// A server that has got its sockets over this line.
    pub(super) fn following(
        door: Bound,
        epoll: &Epoll,
        generation: u64,
        mut line: Line,
    ) -> Result<Self, ListenError> {
        line.move_to(epoll, BEFORE)?;
        let succession = Succession::following(Successor::Holding);
        Self::new(door, epoll, succession, generation, Some(line))
    }

    fn new(
        door: Bound,
        epoll: &Epoll,
        succession: Succession,
        generation: u64,
        before: Option<Line>,
    ) -> Result<Self, ListenError> {
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
            leaving: false,
        };
        upgrades.watch_door(epoll)?;
        Ok(upgrades)
    }

    /// Whether clients are to be accepted here.
    pub(super) fn accepts(&self) -> bool {
        self.succession.accepts()
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

    /// Everything that can be done now.
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
        self.open_door(epoll, now)?;
        for side in [Side::Before, Side::After] {
            let neighbour = self.neighbour(side);
            neighbour.retry_at.take_if(|at| now >= *at);
            let late = neighbour.late_at.take_if(|at| now >= *at).is_some();
            self.listen_to(side, config, epoll, now)?;
            if late {
                self.hear(side, Heard::Late, now);
                // What it is cut off from is read at once.
                self.listen_to(side, config, epoll, now)?;
            }
        }
        // A step on one side may be the other one's turn.
        for side in [Side::Before, Side::After, Side::Before, Side::After] {
            self.speak_to(side, main, epoll, now)?;
        }
        self.watch_door(epoll)
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
        self.door.file.iter_mut().for_each(|file| file.remove(owns_files));
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

    // --- the door ---------------------------------------------------------------------------------

    fn watch_door(&mut self, epoll: &Epoll) -> Result<(), ListenError> {
        let on = self.accepts() && self.door_closed_until.is_none();
        if on != self.door_watched {
            let events = if on { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
            link::rewatch(epoll, self.door.socket.as_fd(), events, DOOR)?;
            self.door_watched = on;
        }
        Ok(())
    }

    /// Takes in who has connected to the upgrade socket.
    fn open_door(&mut self, epoll: &Epoll, now: Instant) -> Result<(), ListenError> {
        while self.accepts() && self.door_closed_until.is_none() {
            let taken = mem::accept(self.door.socket.as_fd());
            let admitted = match taken {
                Ok(socket) => self.admit(socket, epoll, now),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR | Errno::ECONNABORTED | Errno::EPERM | Errno::EACCES) => Ok(()),
                Err(errno) => Err(OsError::new("accept4", errno)),
            };
            match admitted {
                Ok(()) => {}
                Err(error) if is_shortage(error) => {
                    tracing::warn!(%error, "no successor can connect");
                    self.door_closed_until = now.checked_add(SHORTAGE_PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn admit(&mut self, socket: OwnedFd, epoll: &Epoll, now: Instant) -> Result<(), OsError> {
        let cred = link::peer_cred(socket.as_fd())?;
        let refusal = if !is_own_or_root(cred) {
            UpgradeRefusal::Unauthorized(cred.uid)
        // The last one may still have to be told why not.
        } else if self.after.line.is_none() && self.succession.ask() {
            self.after =
                Neighbour { line: Some(Line::new(socket, epoll, AFTER)?), ..Neighbour::default() };
            self.set_late(Side::After, now);
            return Ok(());
        } else {
            UpgradeRefusal::InProgress
        };
        tracing::warn!(?cred, %refusal, "a successor is refused");
        let _ = link::send(socket.as_fd(), &plain_frame(Message::Refuse(refusal)), &[]);
        Ok(())
    }

    // --- the neighbours ---------------------------------------------------------------------------

    /// Reads what a neighbour has said.
    fn listen_to(
        &mut self,
        side: Side,
        config: &Config,
        epoll: &Epoll,
        now: Instant,
    ) -> Result<(), ListenError> {
        loop {
            let neighbour = self.neighbour(side);
            let cut = neighbour.cut;
            let Some(line) = neighbour.line.as_mut().filter(|_| !neighbour.closing) else {
                return Ok(());
            };
            let heard = match line.receive() {
                Ok(Incoming::Nothing) => return Ok(()),
                Ok(Incoming::Frame(frame)) => {
                    let message = message_of(&frame, |claim| judge(claim, config));
                    if let Frame::Claim(claim) = frame {
                        self.meet(claim, epoll)?;
                    }
                    message.map_or(Heard::Broken, Heard::Message)
                }
                Ok(Incoming::End) if cut => Heard::Silence,
                Ok(Incoming::End) => Heard::Gone,
                Err(error) => {
                    tracing::warn!(%error, ?side, "the connection of an upgrade is broken");
                    match error {
                        LinkError::Os(error) if is_shortage(error) => Heard::Short,
                        _ => Heard::Broken,
                    }
                }
            };
            self.hear(side, heard, now);
        }
    }

    fn meet(&mut self, claim: wire::Claim, epoll: &Epoll) -> Result<(), ListenError> {
        let wire::Claim { patience, app_version, pidfd, .. } = claim;
        self.patience = patience.min(LONGEST_PATIENCE);
        tracing::info!(generation = self.generation, app_version, "a successor has come");
        if let Some(line) = &mut self.after.line {
            line.meet(pidfd, epoll)?;
        }
        Ok(())
    }

    fn hear(&mut self, side: Side, heard: Heard, now: Instant) {
        let steps = match side {
            Side::Before => self.succession.hear_before(heard),
            Side::After => self.succession.hear_after(heard),
        };
        tracing::debug!(?side, ?heard, now = ?self.succession, "upgrade");
        self.act(&steps, now);
        self.set_late(side, now);
    }

    fn act(&mut self, steps: &Steps, now: Instant) {
        for &(side, step) in steps {
            let neighbour = self.neighbour(side);
            match step {
                Step::Send(message) => {
                    if let Some(line) = &mut neighbour.line {
                        line.post(message);
                    }
                }
                Step::Cut => {
                    neighbour.cut = true;
                    if let Some(line) = &neighbour.line {
                        line.cut();
                    }
                }
                Step::Finish => neighbour.closing = true,
                Step::HangUp => {
                    neighbour.closing = true;
                    neighbour.line.iter_mut().for_each(Line::forget);
                }
                Step::Leave => self.leaving = true,
            }
            self.set_late(side, now);
        }
    }

    /// The time for the next answer counts from now.
    fn set_late(&mut self, side: Side, now: Instant) {
        let (has_deadline, patience) = match side {
            Side::Before => (self.succession.before().has_deadline(), ANSWER),
            Side::After => {
                let after = self.succession.after();
                let offered = after == Predecessor::Offered;
                (after.has_deadline(), if offered { self.patience } else { ANSWER })
            }
        };
        let late_at = now.checked_add(patience).filter(|_| has_deadline);
        self.neighbour(side).late_at = late_at;
    }

    /// Sends what can be sent, and closes what is to be closed.
    fn speak_to(
        &mut self,
        side: Side,
        main: Main<'_>,
        epoll: &Epoll,
        now: Instant,
    ) -> Result<(), ListenError> {
        loop {
            let (generation, door) = (self.generation, &self.door);
            let process = self.process.as_ref().map(AsFd::as_fd);
            let neighbour = match side {
                Side::Before => &mut self.before,
                Side::After => &mut self.after,
            };
            let Some(line) = neighbour.line.as_mut() else {
                neighbour.closing = false;
                return Ok(());
            };
            let encode = |message| packet(message, generation, main, door, process);
            match line.send_next(encode)? {
                Outgoing::Nothing => break,
                Outgoing::Full => {
                    neighbour.retry_at = now.checked_add(PAUSE);
                    return Ok(());
                }
                Outgoing::Sent(Message::Serving) => self.succession.sent_serving(true),
                Outgoing::Lost(Message::Serving) => self.succession.sent_serving(false),
                Outgoing::Sent(_) | Outgoing::Lost(_) => {}
            }
            self.set_late(side, now);
        }
        if self.neighbour(side).closing {
            self.hang_up(side, epoll);
        }
        Ok(())
    }

    fn hang_up(&mut self, side: Side, epoll: &Epoll) {
        let neighbour = std::mem::take(self.neighbour(side));
        if let Some(line) = neighbour.line {
            line.hang_up(epoll);
        }
    }
}

/// A message as it travels.
fn packet<'a>(
    message: Message,
    generation: u64,
    main: Main<'a>,
    door: &'a Bound,
    process: Option<BorrowedFd<'a>>,
) -> Packet<'a> {
    if message != Message::Offer {
        return (plain_frame(message), Vec::new());
    }
    let files = [main.file, door.file.as_ref()];
    let inodes = files.map(|file| file.map(SocketFile::inode).unwrap_or_default());
    let locks = files.map(|file| file.map(SocketFile::lock));
    let bytes = wire::offer(
        generation.saturating_add(1),
        inodes,
        process.is_some(),
        locks.map(|lock| lock.is_some()),
    );
    let sockets = [main.socket.as_fd(), door.socket.as_fd()];
    let fds = sockets.into_iter().chain(process).chain(locks.into_iter().flatten());
    (bytes, fds.collect())
}

/// What the application is told.
pub(super) fn failed(failure: Failure) -> ListenError {
    match failure {
        Failure::Refused(reason) => ListenError::UpgradeRefused(reason),
        Failure::Gone | Failure::Silent => ListenError::UpgradeTimedOut,
        Failure::Closed => ListenError::Closed,
    }
}
