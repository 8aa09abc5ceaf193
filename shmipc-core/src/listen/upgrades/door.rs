//! The upgrade socket: who may come as the successor.

use std::os::fd::AsFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollFlags};

use crate::config::Config;
use crate::error::{ListenError, OsError, UpgradeRefusal};
use crate::link::{self, PeerSocket};
use crate::log;
use crate::mem;
use crate::upgrade::{Heard, Line, Message, Side, plain_frame};

use super::super::SHORTAGE_PAUSE;
use super::super::budget::Budget;
use super::super::handshakes::may_pass;
use super::{AFTER, DOOR, DOOR_BACKLOG, Main, Neighbour, Upgrades};

/// Connections to the upgrade socket taken in one turn: its whole backlog.
const DOOR_BUDGET: usize = DOOR_BACKLOG as usize;

impl Upgrades {
    pub(super) fn watch_door(&mut self, epoll: &Epoll) -> Result<(), ListenError> {
        let on = self.accepts() && self.door_closed_until.is_none();
        if on != self.door_watched {
            let events = if on { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
            link::rewatch(epoll, self.door.socket.as_fd(), events, DOOR)?;
            self.door_watched = on;
        }
        Ok(())
    }

    /// Takes in the successors that have connected to the upgrade socket. `true` if more may have.
    pub(super) fn open_door(
        &mut self,
        main: Main<'_>,
        config: &Config,
        epoll: &Epoll,
        now: Instant,
    ) -> Result<bool, ListenError> {
        let mut budget = Budget::new(DOOR_BUDGET);
        while self.accepts() && self.door_closed_until.is_none() {
            if !budget.take() {
                return Ok(true);
            }
            let taken = mem::accept(self.door.socket.as_fd());
            if taken.is_ok() {
                // One that was gone when this one came is not in its way.
                self.listen_to(Side::After, config, epoll, now)?;
                self.speak_to(Side::After, main, epoll, now)?;
            }
            let admitted = match taken {
                Ok(socket) => self.admit(socket.into(), epoll, now),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR | Errno::ECONNABORTED) => Ok(()),
                Err(errno) => Err(OsError::new("accept4", errno)),
            };
            match admitted {
                Ok(()) => {}
                Err(error) if may_pass(error) => {
                    log::line(move || tracing::warn!(%error, "no successor can connect"));
                    self.door_closed_until = now.checked_add(SHORTAGE_PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    fn admit(&mut self, socket: PeerSocket, epoll: &Epoll, now: Instant) -> Result<(), OsError> {
        let cred = link::peer_cred(socket.as_fd())?;
        let refusal = if !self.authorizer.admits(cred) {
            UpgradeRefusal::Unauthorized(cred.uid)
        // The last one may still have to be told why not.
        } else if self.after.line.is_none() && self.succession.ask() {
            let line = Line::new(socket, epoll, AFTER);
            if line.is_err() {
                self.hear(Side::After, Heard::Gone, now);
            }
            self.after = Neighbour { line: Some(line?), ..Neighbour::default() };
            self.set_late(Side::After, now);
            return Ok(());
        } else {
            UpgradeRefusal::InProgress
        };
        // A peer may come as often as it likes: no more than that for each time.
        let _ = link::send(socket.as_fd(), &plain_frame(Message::Refuse(refusal)), &[]);
        log::line(move || tracing::debug!(?cred, %refusal, "a successor is refused"));
        Ok(())
    }
}
