//! Unix and TCP sockets.

use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use http::uri::Authority;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

const HTTP_PORT: u16 = 80;

pub(crate) async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(kernel_path(path)).await
}

pub(crate) async fn connect_tcp(authority: &Authority) -> io::Result<TcpStream> {
    TcpStream::connect(host_and_port(authority)).await
}

/// Listens at a path, and replaces a socket file that nobody answers at.
pub(crate) async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let path = kernel_path(path);
    match UnixListener::bind(&path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(&path).await => {
            std::fs::remove_file(&path)?;
            UnixListener::bind(&path)
        }
        bound => bound,
    }
}

pub(crate) async fn bind_tcp(authority: &Authority) -> io::Result<TcpListener> {
    TcpListener::bind(host_and_port(authority)).await
}

async fn is_stale(path: &Path) -> bool {
    let connected = UnixStream::connect(path).await;
    matches!(connected, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
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
