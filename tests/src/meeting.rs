//! A client and a server in one process, each with a configuration of its own, and what they can do together.

use std::thread;
use std::time::Duration;

use shmipc_sync::{Config, ConnectError, Listener, SendError, Session};

use crate::payload::{check, pattern};

/// What the client says, and the session that the server has accepted, if it has.
///
/// # Panics
/// If there can be no listener.
pub fn meet(client: Config, server: Config) -> (Result<Session, ConnectError>, Option<Session>) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let listener = Listener::builder().config(server).bind(&path).expect("a free path");
    let connecting = thread::spawn(move || Session::connect_with(path, &client));
    let accept = |time| listener.accept_timeout(time).expect("it listens");
    let mut accepted = None;
    while !connecting.is_finished() {
        accepted = accepted.or(accept(Duration::from_millis(1)));
    }
    let accepted = accepted.or_else(|| accept(Duration::ZERO));
    (connecting.join().expect("it does not panic"), accepted)
}

/// Messages of all sizes there and back, on streams one after the other; and one that is too large.
///
/// # Panics
/// If anything is not as it was sent.
pub fn exchange(client: &Session, server: &Session) {
    let server = server.clone();
    let echo = thread::spawn(move || {
        for _ in 0..ROUNDS {
            let mut stream = server.accept().expect("a stream");
            while let Some(message) = stream.recv().expect("a message") {
                stream.send(&message).expect("an echo");
            }
            stream.finish().expect("the end");
        }
    });
    let geometry = client.geometry();
    let (inline, max) = (geometry.inline_max as usize, geometry.max_message as usize);
    let sizes = [0, 1, inline, inline + 1, 70_000, 600_000, 3 << 20, max.min(9 << 20)];
    for _ in 0..ROUNDS {
        let mut stream = client.open_wait().expect("a stream");
        for (seed, size) in (0..).zip(sizes.into_iter().filter(|size| *size <= max)) {
            stream.send(&pattern(seed, size)).expect("credit");
            check(&stream.recv().expect("no error").expect("an echo"), seed, size);
        }
        let len = max + 1;
        if len < 16 << 20 {
            assert_eq!(stream.send(&vec![0; len]), Err(SendError::TooLarge { len, max }));
        }
        stream.finish().expect("the end");
        assert!(stream.recv().expect("no error").is_none());
    }
    echo.join().expect("it does not panic");
}

/// Streams one after the other.
const ROUNDS: usize = 2;
