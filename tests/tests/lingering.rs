//! Files whose close blocks, passed before and instead of a handshake: no thread that serves, and none that
//! connects, closes them.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use shmipc_sync::{
    AcceptStats, Config, ConnectError, HandshakeError, Listener, PeerCred, PeerMisbehaved, Session,
    TryError,
};
use tests::deadline::{start, until, within};
use tests::hostile::lingering::{let_go, lingering};
use tests::needs::short_directory;

/// Sends bytes with a socket that lingers, which nothing else refers to afterwards. Linux 6.16 and later can
/// refuse that (`EPERM`).
fn pass(socket: impl AsFd, bytes: &[u8]) -> Result<(), Errno> {
    let lingering = lingering();
    let numbers = [lingering.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&numbers)];
    let number = socket.as_fd().as_raw_fd();
    let sent = sendmsg::<()>(number, &[IoSlice::new(bytes)], &rights, MsgFlags::empty(), None);
    let_go(lingering);
    sent.map(|n| assert_eq!(n, bytes.len()))
}

fn refusing() -> Config {
    Config::builder().authorizer(|_: PeerCred| false).build().unwrap()
}

/// The listener hangs neither in its turn nor in its end.
fn accept_until(listener: Listener, done: fn(&AcceptStats) -> bool) {
    within("the listener", move || {
        until("it has dealt with the client", || {
            assert_eq!(listener.try_accept().err(), Some(TryError::WouldBlock));
            done(&listener.stats())
        });
    });
}

#[test]
fn refused_client_that_queues_a_lingering_socket_delays_no_accept() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    // What it passes before the library has the listener, no kernel refuses.
    let socket = UnixListener::bind(&path).unwrap();
    let clients = [(); 3].map(|()| UnixStream::connect(&path).unwrap());
    clients.iter().for_each(|client| pass(client, &[0]).unwrap());
    let listener = Listener::builder().config(refusing()).listener(socket).unwrap();
    accept_until(listener, |stats| stats.refused == 3);
}

#[test]
fn refused_client_of_a_bound_listener_delays_no_accept() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let listener = Listener::builder().config(refusing()).bind(&path).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    if let Err(errno) = pass(&client, &[0; 8]) {
        assert_eq!(errno, Errno::EPERM, "refused by the kernel, before our authorizer");
    }
    accept_until(listener, |stats| stats.refused == 1);
}

#[test]
fn garbage_with_a_lingering_socket_delays_no_accept() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let socket = UnixListener::bind(&path).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    pass(&client, &[0; 8]).unwrap();
    pass(&client, &[0; 8]).unwrap();
    let listener = Listener::builder().listener(socket).unwrap();
    accept_until(listener, |stats| stats.failed == 1);
}

/// The connections that wait in a listener go with it.
#[test]
fn listener_that_closes_with_a_lingering_socket_in_its_backlog_does_not_wait() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let socket = UnixListener::bind(&path).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    pass(&client, &[0; 8]).unwrap();
    let listener = Listener::builder().listener(socket).unwrap();
    within("closing", move || drop(listener));
}

/// A server that answers with `bytes` and sockets that linger, until its client is gone.
fn answer(path: &Path, bytes: &'static [u8]) -> mpsc::Sender<()> {
    let listener = UnixListener::bind(path).unwrap();
    let (end, ended) = mpsc::channel();
    start("the server", move || {
        let (socket, _) = listener.accept().unwrap();
        // The client takes descriptors once it has judged the server.
        until("the client is ready, or gone", || pass(&socket, bytes) != Err(Errno::EPERM));
        let _ = pass(&socket, bytes);
        let _: Result<(), _> = ended.recv();
    });
    end
}

#[test]
fn connect_to_a_server_that_passes_lingering_sockets_returns() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let _server = answer(&path, &[0; 8]);
    let error = within("connecting", move || Session::connect(&path).unwrap_err());
    let expected = ConnectError::Handshake(HandshakeError::Misbehaved(PeerMisbehaved::Descriptors));
    assert_eq!(error, expected);
}

#[test]
fn connect_refuses_a_server_that_passes_lingering_sockets_and_returns() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let _server = answer(&path, &[0; 8]);
    let error =
        within("connecting", move || Session::connect_with(&path, &refusing()).unwrap_err());
    assert!(matches!(error, ConnectError::Handshake(HandshakeError::RefusedPeer(_))), "{error}");
}
