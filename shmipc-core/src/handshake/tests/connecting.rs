//! When a client tries again. The clock is an argument, so nothing waits.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{Backlog, listen};

use crate::config::Config;
use crate::error::{ConnectError, HandshakeError, OsError, Refusal};
use crate::handshake::{Attempt, Connecting};
use crate::link::{self, Address};

const MISSING: &str = "/nonexistent/shmipc.sock";
const TIMEOUT: Duration = Duration::from_secs(5);

/// An abstract name of this test alone.
fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("@shmipc-connecting-{}-{next}", std::process::id())
}

fn listener(address: &str) -> UnixListener {
    let address = SocketAddr::from_abstract_name(address.strip_prefix('@').unwrap()).unwrap();
    UnixListener::bind_addr(&address).unwrap()
}

/// A listener with room for one connection, and sockets that take it.
fn crowded(address: &str) -> (UnixListener, Vec<link::PeerSocket>) {
    let listener = listener(address);
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let address = Address::parse(address).unwrap();
    let crowd: Vec<_> = std::iter::from_fn(|| link::try_connect(&address).ok()).collect();
    assert_eq!(link::try_connect(&address).unwrap_err().code, libc::EAGAIN);
    (listener, crowd)
}

fn config(wait: bool) -> Config {
    Config::builder().connect_timeout(TIMEOUT).wait_for_server(wait).build().unwrap()
}

/// Tries until there is a handshake, on a clock that jumps from one attempt to the next. The pauses, or the error
/// with the time that it took.
fn attempts(address: &str, wait: bool) -> Result<usize, (ConnectError, Duration)> {
    let start = Instant::now();
    let mut now = start;
    let mut connecting = Connecting::new(address, &config(wait), now).unwrap();
    for pauses in 0.. {
        match connecting.attempt(now) {
            Ok(Attempt::Handshake(_)) => return Ok(pauses),
            Ok(Attempt::Pause(then)) => {
                assert!(then >= now && then <= start + TIMEOUT);
                now = then;
            }
            Err(error) => return Err((error, now - start)),
        }
    }
    unreachable!("every attempt ends")
}

fn errno(error: &ConnectError) -> i32 {
    match error {
        ConnectError::Unreachable { error, .. } => error.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_is_away_is_waited_for_until_the_timeout() {
    for (address, code) in [(MISSING.to_owned(), libc::ENOENT), (name(), libc::ECONNREFUSED)] {
        let (error, time) = attempts(&address, true).unwrap_err();
        assert_eq!((errno(&error), time), (code, TIMEOUT));
        assert!(error.to_string().ends_with("is the server running?"), "{error}");
        let source = std::error::Error::source(&error).expect("what the kernel said");
        assert!(source.downcast_ref::<OsError>().is_some_and(|error| error.code == code));
    }
}

#[test]
fn a_server_that_is_away_is_reported_at_once_without_wait_for_server() {
    for (address, code) in [(MISSING.to_owned(), libc::ENOENT), (name(), libc::ECONNREFUSED)] {
        let (error, time) = attempts(&address, false).unwrap_err();
        assert_eq!((errno(&error), time), (code, Duration::ZERO));
    }
}

#[test]
fn a_server_that_comes_back_is_found_by_the_next_attempt() {
    let address = name();
    let now = Instant::now();
    let mut connecting = Connecting::new(&address, &config(true), now).unwrap();
    let Ok(Attempt::Pause(then)) = connecting.attempt(now) else { panic!("nobody listens") };
    let _listener = listener(&address);
    assert!(matches!(connecting.attempt(then), Ok(Attempt::Handshake(_))));
}

#[test]
fn a_full_backlog_is_waited_for_in_either_case() {
    for wait in [true, false] {
        let address = name();
        let (_listener, crowd) = crowded(&address);
        let (error, time) = attempts(&address, wait).unwrap_err();
        let timed_out = ConnectError::Handshake(HandshakeError::TimedOut);
        assert_eq!((error, time), (timed_out, TIMEOUT));
        drop(crowd);
    }
}

/// Judges the end of one handshake that failed so, at the beginning.
fn judge(error: HandshakeError, wait: bool) -> Result<Instant, ConnectError> {
    let now = Instant::now();
    let mut connecting = Connecting::new(MISSING, &config(wait), now).unwrap();
    connecting.ended(Err(error), now).map(|ended| ended.expect_err("it has failed"))
}

#[test]
fn a_server_that_ends_during_the_handshake_is_away() {
    let reset = OsError { call: "recvmsg", code: libc::ECONNRESET };
    for error in [HandshakeError::Closed, HandshakeError::Os(reset)] {
        assert!(judge(error.clone(), true).is_ok());
        assert_eq!(judge(error.clone(), false), Err(error.into()));
    }
}

#[test]
fn a_busy_server_is_asked_again_and_named_at_the_end() {
    let busy = HandshakeError::Refused(Refusal::Busy);
    assert!(judge(busy.clone(), false).is_ok());
    let now = Instant::now();
    let mut connecting = Connecting::new(MISSING, &config(true), now).unwrap();
    assert!(connecting.ended(Err(busy.clone()), now).unwrap().is_err());
    let error = connecting.ended(Err(HandshakeError::TimedOut), now + TIMEOUT).unwrap_err();
    assert_eq!(error, busy.into());
}

#[test]
fn a_refusal_is_reported_at_once() {
    let refused = HandshakeError::Refused(Refusal::Unauthorized { uid: 1 });
    assert_eq!(judge(refused.clone(), true), Err(refused.into()));
}
