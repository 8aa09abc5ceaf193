//! Connections that say too little to become a session.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use shmipc_core::handshake::hello;
use shmipc_core::link::{self, Address, PeerSocket, Sent};
use shmipc_sync::Config;

/// Connections of this process to one server, none of which is ever closed by it.
#[derive(Debug)]
pub struct Crowd {
    path: PathBuf,
    sockets: Vec<PeerSocket>,
}

impl Crowd {
    /// Makes none yet.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), sockets: Vec::new() }
    }

    /// Makes `count` connections more, or as many as this process may have open. A third of them say nothing, a third
    /// half a Hello, a third a whole one.
    ///
    /// # Panics
    /// If no process listens.
    pub fn grow(&mut self, count: usize) {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
        setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("a soft limit");
        let room = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(16);
        let wanted = (self.sockets.len() + count).min(room);
        let address = Address::parse(&self.path).expect("an address");
        let hello = hello(&Config::default()).encode();
        while self.sockets.len() < wanted {
            match link::try_connect(&address) {
                Ok(socket) => {
                    let said = [0, hello.len() / 2, hello.len()][self.sockets.len() % 3];
                    // The server may have refused it already.
                    let _: Result<Sent, _> = link::send(socket.as_fd(), &hello[..said], &[]);
                    self.sockets.push(socket);
                }
                // The backlog is full.
                Err(error) if error.code == nix::libc::EAGAIN => thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }
}
