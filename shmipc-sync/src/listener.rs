//! Listeners.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shmipc_core::config::{Authorizer, Config};
use shmipc_core::error::{ListenError, TryError};
use shmipc_core::listen::{AcceptStats, Acceptor, Binding, ListenOptions};

use crate::Session;

/// Accepts sessions on a socket.
///
/// Handshakes run side by side inside of [`accept`](Self::accept): a stuck client delays nobody, and a
/// failed handshake is counted in [`stats`](Self::stats) and never ends the listener.
#[derive(Debug)]
pub struct Listener {
    pub(crate) acceptor: Arc<Acceptor>,
    config: Config,
}

/// How a [`Listener`] is made; see [`Listener::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `bind` is called"]
pub struct ListenerBuilder {
    config: Config,
    options: ListenOptions,
    ready_within: Duration,
}

impl Default for ListenerBuilder {
    fn default() -> Self {
        let (config, options) = (Config::default(), ListenOptions::new());
        Self { config, options, ready_within: Duration::from_secs(30) }
    }
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

    /// Sets the group of the socket file, by its id. With a [`mode`](Self::mode) such as 0o660 its members can
    /// connect; `Config::builder().allow_gid(gid)` has the authorizer let them in as well. The process must be a member of the
    /// group, or root. Default: mostly the primary group of the process.
    pub fn group(mut self, gid: u32) -> Self {
        self.options = self.options.group(gid);
        self
    }

    /// Connections that may wait to be accepted. Default: see [`ListenOptions`].
    pub fn backlog(mut self, backlog: u16) -> Self {
        self.options = self.options.backlog(backlog);
        self
    }

    /// Where the upgrade socket of [`bind_upgradable`](Self::bind_upgradable) is, a path or `@name`. A server and its
    /// successor have to agree on it. Default: the listener's address with `.upgrade` appended.
    ///
    /// A process that reaches the upgrade socket as an admitted user can take the server's place. Where clients see the
    /// directory of the listener's socket, as containers do in which it is mounted, choose another directory for the
    /// upgrade socket, which no client sees.
    pub fn upgrade_at(mut self, address: impl AsRef<Path>) -> Self {
        self.options = self.options.upgrade_at(address);
        self
    }

    /// Decides with which users an upgrade takes place: which successors the listener hands its sockets to, and from
    /// which running server it takes them over. It is asked once for each connection, and must neither wait nor call
    /// this listener. If it panics, the user is refused. Default: the own effective uid alone.
    ///
    /// The upgrade socket has mode 0600: besides its owner only root reaches it, unless it is an abstract `@name`.
    pub fn upgrade_authorizer(mut self, authorizer: impl Authorizer + 'static) -> Self {
        self.options = self.options.upgrade_authorizer(authorizer);
        self
    }

    /// How long a server that takes over from a running one may take from
    /// [`bind_upgradable`](Self::bind_upgradable) to [`Listener::ready`]; then the running one goes on, and this one
    /// fails. Default 30 s, at most an hour.
    pub fn ready_within(mut self, time: Duration) -> Self {
        self.ready_within = time;
        self
    }

    /// Listens at `address`, a path or `@name` for an abstract address.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub fn bind(self, address: impl AsRef<Path>) -> Result<Listener, ListenError> {
        let acceptor = Acceptor::bind(address, &self.options, self.config.clone())?;
        Ok(Listener { acceptor: Arc::new(acceptor), config: self.config })
    }

    /// As [`Listener::bind_upgradable`].
    ///
    /// # Errors
    /// As [`Listener::bind_upgradable`].
    pub fn bind_upgradable(self, address: impl AsRef<Path>) -> Result<Listener, ListenError> {
        let binding = Binding::new(address, self.options, self.config.clone(), self.ready_within)?;
        Ok(Listener { acceptor: Arc::new(binding.complete()?), config: self.config })
    }

    /// As [`Listener::bind_upgradable`], on a listening socket that somebody else has made. The upgrade
    /// socket is at `upgrade`, a path or `@name`.
    ///
    /// # Errors
    /// As [`Listener::bind_upgradable`].
    pub fn listener_upgradable(
        self,
        listener: UnixListener,
        upgrade: impl AsRef<Path>,
    ) -> Result<Listener, ListenError> {
        let binding = Binding::from_listener(
            listener,
            upgrade,
            self.options,
            self.config.clone(),
            self.ready_within,
        )?;
        Ok(Listener { acceptor: Arc::new(binding.complete()?), config: self.config })
    }

    /// Uses a listening socket that somebody else has made (systemd, a parent process). Its file is
    /// never removed.
    ///
    /// # Errors
    /// [`ListenError::Os`] if it cannot be watched.
    pub fn listener(self, listener: UnixListener) -> Result<Listener, ListenError> {
        let acceptor = Acceptor::from_listener(listener, self.config.clone())?;
        Ok(Listener { acceptor: Arc::new(acceptor), config: self.config })
    }
}

