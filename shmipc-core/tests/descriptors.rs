//! Descriptors and mappings: none are lost when handshakes fail, and running out of them is survived.
//!
//! Both are counted for the whole process, so this file holds a single test, which does one thing
//! after another.

use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use shmipc_core::config::{Config, PeerCred};
use shmipc_core::error::{HandshakeError, OsError, Refusal};
use shmipc_core::handshake::{Exchange, Progress, Role, connect, hello};
use shmipc_core::link::{self, LinkError, PeerSocket, Receive};
use shmipc_core::listen::{Acceptor, ListenOptions};
use shmipc_core::mem::{self, Truncated};
use shmipc_core::wire::{self, Decoder};

#[test]
fn descriptors_are_neither_lost_nor_assumed() {
    // Whatever the process makes once, it makes now.
    a_session_and_its_end();
    leaves_nothing(failing_handshakes);

    let before = (open_descriptors(), mappings());
    for _ in 0..5 {
        leaves_nothing(failing_handshakes);
        leaves_nothing(surplus_descriptors);
        leaves_nothing(descriptors_that_nobody_sent);
        leaves_nothing(a_session_and_its_end);
        leaves_nothing(a_listener_closed_in_the_middle);
    }
    leaves_nothing(receiving_without_room);
    leaves_nothing(accepting_without_room);
    leaves_nothing(handshakes_without_room);
    assert_eq!((open_descriptors(), mappings()), before);
}

/// What a peer passed in vain is closed by another thread, some time after.
fn leaves_nothing(act: fn()) {
    let before = open_descriptors();
    act();
    settles_at(before);
}

fn settles_at(descriptors: usize) {
    settles_within(descriptors..=descriptors);
}

fn settles_within(descriptors: RangeInclusive<usize>) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !descriptors.contains(&open_descriptors()) {
        assert!(Instant::now() < deadline, "{} instead of {descriptors:?}", open_descriptors());
        thread::yield_now();
    }
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Mapped segments of sessions.
fn mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("memfd:shmipc")).count()
}

fn sockets() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap()
}

fn null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

fn config() -> Config {
    Config::default()
}

fn exchange(role: Role, socket: OwnedFd) -> Exchange {
    Exchange::new(role, socket, &config()).unwrap()
}

fn socket_path() -> PathBuf {
    std::env::temp_dir().join(format!("shmipc-{}", std::process::id()))
}

/// A user may have no more descriptors on their way than a process may have open. Those that were refused are on their way
/// until another thread has closed them.
fn send(socket: BorrowedFd<'_>, frame: &[u8], fds: &[BorrowedFd<'_>]) {
    let begin = Instant::now();
    loop {
        match link::send(socket, frame, fds) {
            Ok(link::Sent::Later) if begin.elapsed() < Duration::from_secs(60) => {
                thread::yield_now()
            }
            sent => return assert_eq!(sent, Ok(link::Sent::Whole)),
        }
    }
}

