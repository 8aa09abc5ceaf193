//! A forked child of a server holds the listening socket and its lock when the server is dead: a new server takes the path
//! nevertheless, and never while the server lives.

#![allow(unsafe_code, reason = "fork")]

use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::path::Path;
use std::sync::Mutex;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use shmipc_sync::{ListenError, Listener, Session};
use tests::deadline::start;

/// A server that has a forked child. Dropped, both end.
struct Server {
    pid: Pid,
    /// The child waits for its end.
    _child: PipeWriter,
}

impl Server {
    /// `bind` binds in a process of its own. Returns when that process has forked.
    fn start(bind: impl FnOnce() -> Listener) -> Self {
        // A child of another test would hold these pipes open.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock();
        let (wait, child) = pipe().unwrap();
        let (mut ready, say) = pipe().unwrap();
        // SAFETY: the child allocates, which glibc allows after a fork, and leaves without returning.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                drop((child, ready));
                let _listener = bind();
                // SAFETY: as above.
                if let Ok(ForkResult::Child) = unsafe { fork() } {
                    drop(say);
                    sleep_until_closed(wait);
                }
                // The test reads the end when both have closed it.
                drop((say, wait));
                loop {
                    nix::unistd::pause();
                }
            }
            ForkResult::Parent { child: pid } => {
                drop((say, wait));
                ready.read_to_end(&mut Vec::new()).unwrap();
                Self { pid, _child: child }
            }
        }
    }

    fn kill(&self) {
        kill(self.pid, Signal::SIGKILL).unwrap();
        waitpid(self.pid, None).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if kill(self.pid, Signal::SIGKILL).is_ok() {
            let _ = waitpid(self.pid, None);
        }
    }
}

fn sleep_until_closed(mut wait: PipeReader) -> ! {
    let _ = wait.read(&mut [0]);
    // SAFETY: ends the process.
    unsafe { nix::libc::_exit(0) }
}

#[track_caller]
fn expect_in_use(bound: Result<Listener, ListenError>) {
    assert!(matches!(bound, Err(ListenError::InUse { .. })), "{bound:?}");
}

#[track_caller]
fn serves(listener: Listener, path: &Path) {
    let path = path.to_owned();
    let client = start("a client", move || Session::connect(path).map(drop));
    listener.accept().unwrap();
    client.join().unwrap();
}

#[test]
fn a_new_server_replaces_the_socket_that_a_forked_child_of_a_dead_one_holds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let dead = Server::start(|| Listener::bind(&path).unwrap());
    expect_in_use(Listener::bind(&path));
    dead.kill();
    let listener = Listener::bind(&path).unwrap();
    expect_in_use(Listener::bind(&path));
    serves(listener, &path);
}

#[test]
fn a_new_server_replaces_the_upgrade_socket_that_a_forked_child_of_a_dead_one_holds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let dead = Server::start(|| Listener::bind_upgradable(&path).unwrap());
    dead.kill();
    let listener = Listener::bind_upgradable(&path).unwrap();
    assert_eq!(listener.generation(), 1);
    serves(listener, &path);
}

/// The limit that the guide names.
#[test]
fn an_abstract_name_that_a_forked_child_of_a_dead_server_holds_is_in_use() {
    let name = format!("@shmipc-fork-{}", std::process::id());
    let dead = Server::start(|| Listener::bind(&name).unwrap());
    dead.kill();
    expect_in_use(Listener::bind(&name));
}