impl Listener {
    /// Listens at `address`, a path or `@name` for an abstract address, with the defaults.
    ///
    /// The socket file of a server that was killed is replaced; that of a living one never, nor a file that is no
    /// socket. While the listener accepts, it looks at its file once a minute and makes it again if it is gone.
    ///
    /// # Errors
    /// [`ListenError::InUse`] if a living server listens there, [`ListenError::Occupied`] if the path is something
    /// else than a socket, [`ListenError::ForeignLock`] if another user's lock file is in the way,
    /// [`ListenError::TooOpen`] if the file system gives the file a mode that is more open than asked,
    /// [`ListenError::BadPath`], [`ListenError::SealUnsupported`], [`ListenError::Path`] and [`ListenError::Os`]
    /// with what the operating system says.
    pub fn bind(address: impl AsRef<Path>) -> Result<Self, ListenError> {
        Self::builder().bind(address)
    }

    /// A builder that starts from the defaults.
    pub fn builder() -> ListenerBuilder {
        ListenerBuilder::default()
    }

    /// Accepts the next session. **Blocks** until a client has completed its handshake.
    ///
    /// # Errors
    /// [`ListenError`]: the listener is finished. Never because of one client. [`ListenError::Replaced`] if the socket
    /// file was removed or replaced, and another server listens on the path now.
    pub fn accept(&self) -> Result<Session, ListenError> {
        loop {
            if let Some(session) = self.accept_until(None)? {
                return Ok(session);
            }
        }
    }

    /// As [`accept`](Self::accept), for at most `timeout`; `Ok(None)` if nobody came.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Option<Session>, ListenError> {
        self.accept_until(Instant::now().checked_add(timeout))
    }

    /// Accepts the next session if one is there, after everything has been done that can be done now for
    /// handshakes in progress. Never blocks.
    ///
    /// After [`TryError::WouldBlock`] come back when the listener is readable, or when
    /// [`next_deadline`](Self::next_deadline) passes. It may be readable without a session to accept.
    ///
    /// # Errors
    /// [`TryError::WouldBlock`] if no client has completed its handshake; else as [`accept`](Self::accept).
    pub fn try_accept(&self) -> Result<Session, TryError<ListenError>> {
        self.accept_until(Some(Instant::now()))?.ok_or(TryError::WouldBlock)
    }

    /// When [`try_accept`](Self::try_accept) is to be called although the listener is not readable: a
    /// handshake takes too long by then.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.acceptor.next_deadline()
    }

    fn accept_until(&self, deadline: Option<Instant>) -> Result<Option<Session>, ListenError> {
        let session = self.acceptor.session(&self.config, deadline)?;
        Ok(session.map(|core| Session { core }))
    }

    /// Clients accepted, refused and failed.
    pub fn stats(&self) -> AcceptStats {
        self.acceptor.stats()
    }

    /// Ends the listener: threads inside [`accept`](Self::accept) return [`ListenError::Closed`].
    pub fn close(&self) {
        self.acceptor.close();
    }
}

/// Readable when [`try_accept`](Listener::try_accept) has something to do.
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.acceptor.as_fd()
    }
}
