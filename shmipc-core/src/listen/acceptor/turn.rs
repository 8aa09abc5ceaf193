//! One turn of the accepting machine, under its lock.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::super::SHORTAGE_PAUSE;
use super::super::budget::Budget;
use super::super::handshakes::{may_pass, number_of};
use super::super::socket_file::start_listening;
use super::super::upgrades::{self, Main};
use super::{ACCEPT_BUDGET, Acceptor, Inner, LISTENER, WAKE};
use crate::error::{ListenError, OsError};
use crate::log;
use crate::{link, mem};

impl Acceptor {
    /// Closes the sockets; their files are removed unless somebody else goes on with them.
    pub(super) fn let_go(&self, inner: &mut Inner) {
        let Some(listener) = inner.listener.take() else { return };
        // Somebody else may have it open.
        let _ = self.epoll.delete(listener.as_fd());
        let mut file = inner.file.take();
        let mut ours = true;
        if let Some(upgrades) = inner.upgrades.take() {
            let main = Main { socket: &listener, file: file.as_ref() };
            ours = upgrades.close(main, &self.epoll, Instant::now());
            file.iter_mut().for_each(|file| file.remove(ours));
        }
        // A socket without a file of ours may be one that was passed to us, and goes on.
        ours &= file.is_some();
        drop(file);
        link::close_listener(listener, ours);
    }

    /// One look at the epoll and the clock. False if there was nothing to do.
    pub(super) fn turn(&self, inner: &mut Inner, now: Instant) -> Result<bool, ListenError> {
        let late = inner.handshakes.on_time(&self.epoll, now);
        inner.ready.extend(late);
        if inner.look_at.is_some_and(|at| now >= at) {
            self.look_after_files(inner, now)?;
        }
        if inner.paused_until.take_if(|until| now >= *until).is_some() {
            self.watch_listener(inner, inner.accepts)?;
        }
        let mut events = [EpollEvent::empty(); 32];
        let happened = link::epoll_wait(&self.epoll, &mut events, Some(Duration::ZERO))?;
        let mut worked = false;
        let mut upgrading = inner
            .upgrades
            .as_ref()
            .is_some_and(|upgrades| upgrades.deadline().is_some_and(|deadline| now >= deadline));
        for event in events.iter().take(happened) {
            match event.data() {
                WAKE => {}
                key if upgrades::is_ours(key) => upgrading = true,
                LISTENER => worked |= self.take_connections(inner, now)?,
                key => {
                    let Some(number) = number_of(key) else { continue };
                    let done = inner.handshakes.progress(number, &self.epoll, now);
                    inner.ready.extend(done);
                    worked = true;
                }
            }
        }
        if upgrading || inner.is_unsettled() {
            worked |= self.upgrade(inner, now)?;
        }
        Ok(worked)
    }

    /// Goes on with an upgrade. True if it is another one's turn now, or if work is left.
    pub(super) fn upgrade(&self, inner: &mut Inner, now: Instant) -> Result<bool, ListenError> {
        let (Some(socket), Some(upgrades)) = (&inner.listener, &mut inner.upgrades) else {
            return Ok(false);
        };
        let main = Main { socket, file: inner.file.as_ref() };
        let followed = upgrades.is_followed();
        upgrades.progress(main, inner.handshakes.config(), &self.epoll, now)?;
        if upgrades.is_followed() && !followed {
            inner.handshakes.turn_away(&self.epoll);
        }
        if upgrades.is_retired() && !std::mem::replace(&mut inner.retired, true) {
            inner.leaving |= upgrades.take_leaving();
            self.let_go(inner);
            return Ok(true);
        }
        let accepts = upgrades.accepts();
        if accepts == inner.accepts {
            return Ok(inner.has_left());
        }
        let generation = inner.generation;
        log::line(move || tracing::info!(generation, accepts, "upgrade"));
        if accepts {
            start_listening(socket, &inner.options)?;
            upgrades.listen()?;
        }
        inner.accepts = accepts;
        inner.look_at = Some(now).filter(|_| accepts);
        self.watch_listener(inner, accepts && inner.paused_until.is_none())?;
        Ok(true)
    }

    /// Takes connections from the kernel. False if there was none.
    pub(super) fn take_connections(
        &self,
        inner: &mut Inner,
        now: Instant,
    ) -> Result<bool, ListenError> {
        let mut worked = false;
        let mut budget = Budget::new(ACCEPT_BUDGET);
        while budget.take() {
            let Some(listener) = inner.listener.as_ref().filter(|_| inner.accepts) else { break };
            match mem::accept(listener.as_fd()) {
                Ok(socket) => {
                    inner.handshakes.admit(socket.into(), &self.epoll, now, &mut inner.ready);
                    worked = true;
                }
                Err(Errno::EAGAIN) => break,
                // A client that is gone already.
                Err(Errno::EINTR | Errno::ECONNABORTED) => worked = true,
                Err(errno) => {
                    let error = OsError::new("accept4", errno);
                    if !may_pass(error) {
                        return Err(error.into());
                    }
                    self.pause(inner, now, error)?;
                    break;
                }
            }
        }
        Ok(worked)
    }

    /// A6: clients wait in the backlog meanwhile, and we do not spin.
    pub(super) fn pause(
        &self,
        inner: &mut Inner,
        now: Instant,
        error: OsError,
    ) -> Result<(), ListenError> {
        log::line(move || tracing::warn!(%error, "accepting pauses"));
        let pauses = &mut inner.handshakes.stats.pauses;
        *pauses = pauses.wrapping_add(1);
        inner.paused_until = now.checked_add(SHORTAGE_PAUSE);
        self.watch_listener(inner, false)
    }

    pub(super) fn watch_listener(&self, inner: &Inner, on: bool) -> Result<(), ListenError> {
        let events = if on { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        if let Some(listener) = &inner.listener {
            link::rewatch(&self.epoll, listener.as_fd(), events, LISTENER)?;
        }
        Ok(())
    }

    /// Makes `wake` readable or not. Both directions are edges, so that whoever watches our epoll
    /// edge-triggered learns of work that is left.
    pub(super) fn signal(&self, inner: &mut Inner, on: bool) -> Result<(), ListenError> {
        if on {
            link::add_one(&self.wake)?;
        } else if inner.signalled {
            let _ = nix::unistd::read(&self.wake, &mut [0; 8]);
        }
        inner.signalled = on;
        Ok(())
    }
}
