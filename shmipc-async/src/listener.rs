//! Listeners.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use shmipc_core::config::Config;
use shmipc_core::error::{ListenError, OsError};
use shmipc_core::listen::{AcceptStats, Acceptor, ListenOptions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout_at;

use crate::Session;
use crate::fd::{Watched, watch};

/// Accepts sessions on a socket.
///
/// Handshakes run side by side inside of [`accept`](Self::accept): a stuck client delays nobody, and a
/// failed handshake is counted in [`stats`](Self::stats) and never ends the listener.
#[derive(Debug)]
pub struct Listener {
    acceptor: AsyncFd<Watched<Acceptor>>,
    config: Config,
}

/// How a [`Listener`] is made; see [`Listener::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `bind` is called"]
pub struct ListenerBuilder {
    config: Config,
    options: ListenOptions,
}

impl ListenerBuilder {
    /// The configuration of every session. Default: [`Config::default`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Permissions of the socket file, as for `chmod`. Default 0o600.
    pub fn mode(mut self, mode: u32) -> Self {
        self.options = self.options.mode(mode);
        self
    }

    /// Connections that may wait to be accepted. Default: see [`ListenOptions`].
    pub fn backlog(mut self, backlog: u16) -> Self {
        self.options = self.options.backlog(backlog);
        self
    }

    /// Listens at `address`, a path or `@name` for an abstract address.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn bind(self, address: impl AsRef<Path>) -> Result<Listener, ListenError> {
        let acceptor = Acceptor::bind(address, &self.options, self.config.clone())?;
        Listener::new(acceptor, self.config)
    }

    /// Uses a listening socket that somebody else has made (systemd, a parent process). Its file is
    /// never removed.
    ///
    /// # Errors
    /// [`ListenError::Os`] if it cannot be watched.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn listener(self, listener: UnixListener) -> Result<Listener, ListenError> {
        let acceptor = Acceptor::from_listener(listener, self.config.clone())?;
        Listener::new(acceptor, self.config)
    }
}

impl Listener {
    /// Listens at `address`, a path or `@name` for an abstract address, with the defaults.
    ///
    /// A stale socket file is replaced; one of a living server never.
    ///
    /// # Errors
    /// [`ListenError::InUse`], [`ListenError::BadPath`], [`ListenError::Os`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn bind(address: impl AsRef<Path>) -> Result<Self, ListenError> {
        Self::builder().bind(address)
    }

    /// A builder that starts from the defaults.
    pub fn builder() -> ListenerBuilder {
        ListenerBuilder::default()
    }

    fn new(acceptor: Acceptor, config: Config) -> Result<Self, ListenError> {
        let acceptor = watch(acceptor, Interest::READABLE)
            .map_err(|error| ListenError::Os(OsError::from_io("epoll_ctl", &error)))?;
        Ok(Self { acceptor, config })
    }

    /// Accepts the next session, whose client has completed its handshake. The session's driver runs on
    /// the current runtime. Cancel safe: a handshake that was begun goes on in the next call.
    ///
    /// # Errors
    /// [`ListenError`]: the listener is finished. Never because of one client.
    pub async fn accept(&self) -> Result<Session, ListenError> {
        loop {
            let acceptor = &self.acceptor.get_ref().0;
            if let Some(established) = acceptor.try_accept(Instant::now())? {
                match Session::from_established(established, &self.config) {
                    Ok(session) => return Ok(session),
                    // Out of descriptors for this one client: the next may find some.
                    Err(error) => tracing::warn!(%error, "a session was dropped"),
                }
                continue;
            }
            let gone = |error| ListenError::Os(OsError::from_io("epoll_wait", &error));
            let ready = self.acceptor.readable();
            let mut ready = match acceptor.next_deadline() {
                None => ready.await.map_err(gone)?,
                Some(deadline) => match timeout_at(deadline.into(), ready).await {
                    Ok(ready) => ready.map_err(gone)?,
                    Err(_) => continue,
                },
            };
            // The acceptor's descriptor reports for as long as something waits, but tokio is told of
            // changes only: it may not forget before everything was looked at.
            ready.clear_ready();
        }
    }

    /// Clients accepted, refused and failed.
    pub fn stats(&self) -> AcceptStats {
        self.acceptor.get_ref().0.stats()
    }

    /// Ends the listener: calls of [`accept`](Self::accept) return [`ListenError::Closed`].
    pub fn close(&self) {
        self.acceptor.get_ref().0.close();
    }
}

/// Readable when [`accept`](Listener::accept) has something to do.
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.acceptor.get_ref().0.as_fd()
    }
}
