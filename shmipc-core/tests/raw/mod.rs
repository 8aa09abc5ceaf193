//! A peer played by hand: the other end of a session, without a session on it.
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use shmipc_core::config::Config;
use shmipc_core::handle::Session;
use shmipc_core::handshake::{Established, Exchange, Progress, Role};
use shmipc_core::link::PeerSocket;
use shmipc_core::mem::{OwnMapping, PeerMapping};
use shmipc_core::queue::RecordWriter;

/// The server's end.
pub struct Raw {
    /// Its outbox.
    pub own: Arc<OwnMapping>,
    /// What writes records there.
    pub records: RecordWriter<Arc<OwnMapping>, Arc<PeerMapping>>,
    /// The session's outbox.
    pub peer: Arc<PeerMapping>,
    /// Its socket.
    pub socket: PeerSocket,
}

/// A session of the client's, and its peer by hand. Both have the default limits.
pub fn session() -> (Session, Raw) {
    session_with(&Config::default())
}

/// The same under a configuration.
pub fn session_with(config: &Config) -> (Session, Raw) {
    let [client, server] = established(config);
    let records = RecordWriter::new(Arc::clone(&server.own), Arc::clone(&server.peer), &server.out);
    let raw = Raw { own: server.own, records, peer: server.peer, socket: server.socket };
    (Session::new(client, config).unwrap(), raw)
}

/// Both ends of a session.
pub fn pair() -> [Session; 2] {
    pair_with(&Config::default())
}

/// The same under a configuration.
pub fn pair_with(config: &Config) -> [Session; 2] {
    established(config).map(|end| Session::new(end, config).unwrap())
}

/// Both ends of a handshake that has not begun.
pub fn exchanges(config: &Config) -> [Exchange; 2] {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let (a, b) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap();
    [(Role::Client, a), (Role::Server, b)]
        .map(|(role, socket)| Exchange::new(role, socket, config).unwrap())
}

fn established(config: &Config) -> [Established; 2] {
    let mut ends = exchanges(config);
    while ends.each_mut().map(|end| end.progress().unwrap()) != [Progress::Done; 2] {}
    ends.map(|end| end.finish().unwrap())
}
