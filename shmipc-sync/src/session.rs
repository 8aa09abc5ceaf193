//! Sessions.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::task::Poll;
use std::time::{Duration, Instant};

use shmipc_core::config::{Config, PeerCred};
use shmipc_core::error::{
    AcceptError, ConnectError, HandshakeError, OpenError, SessionError, TryError,
};
use shmipc_core::handle::Watch;
use shmipc_core::handshake::{Established, Role, complete_over, connect, pair};
use shmipc_core::layout::Geometry;
use shmipc_core::session::Stats;

use crate::Stream;
use crate::block::{For, block_on, deadline};

/// A session with one peer. Cheap to clone, and all methods may be called from any thread.
///
/// The session closes when its last handle is dropped, streams included; messages stay readable.
#[derive(Clone, Debug)]
pub struct Session {
    pub(crate) core: shmipc_core::handle::Session,
}

impl Session {
    /// Connects to the listener at `address`, a path or `@name` for an abstract address, with the
    /// default configuration.
    ///
    /// A server that is away is waited for until the `connect_timeout`, 5 s: its socket file does not exist or is stale,
    /// its backlog is full, or it ends during the handshake. So a restart of the server is not noticed. To have a server
    /// that is away reported at once, use
    /// [`ConfigBuilder::wait_for_server`](shmipc_core::config::ConfigBuilder::wait_for_server).
    ///
    /// # Errors
    /// [`ConnectError::Unreachable`] if no server came in time, [`ConnectError::BadAddress`],
    /// [`ConnectError::Handshake`] if one side refused, or the handshake took too long.
    ///
    /// # Blocking
    /// For the `connect_timeout` at most.
    pub fn connect(address: impl AsRef<Path>) -> Result<Self, ConnectError> {
        Self::connect_with(address, &Config::default())
    }

    /// Connects with a configuration. A server that is away is waited for until its `connect_timeout`, as
    /// [`connect`](Self::connect) does, unless `wait_for_server` is `false`.
    ///
    /// # Errors
    /// [`ConnectError::Unreachable`] if no server came in time, [`ConnectError::BadAddress`],
    /// [`ConnectError::Handshake`] if one side refused, or the handshake took too long.
    ///
    /// # Blocking
    /// For the `connect_timeout` at most.
    pub fn connect_with(address: impl AsRef<Path>, config: &Config) -> Result<Self, ConnectError> {
        let established = connect(address, config)?;
        Self::from_established(established, config).map_err(ConnectError::Handshake)
    }

