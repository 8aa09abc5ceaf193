//! Connections, whatever carries them.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use shmipc_async::{PeerCred, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection over shared memory or a socket: bytes, in both directions.
///
/// What was written over shared memory is published before the write returns; a flush has nothing to do. So
/// the peer has to read bytes, as another connection does: the messages of [`Stream::recv`] never end.
///
/// Reads and writes are cancel safe, whatever carries them: a pending read has taken nothing, a pending write has
/// written nothing.
#[derive(Debug)]
pub struct Connection {
    carrier: Carrier,
    peer: Peer,
}

#[derive(Debug)]
enum Carrier {
    Shm(Box<Stream>),
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Who is on the other end.
///
/// A tonic service finds it in the extensions of the request, an axum handler in its `ConnectInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine, as the kernel says.
    Process(PeerCred),
    /// A process somewhere, connected over TCP.
    Remote(SocketAddr),
}

impl Connection {
    /// A connection over a stream of a session with `peer`.
    pub fn new(mut stream: Stream, peer: PeerCred) -> Self {
        // What was read may be for a task that has yet to run.
        stream.receiver().look_longer(false);
        Self { carrier: Carrier::Shm(Box::new(stream)), peer: Peer::Process(peer) }
    }

    pub(crate) fn unix(socket: UnixStream) -> io::Result<Self> {
        let cred = socket.peer_cred()?;
        let peer = PeerCred::new(cred.pid().unwrap_or(0), cred.uid(), cred.gid());
        Ok(Self { carrier: Carrier::Unix(socket), peer: Peer::Process(peer) })
    }

    pub(crate) fn tcp(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let peer = Peer::Remote(socket.peer_addr()?);
        Ok(Self { carrier: Carrier::Tcp(socket), peer })
    }

    /// Who is on the other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }
}

/// Calls a method of whatever carries the connection.
macro_rules! carried {
    ($connection:expr, $carrier:pat => $call:expr) => {
        match &mut $connection.get_mut().carrier {
            Carrier::Shm($carrier) => $call,
            Carrier::Unix($carrier) => $call,
            Carrier::Tcp($carrier) => $call,
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        carried!(self, carrier => Pin::new(carrier).poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        carried!(self, carrier => Pin::new(carrier).poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        carried!(self, carrier => Pin::new(carrier).poll_write_vectored(cx, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is kept back, by any carrier: ending a message, which is what a flush of a stream does, would
    /// be one more record for a peer that does not care.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, carrier => Pin::new(carrier).poll_shutdown(cx))
    }
}

#[cfg(feature = "client")]
impl hyper_util::client::legacy::connect::Connection for Connection {
    fn connected(&self) -> hyper_util::client::legacy::connect::Connected {
        hyper_util::client::legacy::connect::Connected::new().extra(self.peer)
    }
}
