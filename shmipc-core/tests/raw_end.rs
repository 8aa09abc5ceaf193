//! A peer, played by hand, that ends the session in one way and goes on in another.

mod raw;

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;

use nix::sys::socket::{Shutdown, shutdown};
use raw::session_with;
use shmipc_core::config::Config;
use shmipc_core::error::SessionError;
use shmipc_core::handshake::Role;
use shmipc_core::queue::{Flags, Header, Kind};
use shmipc_core::session::StreamId;

/// The peer closes its socket and publishes records without end, of which none costs it any credit. The
/// session ends after one turn, on whatever stack is there.
#[test]
fn records_without_end_after_the_sockets_end() {
    let config = Config::builder().ring_bytes(4 << 20).build().unwrap();
    let (session, mut raw) = session_with(&config);
    let stream = StreamId::new(Role::Server, 0, 1).word();
    let header = |flags| Header { kind: Kind::Inline, flags, value: 0, stream };
    assert!(raw.records.grant(16).unwrap());
    raw.records.put(header(Flags::OPEN), &[]);
    raw.records.publish();
    // Nobody reads the stream.
    assert!(session.poll_accept(None).is_ready());
    shutdown(raw.socket.as_fd().as_raw_fd(), Shutdown::Write).unwrap();
    let (full, over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                while raw.records.grant(16).unwrap() {
                    raw.records.put(header(Flags::none()), &[]);
                    raw.records.publish();
                }
                full.store(true, Ordering::Relaxed);
            }
        });
        let looking = thread::Builder::new().stack_size(128 << 10);
        let looking = looking.spawn_scoped(scope, || {
            while !full.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            while !session.is_over() {
                session.glance();
            }
            over.store(true, Ordering::Relaxed);
        });
        looking.unwrap().join().unwrap();
    });
    assert_eq!(session.poll_closed(None), Poll::Ready(SessionError::PeerDied));
}
