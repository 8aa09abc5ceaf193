//! Sessions.

use std::future::poll_fn;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::task::{Context, Poll};

use shmipc_core::config::{Config, PeerCred};
use shmipc_core::error::{
    AcceptError, ConnectError, DrainError, HandshakeError, OpenError, OsError, SessionError,
    TryError,
};
use shmipc_core::handle::{Opening, Session as Core};
use shmipc_core::handshake::{Established, Role, pair};
use shmipc_core::layout::Geometry;
use shmipc_core::session::Stats;

use crate::Stream;
use crate::connect::{self, connect};
use crate::driver;
use crate::poll::{poll, poll_once};

/// A session with one peer. Cheap to clone; all methods may be called from any task of any runtime.
///
/// The session closes when its last handle is dropped, streams included; messages stay readable. It ends
/// with [`SessionError::RuntimeGone`] if the runtime it was made on shuts down.
#[derive(Clone, Debug)]
pub struct Session {
    pub(crate) core: Core,
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
    /// # Cancel safety
    /// Cancelled, nothing is left.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn connect(address: impl AsRef<Path>) -> Result<Self, ConnectError> {
        Self::connect_with(address, &Config::default()).await
    }

    /// Connects with a configuration, within its `connect_timeout`. A server that is away is waited for as long, as
    /// [`connect`](Self::connect) does, unless `wait_for_server` is `false`.
    ///
    /// # Errors
    /// [`ConnectError::Unreachable`] if no server came in time, [`ConnectError::BadAddress`],
    /// [`ConnectError::Handshake`] if one side refused, or the handshake took too long.
    ///
    /// # Cancel safety
    /// Cancelled, nothing is left.
    ///
    /// # Panics
    /// As [`connect`](Self::connect).
    pub async fn connect_with(
        address: impl AsRef<Path>,
        config: &Config,
    ) -> Result<Self, ConnectError> {
        let established = connect(address, config).await?;
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
    /// # Cancel safety
    /// Cancelled, the socket is closed.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    ///
    /// ```no_run
    /// use std::os::unix::net::UnixStream;
    /// use shmipc_async::{Config, Role, Session};
    ///
    /// # async fn start(start_child: fn(UnixStream)) -> Result<(), Box<dyn std::error::Error>> {
    /// let (ours, theirs) = UnixStream::pair()?;
    /// start_child(theirs); // which calls `from_stream` with `Role::Client`
    /// let session = Session::from_stream(ours, Role::Server, &Config::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn from_stream(
        stream: UnixStream,
        role: Role,
        config: &Config,
    ) -> Result<Self, HandshakeError> {
        Self::from_established(connect::over(stream, role, config).await?, config)
    }

    /// Makes both ends of a session in this process, for tests and for threads.
    ///
    /// # Errors
    /// [`HandshakeError`], if the kernel refuses descriptors or memory.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    ///
    /// ```
    /// use shmipc_async::Session;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (client, server) = Session::pair()?;
    /// let mut stream = client.open()?;
    /// stream.send(b"hello").await?;
    /// let message = server.accept().await?.recv().await?.expect("a message");
    /// assert_eq!(message[..], *b"hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn pair() -> Result<(Self, Self), HandshakeError> {
        Self::pair_with(&Config::default(), &Config::default())
    }

    /// Makes both ends of a session in this process with a configuration for each.
    ///
    /// # Errors
    /// [`HandshakeError`], if they do not fit, or the kernel refuses descriptors or memory.
    ///
    /// # Panics
    /// As [`pair`](Self::pair).
    pub fn pair_with(client: &Config, server: &Config) -> Result<(Self, Self), HandshakeError> {
        let (a, b) = pair(client, server)?;
        Ok((Self::from_established(a, client)?, Self::from_established(b, server)?))
    }

    pub(crate) fn from_established(
        established: Established,
        config: &Config,
    ) -> Result<Self, HandshakeError> {
        Ok(Self::from_core(Core::new(established, config)?)?)
    }

    /// Starts the session's driver.
    pub(crate) fn from_core(core: Core) -> Result<Self, OsError> {
        driver::start(&core)?;
        Ok(Self { core })
    }

    /// Opens a stream. The peer learns of it with the first record that is sent, at the latest before
    /// the first `recv` waits. Never waits and makes no system call.
    ///
    /// # Errors
    /// [`OpenError::TooManyStreams`] if as many are open as the peer allows; [`OpenError::GoingAway`] once
    /// the peer leaves, [`OpenError::Leaving`] once we do; [`OpenError::Session`].
    pub fn open(&self) -> Result<Stream, OpenError> {
        let (send, recv) = self.core.open()?;
        Ok(Stream::new(&self.core, send, recv))
    }

    /// As [`open`](Self::open), but waits while as many streams are open as the peer allows. Cancel safe:
    /// it opens a stream when it returns one.
    ///
    /// # Errors
    /// As [`open`](Self::open), but never [`OpenError::TooManyStreams`].
    pub async fn open_wait(&self) -> Result<Stream, OpenError> {
        let mut opening = self.core.opening();
        let (send, recv) =
            poll_fn(|cx| poll_once(&self.core, cx, &mut opening, Opening::poll)).await?;
        Ok(Stream::new(&self.core, send, recv))
    }

    /// Accepts the next stream that the peer opens. Cancel safe: no stream is lost.
    ///
    /// # Errors
    /// [`AcceptError::Session`] once the session is over and every stream was accepted;
    /// [`AcceptError::Leaving`] once we leave and every stream that we still take was.
    pub async fn accept(&self) -> Result<Stream, AcceptError> {
        let wait = Wait::new(&self.core, Core::forget_accepts);
        let accepted = wait.until(|core, cx| {
            poll(core, cx, &mut (), |()| core.is_alone(), |(), waker| core.poll_accept(waker))
        });
        let (send, recv) = accepted.await?;
        Ok(Stream::new(&self.core, send, recv))
    }

    /// Accepts the next stream if the peer has opened one. Never waits.
    ///
    /// # Errors
    /// [`TryError::WouldBlock`] if it has not, and then no task is woken when it does; else as [`accept`](Self::accept).
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

    /// Closes the session. The peer reads what was published, then learns `code`; calls on this side
    /// fail from now on. Never waits.
    pub fn close(&self, code: u32) {
        self.core.close(code);
    }

    /// Waits until the session is over, and says why. Cancel safe.
    pub async fn closed(&self) -> SessionError {
        let wait = Wait::new(&self.core, Core::forget_closed);
        wait.until(|core, cx| poll_once(core, cx, &mut (), |(), waker| core.poll_closed(waker)))
            .await
    }

    /// Whether the session is over: closed by either side, or the peer died.
    pub fn is_closed(&self) -> bool {
        self.core.is_over()
    }

    /// Leaves: takes no streams but those that the peer has opened so far, which are served to their end;
    /// the peer knows for certain which ones they are. No more can be opened here. Never waits; the
    /// session goes on until [`close`](Self::close).
    pub fn leave(&self) {
        self.core.leave();
    }

    /// Waits until every stream that the peer opened before we [left](Self::leave) is over: accepted, and
    /// ended by both sides. Cancel safe.
    ///
    /// # Errors
    /// [`DrainError::Session`] if the session ends before.
    pub async fn drained(&self) -> Result<(), DrainError> {
        let wait = Wait::new(&self.core, Core::forget_drained);
        wait.until(|core, cx| poll_once(core, cx, &mut (), |(), waker| core.poll_drained(waker)))
            .await
    }

    /// Whether the peer leaves: it serves the streams that we have opened, and takes no more.
    pub fn is_peer_leaving(&self) -> bool {
        self.core.is_peer_leaving()
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

    /// The limits that both sides agreed on for what we send.
    pub fn geometry(&self) -> Geometry {
        self.core.geometry()
    }

    /// Counters of this side.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

/// A wait that the core is told of when it is given up, lest wakers of those who have left pile up.
struct Wait<'a> {
    core: &'a Core,
    forget: fn(&Core),
    pending: bool,
}

impl<'a> Wait<'a> {
    fn new(core: &'a Core, forget: fn(&Core)) -> Self {
        Self { core, forget, pending: false }
    }

    async fn until<T>(mut self, mut poll: impl FnMut(&Core, &mut Context<'_>) -> Poll<T>) -> T {
        poll_fn(|cx| {
            let polled = poll(self.core, cx);
            self.pending = polled.is_pending();
            polled
        })
        .await
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.pending {
            (self.forget)(self.core);
        }
    }
}
