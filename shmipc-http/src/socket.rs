//! Unix and TCP sockets.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};

use http::uri::Authority;
use shmipc_async::ListenError;
use shmipc_core::link;
use shmipc_core::listen::{ListenOptions, SocketFile, bind_unix as bind_listener};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{Sleep, sleep};

use crate::{Address, BindError, Connection};

/// Between two looks at the socket file.
const LOOK: Duration = Duration::from_secs(60);
const HTTP_PORT: u16 = 80;

/// Connects a socket. An address of shared memory has none.
pub(crate) async fn connect(address: &Address) -> io::Result<Connection> {
    match address {
        Address::Shm(_) => Err(io::ErrorKind::Unsupported.into()),
        Address::Unix(path) => {
            let address = link::Address::parse(path).map_err(|_| io::ErrorKind::InvalidInput)?;
            let socket = link::try_connect(&address).map_err(io::Error::from)?;
            Connection::unix(UnixStream::from_std(socket.into_plain().into())?)
        }
        Address::Http(authority) => {
            Connection::tcp(TcpStream::connect(host_and_port(authority)).await?)
        }
    }
}

/// A Unix socket that listens. Its file goes with it.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    pub(crate) listener: UnixListener,
    file: Option<SocketFile>,
    look: Pin<Box<Sleep>>,
}

impl UnixSocket {
    /// Once a minute, looks whether clients find the socket file, as a listener of shared memory does.
    pub(crate) fn poll_look(&mut self, cx: &mut Context<'_>) -> Result<(), ListenError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        while self.look.as_mut().poll(cx).is_ready() {
            self.look = Box::pin(sleep(LOOK));
            let Some(socket) = file.look(&ListenOptions::new(), Instant::now())? else { continue };
            match UnixListener::from_std(socket.into()) {
                Ok(listener) => self.listener = listener,
                Err(error) => tracing::warn!(%error, "the new socket cannot be watched"),
            }
        }
        Ok(())
    }
}

/// Listens at a path, by the same rules as a listener of shared memory: only a socket of a dead server is replaced.
pub(crate) fn bind_unix(address: &Address, path: &Path) -> Result<UnixSocket, BindError> {
    let (listener, file) = bind_listener(path, &ListenOptions::new())?;
    let listener =
        UnixListener::from_std(listener).map_err(|error| BindError::socket(address, &error))?;
    Ok(UnixSocket { listener, file, look: Box::pin(sleep(LOOK)) })
}

pub(crate) async fn bind_tcp(authority: &Authority) -> io::Result<TcpListener> {
    TcpListener::bind(host_and_port(authority)).await
}

fn host_and_port(authority: &Authority) -> (&str, u16) {
    let host = authority.host();
    // An IPv6 address stands in brackets.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (host, authority.port_u16().unwrap_or(HTTP_PORT))
}
