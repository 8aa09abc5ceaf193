//! Unix and TCP sockets.

use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use http::uri::Authority;
use shmipc_core::listen::{ListenOptions, SocketFile, bind_unix as bind_listener};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::{Address, BindError};

const HTTP_PORT: u16 = 80;

pub(crate) async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(kernel_path(path)).await
}

pub(crate) async fn connect_tcp(authority: &Authority) -> io::Result<TcpStream> {
    TcpStream::connect(host_and_port(authority)).await
}

/// A Unix socket that listens. Its file goes with it.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    pub(crate) listener: UnixListener,
    _file: Option<SocketFile>,
}

/// Listens at a path, by the same rules as a listener of shared memory: only a socket of a dead server is replaced.
pub(crate) fn bind_unix(address: &Address, path: &Path) -> Result<UnixSocket, BindError> {
    let (listener, file) = bind_listener(path, &ListenOptions::new())?;
    let listener =
        UnixListener::from_std(listener).map_err(|error| BindError::socket(address, &error))?;
    Ok(UnixSocket { listener, _file: file })
}

pub(crate) async fn bind_tcp(authority: &Authority) -> io::Result<TcpListener> {
    TcpListener::bind(host_and_port(authority)).await
}

/// The kernel marks an abstract name with a zero byte.
fn kernel_path(path: &Path) -> PathBuf {
    match path.as_os_str().as_bytes() {
        [b'@', name @ ..] => PathBuf::from(std::ffi::OsString::from_vec([b"\0", name].concat())),
        _ => path.to_owned(),
    }
}

fn host_and_port(authority: &Authority) -> (&str, u16) {
    let host = authority.host();
    // An IPv6 address stands in brackets.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (host, authority.port_u16().unwrap_or(HTTP_PORT))
}
