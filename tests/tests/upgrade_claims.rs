//! Whoever connects to the upgrade socket of a server says what he likes, or nothing at all: the server says what is
//! wrong with it, serves on, and lets a real successor in.

use std::fs::File;
use std::io::pipe;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::socket::{Shutdown, shutdown};
use shmipc_core::link::{self, Receive, Sent};
use shmipc_core::mem::pidfd_of_self;
use shmipc_core::upgrade::VERSION;
use shmipc_core::wire::{self, Claim, Decoder, Frame};
use tests::child::Peer;
use tests::deadline::{PATIENCE, until};
use tests::generations::{Asking, Place};
use tests::needs::short_directory;
use tests::proc::descriptors;
use tests::with_both_servers;

const GENERATION: &str = env!("CARGO_BIN_EXE_generation");

with_both_servers! {
    successors_of_other_versions
    claims_that_make_no_sense
    claims_that_are_cut_short
    claims_with_wrong_descriptors
    a_successor_that_says_too_much
    connections_that_say_nothing
}

/// Reasons, as they are on the wire.
const WRONG_VERSION: u32 = 2;
const WRONG_APPLICATION: u32 = 3;
const IN_PROGRESS: u32 = 16;
const NONSENSE: u32 = 19;

/// What comes back.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// A reason and its number.
    Refused(u32, u32),
    /// The sockets.
    Offered,
    /// The end.
    HungUp,
}

/// A connection to the upgrade socket.
struct ByHand {
    socket: OwnedFd,
    decoder: Decoder,
}

impl ByHand {
    fn connect(place: &Place) -> Self {
        let socket = UnixStream::connect(place.path().with_extension("upgrade")).unwrap();
        Self { socket: socket.into(), decoder: Decoder::new() }
    }

    fn say(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        assert_eq!(link::send(self.socket.as_fd(), bytes, fds).unwrap(), Sent::Whole);
    }

    /// The next word.
    #[track_caller]
    fn hear(&mut self) -> Answer {
        loop {
            match self.decoder.next_frame().unwrap() {
                Some(Frame::Refuse(refuse)) => {
                    return Answer::Refused(refuse.reason, refuse.number);
                }
                Some(Frame::Offer(_)) => return Answer::Offered,
                Some(frame) => panic!("{frame:?}"),
                None => {}
            }
            let heard = link::receive(self.socket.as_fd(), &mut self.decoder).unwrap();
            match heard {
                Receive::Bytes => {}
                Receive::End => return Answer::HungUp,
                Receive::Empty => {
                    let ready = link::wait_ready(self.socket.as_fd(), true, false, Some(PATIENCE));
                    assert!(ready.unwrap(), "no answer");
                }
            }
        }
    }

    /// It is refused for this reason, and that is all.
    #[track_caller]
    fn expect_refusal(mut self, reason: u32, number: u32) {
        assert_eq!(self.hear(), Answer::Refused(reason, number));
        assert_eq!(self.hear(), Answer::HungUp);
    }
}

fn claim() -> Claim {
    Claim {
        version: VERSION,
        patience: PATIENCE,
        app_version: 1,
        app_name: String::new(),
        pidfd: None,
    }
}

/// A server, and a client that it serves all the while.
struct Besieged<'a> {
    place: &'a Place,
    server: Peer,
    client: Asking,
}

impl<'a> Besieged<'a> {
    fn new(place: &'a Place) -> Self {
        let server = place.next(1);
        let client = Asking::start(&place.path());
        client.is_served_by(1);
        Self { place, server, client }
    }

    /// It has served on, has kept nothing, and can be taken over from.
    #[track_caller]
    fn hand_over(mut self, held: usize) {
        self.place.is_served_by(1);
        until("it has kept nothing", || descriptors(self.server.pid()) <= held);
        let _second = self.place.next(2);
        self.client.is_served_by(2);
        self.client.end();
        self.server.line("drained");
        self.server.succeed();
    }
}

fn successors_of_other_versions(place: &Place) {
    let besieged = Besieged::new(place);
    let held = descriptors(besieged.server.pid());
    let pidfd = pidfd_of_self().unwrap();
    for version in [0, VERSION + 1, u32::MAX] {
        let other = Claim { version, ..claim() };
        let plain = ByHand::connect(place);
        plain.say(&other.encode(false), &[]);
        plain.expect_refusal(WRONG_VERSION, VERSION);
        if let Some(pidfd) = &pidfd {
            let whole = ByHand::connect(place);
            whole.say(&other.encode(true), &[pidfd.as_fd()]);
            whole.expect_refusal(WRONG_VERSION, VERSION);
        }
        // A later version says more.
        let mut longer = other.encode(false);
        longer.extend([7; 100]);
        let length = longer.len() as u32;
        longer[..4].copy_from_slice(&length.to_be_bytes());
        let later = ByHand::connect(place);
        later.say(&longer, &[]);
        later.expect_refusal(WRONG_VERSION, VERSION);
    }
    let other = ByHand::connect(place);
    other.say(&Claim { app_name: "other".into(), ..claim() }.encode(false), &[]);
    other.expect_refusal(WRONG_APPLICATION, 0);
    besieged.hand_over(held);
}

