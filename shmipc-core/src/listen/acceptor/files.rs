//! The socket files of a listener that accepts: clients and successors find it as long as it does (A3).

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::sys::epoll::EpollFlags;

use super::super::socket_file::LOOK;
use super::{Acceptor, Inner, LISTENER};
use crate::error::ListenError;
use crate::link;
use crate::log;

impl Acceptor {
    /// Looks at the files, and makes again what is gone.
    pub(super) fn look_after_files(
        &self,
        inner: &mut Inner,
        now: Instant,
    ) -> Result<(), ListenError> {
        inner.look_later(now);
        if !inner.accepts {
            return Ok(());
        }
        let looked = inner.file.as_mut().map(|file| file.look(&inner.options, now));
        match looked.transpose() {
            Ok(made) => {
                if let Some(socket) = made.flatten() {
                    self.replace_listener(inner, socket, now)?;
                }
            }
            Err(error) => {
                self.end(inner, error.clone());
                return Err(error);
            }
        }
        inner.upgrades.as_mut().map_or(Ok(()), |upgrades| upgrades.look(&self.epoll, now))
    }

    /// Listens on `socket` from now on. Clients that wait at the one before are taken in first.
    fn replace_listener(
        &self,
        inner: &mut Inner,
        socket: OwnedFd,
        now: Instant,
    ) -> Result<(), ListenError> {
        self.take_connections(inner, now)?;
        if let Some(before) = inner.listener.take() {
            let _ = self.epoll.delete(before.as_fd());
        }
        let events =
            if inner.paused_until.is_none() { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        link::watch(&self.epoll, socket.as_fd(), events, LISTENER)?;
        inner.listener = Some(socket);
        Ok(())
    }

    /// Another server listens on the path: as if this one were closed, but for the reason.
    fn end(&self, inner: &mut Inner, failure: ListenError) {
        inner.failure = Some(failure.clone());
        log::line(move || tracing::error!(%failure, "the listener ends"));
        self.let_go(inner);
        inner.look_at = None;
        inner.handshakes.clear();
        inner.ready.clear();
        let _ = self.signal(inner, true);
    }
}

impl Inner {
    /// The next look is due in a while, if there is something to look at.
    pub(super) fn look_later(&mut self, now: Instant) {
        let files = self.file.is_some() || self.upgrades.is_some();
        self.look_at = now.checked_add(LOOK).filter(|_| self.accepts && files);
    }
}
