//! What is said to the server before and to the one after, and what they say.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::Epoll;

use crate::config::Config;
use crate::error::ListenError;
use crate::handshake::PAUSE;
use crate::link::LinkError;
use crate::log;
use crate::mem::Passed;
use crate::upgrade::{
    Heard, Incoming, Line, Message, Outgoing, Packet, Predecessor, Side, Step, Steps, judge,
    message_of, plain_frame,
};
use crate::wire::{self, Frame};

use super::super::budget::Budget;
use super::super::handshakes::is_shortage;
use super::super::socket_file::{Bound, SocketFile};
use super::{ANSWER, Main, TURN, Upgrades};

/// The longest that a successor may ask for to make ready.
const LONGEST_PATIENCE: Duration = Duration::from_secs(3600);

/// Frames of a neighbour taken in one turn. An upgrade has five.
const FRAMES_BUDGET: usize = 16;

impl Upgrades {
    /// Reads what a neighbour has said. `true` if more may be there.
    pub(super) fn listen_to(
        &mut self,
        side: Side,
        config: &Config,
        epoll: &Epoll,
        now: Instant,
    ) -> Result<bool, ListenError> {
        let mut budget = Budget::new(FRAMES_BUDGET);
        loop {
            let neighbour = self.neighbour(side);
            let cut = neighbour.cut;
            let Some(line) = neighbour.line.as_mut().filter(|_| !neighbour.closing) else {
                return Ok(false);
            };
            if !budget.take() {
                return Ok(true);
            }
            let heard = match line.receive() {
                Ok(Incoming::Nothing) => return Ok(false),
                Ok(Incoming::Frame(frame)) => {
                    let message = message_of(&frame, |claim| judge(claim, config));
                    match (message, frame) {
                        (Some(Message::Claim(Ok(()))), Frame::Claim(claim)) => {
                            self.meet(side, claim, epoll)
                        }
                        (message, _) => message.map_or(Heard::Broken, Heard::Message),
                    }
                }
                Ok(Incoming::End) if cut => Heard::Silence,
                Ok(Incoming::End) => Heard::Gone,
                Err(error) => {
                    let heard = match error {
                        LinkError::Os(error) if is_shortage(error) => Heard::Short,
                        _ => Heard::Broken,
                    };
                    log::line(
                        move || tracing::warn!(%error, ?side, "the connection of an upgrade is broken"),
                    );
                    heard
                }
            };
            self.hear(side, heard, now);
        }
    }

    /// A claim is good as far as it says; what it carries may be anything, which is nobody's business but the
    /// claimant's.
    fn meet(&mut self, side: Side, claim: wire::Claim, epoll: &Epoll) -> Heard {
        let wire::Claim { patience, app_version, pidfd, .. } = claim;
        let asked = side == Side::After && self.succession.after() == Predecessor::Asked;
        let Some(pidfd) = pidfd.map(Passed::into_pidfd).transpose().ok().filter(|_| asked) else {
            return Heard::Broken;
        };
        if let Some(Err(error)) = self.after.line.as_mut().map(|line| line.meet(pidfd, epoll)) {
            log::line(move || tracing::warn!(%error, "a successor cannot be watched"));
            return Heard::Short;
        }
        self.patience = patience.min(LONGEST_PATIENCE);
        let generation = self.generation;
        log::line(move || tracing::info!(generation, app_version, "a successor has come"));
        Heard::Message(Message::Claim(Ok(())))
    }

    pub(super) fn hear(&mut self, side: Side, heard: Heard, now: Instant) {
        let steps = match side {
            Side::Before => self.succession.hear_before(heard),
            Side::After => self.succession.hear_after(heard),
        };
        let now_is = self.succession;
        log::line(move || tracing::debug!(?side, ?heard, now = ?now_is, "upgrade"));
        self.act(&steps, now);
        self.set_late(side, now);
    }

    pub(super) fn act(&mut self, steps: &Steps, now: Instant) {
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
    pub(super) fn set_late(&mut self, side: Side, now: Instant) {
        let (has_deadline, patience) = match side {
            Side::Before => (self.succession.before().has_deadline(), ANSWER),
            Side::After => {
                let after = self.succession.after();
                let patience = match after {
                    Predecessor::Offered => self.patience,
                    Predecessor::Yielded => TURN,
                    _ => ANSWER,
                };
                (after.has_deadline(), patience)
            }
        };
        let late_at = now.checked_add(patience).filter(|_| has_deadline);
        self.neighbour(side).late_at = late_at;
    }

    /// Sends what can be sent, and closes what is to be closed.
    pub(super) fn speak_to(
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

    pub(super) fn hang_up(&mut self, side: Side, epoll: &Epoll) {
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
