//! A server that is to take over from somebody who is no server, or one that it does not understand: it says what is wrong,
//! and does not serve.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use shmipc_core::link::{self, Receive, Sent};
use shmipc_core::wire::{self, Decoder, Frame, Inode, Refuse};
use tests::deadline::PATIENCE;
use tests::generations::Place;
use tests::needs::short_directory;
use tests::with_both_servers;

const GENERATION: &str = env!("CARGO_BIN_EXE_generation");

with_both_servers! {
    predecessors_that_refuse
    predecessors_that_make_no_sense
    predecessors_that_offer_something_else
}

/// A successor claims, is answered with these bytes and descriptors, and says why it fails.
#[track_caller]
fn answered(place: &Place, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> String {
    let path = place.path().with_extension("upgrade");
    let upgrade = UnixListener::bind(&path).unwrap();
    let mut successor = place.server(&[]);
    let (socket, _) = upgrade.accept().unwrap();
    let socket = OwnedFd::from(socket);
    assert!(link::wait_ready(socket.as_fd(), true, false, Some(PATIENCE)).unwrap());
    let mut decoder = Decoder::new();
    assert_eq!(link::receive(socket.as_fd(), &mut decoder).unwrap(), Receive::Bytes);
    assert!(matches!(decoder.next_frame(), Ok(Some(Frame::Claim(_)))));
    assert_eq!(link::send(socket.as_fd(), bytes, fds).unwrap(), Sent::Whole);
    let failure = successor.line("failed");
    successor.succeed();
    std::fs::remove_file(path).unwrap();
    assert!(!place.path().exists(), "it has bound nothing");
    failure
}

/// An older or newer server.
fn predecessors_that_refuse(place: &Place) {
    for (reason, number, expected) in [
        (1, 7, "UpgradeRefused(Unauthorized(7))"),
        (2, 7, "UpgradeRefused(Version(7))"),
        (18, 0, "UpgradeRefused(TooSlow)"),
        (99, 0, "UpgradeRefused(Other(99))"),
    ] {
        let refusal = wire::refuse(&Refuse { reason, number, text: "for fun".into() });
        assert_eq!(answered(place, &refusal, &[]), expected);
    }
}

fn predecessors_that_make_no_sense(place: &Place) {
    let mut dialect = wire::refuse(&Refuse { reason: 2, number: 7, text: String::new() });
    dialect[6] += 1;
    let offer = wire::offer(2, [Inode::default(); 2], false, [false; 2]);
    for bytes in
        [&dialect[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", &wire::yield_(), &wire::BELL, &offer]
    {
        assert_eq!(answered(place, bytes, &[]), "UpgradeRefused(Nonsense)", "{bytes:?}");
    }
}

/// Descriptors that are no sockets, or other ones, or of no process.
fn predecessors_that_offer_something_else(place: &Place) {
    let directory = short_directory();
    let [one, other] = ["one", "other"].map(|name| {
        UnixListener::bind(directory.path().join(name)).expect("a directory of our own")
    });
    let null = File::open("/dev/null").unwrap();
    let file = tempfile::tempfile().unwrap();
    let bytes = wire::offer(2, [Inode::default(); 2], false, [true; 2]);
    let fds = [one.as_fd(), other.as_fd(), file.as_fd(), file.as_fd()];
    assert!(answered(place, &bytes, &fds).starts_with("OtherPath"));
    let bytes = wire::offer(2, [Inode::default(); 2], false, [false; 2]);
    for fds in [[one.as_fd(), other.as_fd()], [null.as_fd(), file.as_fd()]] {
        assert!(answered(place, &bytes, &fds).starts_with("OtherPath"));
    }
    let bytes = wire::offer(2, [Inode::default(); 2], true, [false; 2]);
    for no_process in [null.as_fd(), file.as_fd(), one.as_fd()] {
        let fds = [one.as_fd(), other.as_fd(), no_process];
        assert_eq!(answered(place, &bytes, &fds), "UpgradeRefused(Nonsense)");
    }
}
