//! What happens to clients and servers in the middle of an upgrade, and at its limits.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use shmipc_core::handle::Session as Core;
use shmipc_core::handshake::{Exchange, Progress, Role};
use shmipc_core::link::{self, Address};
use shmipc_sync::{Client, Config, HandshakeError, OpenError, Session};
use tests::child::Peer;
use tests::deadline::{PATIENCE, start, until};
use tests::generations::{Asking, Place, ask};
use tests::needs::not_tried;
use tests::proc::{is_asleep, is_stopped, limit_descriptors};
use tests::with_both_servers;

const GENERATION: &str = env!("CARGO_BIN_EXE_generation");

with_both_servers! {
    clients_between_two_servers
    a_predecessor_that_is_stopped_when_it_has_made_way
    handshakes_that_are_cut_short
    a_successor_without_descriptors
    a_predecessor_without_descriptors
    a_predecessor_with_one_descriptor_left
    a_file_that_was_replaced
    a_successor_of_another_user
}

/// Nobody accepts for as long as the successor likes: who comes now waits, and nobody who is there notices.
fn clients_between_two_servers(place: &Place) {
    let mut first = place.next(1);
    let mut held = Session::connect(place.path()).map(Some).unwrap();
    assert_eq!(ask(&place.path(), &mut held), 1);
    let mut second = place.asking(2);
    let coming: Vec<_> = (0..5)
        .map(|_| {
            let path = place.path();
            start("a client", move || ask(&path, &mut None))
        })
        .collect();
    for _ in 0..100 {
        assert_eq!(ask(&place.path(), &mut held), 1);
    }
    second.say("go on");
    second.line("serving");
    coming.into_iter().for_each(|client| assert_eq!(client.join(), 2));
    first.line("drained");
}

/// A predecessor that is stopped when its turn is over keeps nobody but those whom it serves; these go on with it.
fn a_predecessor_that_is_stopped_when_it_has_made_way(place: &Place) {
    let mut first = place.next(1);
    let client = Client::new(place.path(), Config::default());
    client.call(b"question", Instant::now() + PATIENCE).unwrap();
    let held = Session::connect(place.path()).unwrap();
    let mut stream = held.open().unwrap();
    stream.send(b"one").unwrap();
    stream.recv().unwrap();
    let mut second = place.asking(2);
    first.signal(Signal::SIGSTOP);
    until("it is stopped", || is_stopped(first.pid()));
    second.say("go on");
    second.line("serving");
    place.is_served_by(2);
    // Those that are with it cannot know that there is another one, and wait.
    stream.send(b"two").unwrap();
    let calling = start("a call", move || client.call(b"question", Instant::now() + PATIENCE));
    place.is_served_by(2);
    assert!(!held.is_peer_leaving() && !held.is_closed());
    first.signal(Signal::SIGCONT);
    assert_eq!(stream.recv().unwrap().unwrap().to_vec(), b"1 two");
    assert!(calling.join().is_ok());
    until("it leaves", || held.is_peer_leaving());
    stream.finish().unwrap();
    first.line("drained");
    first.succeed();
}

/// A client as far as its first frame, or as far as a quick server leads it, and where it is.
fn begin(place: &Place) -> (Exchange, Progress) {
    let address = Address::parse(place.path()).unwrap();
    let socket = link::try_connect(&address).unwrap();
    let mut exchange = Exchange::new(Role::Client, socket, &Config::default()).unwrap();
    let progress = exchange.progress().unwrap();
    (exchange, progress)
}

/// What becomes of it.
fn end(mut exchange: Exchange, mut progress: Progress) -> Result<Core, HandshakeError> {
    let config = Config::default();
    while let Progress::Pending(_) = progress {
        link::wait_ready(exchange.as_fd(), true, false, None).unwrap();
        progress = exchange.progress()?;
    }
    Ok(Core::new(exchange.finish().unwrap(), &config).unwrap())
}

/// Those that have not got far are told to try again, which leads them to the successor, and do not keep
/// the predecessor; nor do those that say nothing at all.
fn handshakes_that_are_cut_short(place: &Place) {
    let mut first = place.next(1);
    let mute = link::try_connect(&Address::parse(place.path()).unwrap()).unwrap();
    let begun: Vec<_> = (0..3).map(|_| begin(place)).collect();
    // They were taken from the backlog before this one.
    place.is_served_by(1);
    let _second = place.next(2);
    first.line("handed over");
    for (exchange, progress) in begun {
        match end(exchange, progress) {
            Err(error) => {
                assert_eq!(error, HandshakeError::Refused(shmipc_core::error::Refusal::Busy))
            }
            // It had got far.
            Ok(session) => {
                until("it is told", || session.open().err() == Some(OpenError::GoingAway))
            }
        }
    }
    first.line("drained");
    first.succeed();
    drop(mute);
    place.is_served_by(2);
}