/// A server that hears these frames, each with its descriptors, and fails at the last.
fn server_hears(frames: &[(&[u8], &[BorrowedFd<'_>])]) -> HandshakeError {
    let (ours, theirs) = sockets();
    let mut server = exchange(Role::Server, theirs);
    let mut result = server.progress();
    for (frame, fds) in frames {
        send(ours.as_fd(), frame, fds);
        result = server.progress();
    }
    result.unwrap_err()
}

/// The same for a client.
fn client_hears(frames: &[(&[u8], &[BorrowedFd<'_>])]) -> HandshakeError {
    let (ours, theirs) = sockets();
    let mut client = exchange(Role::Client, theirs);
    let mut result = client.progress();
    for (frame, fds) in frames {
        send(ours.as_fd(), frame, fds);
        result = client.progress();
    }
    result.unwrap_err()
}

fn failing_handshakes() {
    let greeting = hello(&config()).encode();
    let (null, pidfd) = (null(), mem::pidfd_of_self().unwrap().unwrap());
    let (null, pidfd) = (null.as_fd(), pidfd.as_fd());
    let outbox = wire::outbox(true, false);
    let attempts: [&[(&[u8], &[BorrowedFd<'_>])]; 7] = [
        &[(&[0; 8], &[])],
        &[(&[0; 8], &[null])],
        &[(&greeting, &[null, null])],
        &[(&greeting, &[]), (&greeting, &[])],
        &[(&greeting, &[]), (&outbox, &[null])],
        &[(&greeting, &[]), (&outbox, &[null, pidfd])],
        &[(&greeting, &[]), (&outbox, &[null; 200])],
    ];
    for attempt in attempts {
        let _ = server_hears(attempt);
        let _ = client_hears(attempt);
    }
    // A frame that never ends, with its descriptors.
    let (ours, theirs) = sockets();
    let mut server = exchange(Role::Server, theirs);
    send(ours.as_fd(), &greeting, &[]);
    assert!(matches!(server.progress(), Ok(Progress::Pending(_))));
    send(ours.as_fd(), &outbox[..9], &[null, pidfd]);
    assert!(matches!(server.progress(), Ok(Progress::Pending(_))));
    drop(ours);
    assert_eq!(server.progress(), Err(HandshakeError::Closed));
    // A refusal by the authorizer.
    let strict = Config::builder().authorizer(|_: PeerCred| false).build().unwrap();
    let (ours, theirs) = sockets();
    assert!(Exchange::new(Role::Server, theirs, &strict).is_err());
    let uid = nix::unistd::geteuid().as_raw();
    let refused = HandshakeError::Refused(Refusal::Unauthorized { uid });
    assert_eq!(exchange(Role::Client, ours).progress(), Err(refused));
}

/// All of them are taken, or none: the others stay in the socket, and none stays open.
fn surplus_descriptors() {
    let null = null();
    let start = open_descriptors();
    for count in [1, 3, 4, 5, 16, 17, 253] {
        // The socket of the last turn is closed with what is left in it.
        settles_at(start);
        let (ours, theirs) = sockets();
        let theirs = PeerSocket::from(theirs);
        let fds = vec![null.as_fd(); count];
        assert_eq!(link::send(ours.as_fd(), b"x", &fds), Ok(link::Sent::Whole));
        let before = open_descriptors();
        for _ in 0..2 {
            let received = mem::receive(theirs.as_fd(), &mut [0; 8], 4);
            let received = match received {
                Err(errno) => {
                    assert!(errno == Errno::EAGAIN && count <= 4);
                    break;
                }
                Ok(received) => received,
            };
            let taken = if count > 4 { 0 } else { count };
            assert_eq!((received.bytes, received.fds.len()), (usize::from(taken > 0), taken));
            assert_eq!(received.truncated, (count > 4).then_some(Truncated::Surplus), "{count}");
            // The reserve is given up for one of them, if it is there: it may be filled again only now, after the last
            // turn, while one descriptor of that turn is still to be closed.
            settles_within(before + taken.saturating_sub(1)..=before + taken);
            drop(received);
            settles_at(before);
        }
        // None is to be taken, and none is looked at.
        if count > 4 {
            let received = mem::receive(theirs.as_fd(), &mut [0; 8], 0).unwrap();
            assert_eq!(received.truncated, Some(Truncated::Surplus));
            settles_at(before);
        }
    }
}

/// What the kernel adds on a socket that somebody else prepared does not get in the way, nor stay.
fn descriptors_that_nobody_sent() {
    let (ours, theirs) = sockets();
    setsockopt(&theirs, sockopt::PassCred, &true).unwrap();
    pass_pidfd(&theirs);
    let theirs = PeerSocket::from(theirs);
    let null = null();
    for count in [0, 1, 4] {
        let fds = vec![null.as_fd(); count];
        assert_eq!(link::send(ours.as_fd(), b"x", &fds), Ok(link::Sent::Whole));
        let before = open_descriptors();
        let received = mem::receive(theirs.as_fd(), &mut [0; 8], 4).unwrap();
        assert_eq!((received.fds.len(), received.truncated), (count, None));
        settles_within(before + count.saturating_sub(1)..=before + count);
        drop(received);
        settles_at(before);
    }
}

/// Asks for the sender's pidfd with every read, where the kernel knows how (Linux 6.5).
fn pass_pidfd(socket: &OwnedFd) {
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PASSPIDFD);
    let (fd, on) = (socket.as_raw_fd(), 1i32);
    #[allow(unsafe_code)]
    // SAFETY: the option is an integer, to which the pointer leads.
    let _ = unsafe { libc::setsockopt(fd, level, option, (&raw const on).cast(), 4) };
}

fn a_session_and_its_end() {
    let path = socket_path();
    let acceptor = Acceptor::bind(&path, &ListenOptions::new(), config()).unwrap();
    let before = open_descriptors();
    let (client, server) = thread::scope(|scope| {
        let client = scope.spawn(|| connect(&path, &config()).unwrap());
        let server = acceptor.accept(None).unwrap().unwrap();
        (client.join().unwrap(), server)
    });
    // Both ends are here: a socket, the peer's pidfd, an epoll and an eventfd each; and one descriptor is in
    // reserve. The segments need none.
    assert_eq!(open_descriptors(), before + 9);
    assert_eq!(mappings(), 4);
    let link = link::Link::new(client.socket, client.bell, client.peer_pidfd, client.wait).unwrap();
    assert_eq!(open_descriptors(), before + 9);
    drop(server);
    assert!(link.wait(None).unwrap().socket);
}

fn a_listener_closed_in_the_middle() {
    let path = socket_path();
    let acceptor = Acceptor::bind(&path, &ListenOptions::new(), config()).unwrap();
    let _stuck = [(); 3].map(|()| UnixStream::connect(&path).unwrap());
    assert!(acceptor.try_accept(Instant::now()).unwrap().is_none());
    assert_eq!(acceptor.stats().in_progress, 3);
}

/// Runs `action` while the process can open `room` more descriptors.
fn with_room<T>(room: usize, action: impl FnOnce() -> T) -> T {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let mut filler = Vec::new();
    while let Ok(fd) = File::open("/dev/null") {
        filler.push(fd);
    }
    filler.truncate(filler.len() - room);
    let result = action();
    drop(filler);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    result
}

/// There is a descriptor in reserve for what is mapped and closed at once, and never for two. Our own
/// shortage is not the peer's fault.
fn receiving_without_room() {
    let (ours, theirs) = sockets();
    let theirs = PeerSocket::from(theirs);
    let null = null();
    let frame = wire::add_segment(1, 4096, wire::SegmentClass::Small);
    for _ in 0..3 {
        assert_eq!(link::send(ours.as_fd(), &frame, &[null.as_fd()]), Ok(link::Sent::Whole));
    }
    let mut decoder = Decoder::new();
    decoder.expect(1);
    let shortage = OsError { call: "recvmsg", code: libc::EMFILE };
    with_room(0, || {
        assert_eq!(link::receive(theirs.as_fd(), &mut decoder), Ok(Receive::Bytes));
        let first = decoder.next_frame().unwrap();
        let second = link::receive(theirs.as_fd(), &mut decoder);
        assert_eq!(second, Err(LinkError::Os(shortage)));
        drop(first);
        until_received(theirs.as_fd(), &mut decoder);
    });
    assert!(decoder.next_frame().unwrap().is_some());
    assert_eq!(link::receive(theirs.as_fd(), &mut decoder), Ok(Receive::Bytes));
}

/// What had no room stays in the socket, and is there when there is room.
fn until_received(socket: BorrowedFd<'_>, decoder: &mut Decoder) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while link::receive(socket, decoder) != Ok(Receive::Bytes) {
        assert!(Instant::now() < deadline, "there is room");
    }
}

/// Accepting pauses, without spinning and without an error, and goes on afterwards.
fn accepting_without_room() {
    let path = socket_path();
    let acceptor = Acceptor::bind(&path, &ListenOptions::new(), config()).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    let readable = || link::wait_ready(acceptor.as_fd(), true, false, Some(Duration::ZERO));
    let now = Instant::now();
    assert!(readable().unwrap());
    let next = with_room(0, || {
        assert!(acceptor.try_accept(now).unwrap().is_none());
        assert!(!readable().unwrap());
        let next = acceptor.next_deadline().unwrap();
        assert!(next > now);
        assert!(acceptor.try_accept(next - Duration::from_nanos(1)).unwrap().is_none());
        assert_eq!(acceptor.stats().pauses, 1);
        assert!(acceptor.try_accept(next).unwrap().is_none());
        assert_eq!(acceptor.stats().pauses, 2);
        assert!(!readable().unwrap());
        acceptor.next_deadline().unwrap()
    });
    assert_eq!(acceptor.stats().connections, 0);
    assert!(acceptor.try_accept(next).unwrap().is_none());
    assert_eq!((acceptor.stats().connections, acceptor.stats().in_progress), (1, 1));
}

/// With room for a few descriptors only, a handshake fails at one step or another, by name.
fn handshakes_without_room() {
    for room in 0..20 {
        let (ours, theirs) = sockets();
        let mut ends = [exchange(Role::Client, ours), exchange(Role::Server, theirs)];
        let failed = with_room(room, || {
            let mut steps = (0..10).flat_map(|_| [0, 1]);
            steps.find_map(|end| ends[end].progress().err())
        });
        match failed {
            Some(HandshakeError::Os(error)) => assert_eq!(error.code, libc::EMFILE),
            Some(other) => panic!("{other}"),
            None => {
                assert!(room > 0, "each end keeps a process descriptor");
                return;
            }
        }
    }
    panic!("no room is enough");
}