/// The frame of a claim with other bytes at a place.
fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = claim().encode(false);
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn claims_that_make_no_sense(place: &Place) {
    let besieged = Besieged::new(place);
    let held = descriptors(besieged.server.pid());
    let header = |length: u32| patched(0, &length.to_be_bytes());
    let nonsense = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 64],
        vec![0xff; 4096],
        // Lengths: less than a header, half of the claim, more than any frame.
        header(0),
        header(7),
        header(16),
        header(4097),
        header(u32::MAX),
        // The marker, the version and the type of the frame.
        patched(4, &[0, 0]),
        patched(6, &[wire::VERSION + 1]),
        patched(7, &[0]),
        patched(7, &[255]),
        // What has to be zero, and a name that goes beyond the frame.
        patched(21, &[0, 0, 1]),
        patched(24, &[0, 1]),
        patched(24, &[0xff, 0xff]),
        // Words that come later, or never from this side, or belong elsewhere.
        wire::ready(),
        wire::serving(),
        wire::release(),
        wire::yield_(),
        wire::close(0),
        wire::BELL.to_vec(),
    ];
    for bytes in nonsense {
        let connection = ByHand::connect(place);
        connection.say(&bytes, &[]);
        eprintln!("{bytes:?}");
        connection.expect_refusal(NONSENSE, 0);
    }
    besieged.hand_over(held);
}

/// Whoever goes in the middle of a word has not come.
fn claims_that_are_cut_short(place: &Place) {
    let besieged = Besieged::new(place);
    let held = descriptors(besieged.server.pid());
    let whole = claim().encode(false);
    for end in 0..whole.len() {
        let mut connection = ByHand::connect(place);
        if end > 0 {
            connection.say(&whole[..end], &[]);
        }
        shutdown(connection.socket.as_raw_fd(), Shutdown::Write).unwrap();
        assert_eq!(connection.hear(), Answer::HungUp, "after {end} bytes");
    }
    besieged.hand_over(held);
}

fn claims_with_wrong_descriptors(place: &Place) {
    let besieged = Besieged::new(place);
    let held = descriptors(besieged.server.pid());
    let (plain, declared) = (claim().encode(false), claim().encode(true));
    let refused = |bytes: &[u8], fds: &[BorrowedFd<'_>]| {
        let connection = ByHand::connect(place);
        connection.say(bytes, fds);
        connection.expect_refusal(NONSENSE, 0);
    };
    refused(&declared, &[]);
    // None of these is a process.
    let (reader, writer) = pipe().unwrap();
    let directory = short_directory();
    let socket = UnixListener::bind(directory.path().join("socket")).unwrap();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let file = tempfile::tempfile().unwrap();
    let open = |path: &str| File::open(path).unwrap();
    let (null, process) = (open("/dev/null"), open("/proc/self"));
    let others = [
        file.as_fd(),
        null.as_fd(),
        process.as_fd(),
        reader.as_fd(),
        writer.as_fd(),
        socket.as_fd(),
        epoll.0.as_fd(),
    ];
    for other in others {
        refused(&plain, &[other]);
        refused(&declared, &[other]);
    }
    // More than one is a process, and there are more than any frame has.
    for count in [2, 5, 6, 100, 253] {
        let pidfd = pidfd_of_self().unwrap();
        let fds: Vec<_> = pidfd.iter().map(AsFd::as_fd).cycle().take(count).collect();
        if !fds.is_empty() {
            refused(&declared, &fds);
        }
    }
    besieged.hand_over(held);
}

/// Who has the sockets already, and introduces himself again, or goes without a word.
fn a_successor_that_says_too_much(place: &Place) {
    let besieged = Besieged::new(place);
    let held = descriptors(besieged.server.pid());
    let file = tempfile::tempfile().unwrap();
    for _ in 0..3 {
        let connection = offered(place);
        connection.say(&claim().encode(true), &[file.as_fd()]);
        connection.expect_refusal(NONSENSE, 0);
        drop(offered(place));
    }
    until("the last one is forgotten", || descriptors(besieged.server.pid()) <= held);
    besieged.hand_over(held);
}

/// One that has the sockets. The one before it is not in its way once it is gone.
fn offered(place: &Place) -> ByHand {
    let mut connection = ByHand::connect(place);
    connection.say(&claim().encode(false), &[]);
    assert_eq!(connection.hear(), Answer::Offered);
    connection
}

/// One of them is waited for, for a while; the others are told so, and so is a real successor until then.
fn connections_that_say_nothing(place: &Place) {
    let mut besieged = Besieged::new(place);
    let mut mute: Vec<_> = (0..20).map(|_| ByHand::connect(place)).collect();
    // A part of a word is no better.
    mute[0].say(&claim().encode(false)[..10], &[]);
    let mut second = place.server(&[]);
    assert_eq!(second.line("failed"), "UpgradeRefused(InProgress)");
    place.is_served_by(1);
    let answers: Vec<_> = mute.iter_mut().map(ByHand::hear).collect();
    let hung_up = answers.iter().filter(|answer| **answer == Answer::HungUp).count();
    let refused = Answer::Refused(IN_PROGRESS, 0);
    assert!(answers.iter().all(|answer| [&Answer::HungUp, &refused].contains(&answer)));
    assert!(hung_up >= 1, "{answers:?}");
    let mut second = place.server(&[]);
    assert_eq!(second.line("serving"), "2");
    besieged.client.is_served_by(2);
    besieged.client.end();
    besieged.server.line("drained");
}