/// A successor that cannot take all of the sockets fails, and the predecessor serves on.
fn a_successor_without_descriptors(place: &Place) {
    let mut first = place.next(1);
    let client = Asking::start(&place.path());
    client.is_served_by(1);
    let mut failures = 0;
    let _second = 'tries: loop {
        let mut second = place.server(&[&format!("descriptors={failures}")]);
        loop {
            let line = second.next_line();
            if line.starts_with("failed") {
                assert!(line.contains("code: 24"), "too many open files: {line}");
                place.is_served_by(1);
                failures += 1;
                break;
            } else if line.starts_with("serving") {
                break 'tries second;
            }
        }
    };
    assert!(failures > 5, "sockets, locks and the process itself are handed over");
    first.line("drained");
    client.is_served_by(2);
    client.end();
}

/// A predecessor that cannot let anybody in serves on, and is taken over from when it can.
fn a_predecessor_without_descriptors(place: &Place) {
    let mut first = place.next(1);
    let mut held = Session::connect(place.path()).map(Some).unwrap();
    assert_eq!(ask(&place.path(), &mut held), 1);
    // It has nothing open for a moment, such as a file that says how many CPUs there are.
    until("it has nothing to do", || is_asleep(first.pid()));
    limit_descriptors(first.pid(), Some(0));
    let mut second = place.server(&[]);
    for _ in 0..1000 {
        assert_eq!(ask(&place.path(), &mut held), 1);
    }
    limit_descriptors(first.pid(), None);
    second.line("serving");
    until("the client is told to leave", || ask(&place.path(), &mut held) == 2);
    first.line("drained");
}

/// One that can let somebody in and take nothing from him says so, and serves on.
fn a_predecessor_with_one_descriptor_left(place: &Place) {
    let mut first = place.next(1);
    until("it has nothing to do", || is_asleep(first.pid()));
    limit_descriptors(first.pid(), Some(1));
    let mut second = place.server(&[]);
    assert_eq!(second.line("failed"), "UpgradeRefused(Shortage)");
    limit_descriptors(first.pid(), None);
    place.is_served_by(1);
    let _second = place.next(2);
    first.line("drained");
}

/// Somebody has put another socket where the server listens: its successor would not be found there.
fn a_file_that_was_replaced(place: &Place) {
    let mut first = place.next(1);
    let mut held = Session::connect(place.path()).map(Some).unwrap();
    assert_eq!(ask(&place.path(), &mut held), 1);
    std::fs::remove_file(place.path()).unwrap();
    let _other = UnixListener::bind(place.path()).unwrap();
    let mut second = place.server(&[]);
    assert!(second.line("failed").starts_with("OtherPath"));
    assert_eq!(ask(&place.path(), &mut held), 1);
    first.hang_up();
    first.line("failed Closed");
}

/// Another user gets nothing, even if the mode of the upgrade socket lets him connect. Only root can try.
fn a_successor_of_another_user(place: &Place) {
    const NOBODY: u32 = 65534;
    if !geteuid().is_root() {
        not_tried("a successor of another user, which needs root");
        return;
    }
    let _first = place.next(1);
    let directory = place.path().parent().unwrap().to_owned();
    let allow = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    // Its own copy, since the directory of the program may be closed to others.
    let program = directory.join("generation");
    std::fs::copy(GENERATION, &program).unwrap();
    allow(&directory, 0o755);
    allow(&program, 0o755);
    let successor = || {
        let mut command = Command::new(&program);
        Peer::of(command.arg(place.path()).uid(NOBODY).gid(NOBODY).stdin(Stdio::piped()))
    };
    let refused = successor().line("failed");
    assert_eq!(refused, "ForeignServer { uid: 0 }", "its owner is named");
    allow(&directory.join("socket.upgrade"), 0o666);
    assert_eq!(
        successor().line("failed"),
        "ForeignServer { uid: 0 }",
        "it looks at the server itself"
    );
    place.is_served_by(1);
    let _second = place.next(2);
}