    /// Makes a session over a socket that is connected already, with a process that does the same in the other role: one
    /// end of a [`UnixStream::pair`] that a child has inherited, or a socket that systemd has accepted. Which side is the
    /// client makes no difference afterwards.
    ///
    /// The other end must be in another process; see [`pair`](Self::pair) for one. Of a socket pair the kernel names the
    /// process that made it as the [`peer`](Self::peer) of both ends, and that one is authorized. Drop this process's copy of
    /// the child's end, lest the end of the child is noticed late.
    ///
    /// # Errors
    /// [`HandshakeError`]: one side has refused, the peer has ended, or the `handshake_timeout` is over.
    ///
    /// # Blocking
    /// For the `handshake_timeout` of the configuration at most.
    ///
    /// ```no_run
    /// use std::os::unix::net::UnixStream;
    /// use shmipc_sync::{Config, Role, Session};
    ///
    /// # fn start_child(end: UnixStream) {}
    /// let (ours, theirs) = UnixStream::pair()?;
    /// start_child(theirs); // which calls `from_stream` with `Role::Client`
    /// let session = Session::from_stream(ours, Role::Server, &Config::default())?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_stream(
        stream: UnixStream,
        role: Role,
        config: &Config,
    ) -> Result<Self, HandshakeError> {
        Self::from_established(complete_over(stream, role, config)?, config)
    }

    /// Makes both ends of a session in this process, for tests and for threads.
    ///
    /// # Errors
    /// [`HandshakeError`], if the kernel refuses descriptors or memory.
    ///
    /// ```
    /// use shmipc_sync::Session;
    ///
    /// let (client, server) = Session::pair()?;
    /// let mut stream = client.open()?;
    /// stream.send(b"hello")?;
    /// let message = server.accept()?.recv()?.expect("a message");
    /// assert_eq!(message[..], *b"hello");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn pair() -> Result<(Self, Self), HandshakeError> {
        Self::pair_with(&Config::default(), &Config::default())
    }

    /// Makes both ends of a session in this process with a configuration for each.
    ///
    /// # Errors
    /// [`HandshakeError`], if they do not fit, or the kernel refuses descriptors or memory.
    pub fn pair_with(client: &Config, server: &Config) -> Result<(Self, Self), HandshakeError> {
        let (a, b) = pair(client, server)?;
        Ok((Self::from_established(a, client)?, Self::from_established(b, server)?))
    }

    pub(crate) fn from_established(
        established: Established,
        config: &Config,
    ) -> Result<Self, HandshakeError> {
        Ok(Self { core: shmipc_core::handle::Session::new(established, config)? })
    }

    /// Opens a stream. The peer learns of it with the first record that is sent, at the latest before
    /// the first `recv` waits. Never blocks and makes no system call.
    ///
    /// # Errors
    /// [`OpenError::TooManyStreams`] if as many are open as the peer allows; [`OpenError::GoingAway`] once
    /// the peer leaves, [`OpenError::Leaving`] once we do; [`OpenError::Session`].
    pub fn open(&self) -> Result<Stream, OpenError> {
        let (send, recv) = self.core.open()?;
        Ok(Stream::new(&self.core, send, recv))
    }

    /// As [`open`](Self::open), but **blocks** while as many streams are open as the peer allows.
    ///
    /// # Errors
    /// As [`open`](Self::open), but never [`OpenError::TooManyStreams`].
    pub fn open_wait(&self) -> Result<Stream, OpenError> {
        self.open_until(None)
    }

    /// As [`open_wait`](Self::open_wait), for at most `timeout`.
    ///
    /// # Errors
    /// [`OpenError::TooManyStreams`] if there are still as many.
    pub fn open_timeout(&self, timeout: Duration) -> Result<Stream, OpenError> {
        self.open_until(deadline(Some(timeout)))
    }

    fn open_until(&self, deadline: Option<Instant>) -> Result<Stream, OpenError> {
        let mut opening = self.core.opening();
        let opened = block_on(&self.core, For::Room, deadline, |waker| opening.poll(waker));
        let (send, recv) = opened.unwrap_or_else(|| self.core.open())?;
        Ok(Stream::new(&self.core, send, recv))
    }

    /// Accepts the next stream that the peer opens. **Blocks** until there is one.
    ///
    /// # Errors
    /// [`AcceptError::Session`] once the session is over and every stream was accepted;
    /// [`AcceptError::Leaving`] once every stream was that came before [`leave`](Self::leave).
    pub fn accept(&self) -> Result<Stream, AcceptError> {
        self.accept_until(None)
    }

    /// As [`accept`](Self::accept), for at most `timeout`.
    ///
    /// # Errors
    /// [`AcceptError::TimedOut`] too.
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Stream, AcceptError> {
        self.accept_until(deadline(Some(timeout)))
    }

    fn accept_until(&self, deadline: Option<Instant>) -> Result<Stream, AcceptError> {
        let accepted =
            block_on(&self.core, For::Record, deadline, |waker| self.core.poll_accept(waker));
        let Some(accepted) = accepted else {
            self.core.forget_accepts();
            return Err(AcceptError::TimedOut);
        };
        let (send, recv) = accepted?;
        Ok(Stream::new(&self.core, send, recv))
    }

    /// Accepts the next stream if the peer has opened one. Never blocks.
    ///
    /// # Errors
    /// [`TryError::WouldBlock`] if it has not; else as [`accept`](Self::accept).
    pub fn try_accept(&self) -> Result<Stream, TryError<AcceptError>> {
        match self.core.poll_accept(None) {
            Poll::Ready(accepted) => {
                let (send, recv) = accepted?;
                Ok(Stream::new(&self.core, send, recv))
            }
            Poll::Pending => {
                self.core.glance();
                Err(TryError::WouldBlock)
            }
        }
    }

    /// Drives the session from an event loop. Never blocks. To be called when the session's descriptor is
    /// readable, and again when [`arm`](Self::arm) says so; after it the loop looks at everything it
    /// serves with `try_accept` and `try_recv`.
    ///
    /// ```text
    /// loop {
    ///     loop {
    ///         session.try_drive();
    ///         serve: try_accept, try_recv of each stream, until they have nothing
    ///         if session.is_closed() || session.arm() { break }
    ///     }
    ///     sleep in epoll, poll, io_uring until the descriptor of a session is readable
    /// }
    /// ```
    ///
    /// While a thread sleeps inside a call on the session, it drives instead, and this does nothing.
    pub fn try_drive(&self) {
        self.core.try_drive();
    }

    /// Prepares to sleep on the session's descriptor. Never blocks. True: it becomes readable as soon as
    /// there is something to do. False: there is something already, call [`try_drive`](Self::try_drive)
    /// and look at everything again.
    ///
    /// Holds until the next call on the session: a loop that has used a session, in whatever way, arms it
    /// before it sleeps. What calls of other threads receive for streams that this loop serves is not
    /// reported; for that, use a [`WaitSet`](crate::WaitSet). Once the session is over the descriptor
    /// stays readable: take it out of the loop.
    #[must_use = "who sleeps though it is false may sleep for ever"]
    pub fn arm(&self) -> bool {
        self.core.arm()
    }

    pub(crate) fn watch(&self) -> Watch {
        self.core.watch()
    }

    /// Closes the session. The peer reads what was published, then learns `code`; calls on this side
    /// fail from now on. Never blocks.
    pub fn close(&self, code: u32) {
        self.core.close(code);
    }

    /// **Blocks** until the session is over, and says why. Drives the session meanwhile.
    pub fn closed(&self) -> SessionError {
        let ended = block_on(&self.core, For::Record, None, |waker| self.core.poll_closed(waker));
        // Without a deadline there is always an answer.
        ended.unwrap_or(SessionError::Closed)
    }

    /// As [`closed`](Self::closed), for at most `timeout`; `None` if the session lives on.
    pub fn closed_timeout(&self, timeout: Duration) -> Option<SessionError> {
        let deadline = deadline(Some(timeout));
        let ended =
            block_on(&self.core, For::Record, deadline, |waker| self.core.poll_closed(waker));
        if ended.is_none() {
            self.core.forget_closed();
        }
        ended
    }

    /// Whether the session is over: closed by either side, or the peer died.
    pub fn is_closed(&self) -> bool {
        self.core.is_over()
    }

    /// Who the peer is, as the kernel says.
    pub fn peer(&self) -> PeerCred {
        self.core.peer()
    }

    /// The peer's version of the application protocol.
    pub fn peer_app_version(&self) -> u32 {
        self.core.app_version()
    }

    /// Whether large messages are read in place, as the configuration carries [`PeerTrust`](crate::PeerTrust).
    pub fn is_trusted(&self) -> bool {
        self.core.is_trusted()
    }

    /// The limits that both sides have agreed on for what we send.
    pub fn geometry(&self) -> Geometry {
        self.core.geometry()
    }

    /// Counters of this side.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

/// Readable when there may be something to do, if [`Session::arm`] was called before; see
/// [`Session::try_drive`].
impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.as_fd()
    }
}
