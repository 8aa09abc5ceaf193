//! A server that may have few descriptors open: a client that comes too late is told that the server is busy, the
//! sessions that are there go on, and when some end others come.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use shmipc_sync::{Config, ConnectError, HandshakeError, RecvError, Refusal, Session, Stream};
use tests::child::Peer;
use tests::deadline::{until, within};
use tests::needs::short_directory;
use tests::payload::{check, pattern};

/// A few sessions' worth.
const DESCRIPTORS: &str = "48";

fn connect(path: &Path, patience: Duration) -> Result<Session, ConnectError> {
    let config = Config::builder().connect_timeout(patience).build().unwrap();
    Session::connect_with(path, &config)
}

/// A session that the server has accepted, if it can. Once the handshake has succeeded, the session works.
fn served(path: &Path, seed: u64) -> Option<(Session, Stream)> {
    let session = match connect(path, Duration::from_millis(500)) {
        Ok(session) => session,
        Err(ConnectError::Handshake(HandshakeError::Refused(Refusal::Busy))) => return None,
        Err(error) => {
            // It may be told nothing on a busy machine, or while it waits in the backlog.
            assert_eq!(error, ConnectError::Handshake(HandshakeError::TimedOut));
            return None;
        }
    };
    let mut stream = session.open().unwrap();
    stream.send(&pattern(seed, 1000)).unwrap();
    check(&stream.recv().unwrap().unwrap(), seed, 1000);
    Some((session, stream))
}

fn runs_out_of_descriptors(flavour: &str) {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let name = path.to_str().unwrap().to_owned();
    let command = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" serve {flavour} \"$1\"");
    let mut server = Peer::start("sh", &["-c", &command, env!("CARGO_BIN_EXE_hostile"), &name]);
    server.line("listening");
    within("too many clients", move || {
        let mut sessions = Vec::new();
        while let Some(session) = served(&path, sessions.len() as u64) {
            sessions.push(session);
            assert!(sessions.len() < 48, "a session costs descriptors");
        }
        assert!(sessions.len() > 2);
        until("one that is too many is told so", || {
            let busy = ConnectError::Handshake(HandshakeError::Refused(Refusal::Busy));
            connect(&path, Duration::from_millis(500)).is_err_and(|error| error == busy)
        });
        let exchange = |sessions: &mut Vec<(Session, Stream)>, size: usize| {
            for (seed, (_, stream)) in (0..).zip(sessions) {
                stream.send(&pattern(seed, size)).unwrap();
                check(&stream.recv().unwrap().unwrap(), seed, size);
            }
        };
        // The sessions that exist do not notice.
        exchange(&mut sessions, 4000);
        // Whatever is left goes to connections that say nothing. Memory that a client passes finds a
        // descriptor all the same; the echo needs one of the server's own, and may fail.
        let silent: Vec<_> = (0..8).map(|_| UnixStream::connect(&path)).collect();
        for (seed, (session, stream)) in (0..).zip(&mut sessions) {
            stream.send(&pattern(seed, 300_000)).unwrap();
            let echo = stream.recv();
            assert!(!matches!(echo, Err(RecvError::Session(_))), "{echo:?}");
            drop(echo);
            *stream = session.open().unwrap();
        }
        drop(silent);
        exchange(&mut sessions, 4000);
        // When some go others come.
        let all = sessions.len();
        sessions.truncate(all / 2);
        until("others come", || {
            sessions.extend(served(&path, 7));
            sessions.len() >= all - 1
        });
        exchange(&mut sessions, 4000);
        // And there is room for memory that is passed.
        sessions.truncate(all / 2);
        until("descriptors come back", || served(&path, 8).is_some());
        exchange(&mut sessions, 300_000);
    });
}

#[test]
fn a_blocking_server_that_counts_its_sessions_refuses_one_too_many_as_busy() {
    runs_out_of_descriptors("blocking");
}

#[test]
fn a_tokio_server_that_counts_its_sessions_refuses_one_too_many_as_busy() {
    runs_out_of_descriptors("tokio-multi");
}

#[test]
fn a_blocking_server_without_descriptors_refuses_one_too_many_as_busy() {
    runs_out_of_descriptors("blocking-unbounded");
}

#[test]
fn a_tokio_server_without_descriptors_refuses_one_too_many_as_busy() {
    runs_out_of_descriptors("tokio-multi-unbounded");
}
