//! A server that may have few descriptors open: who comes too late is told so or waits in vain, those who are there go
//! on, and when some go others come.

use std::path::Path;
use std::time::Duration;

use shmipc_sync::{Config, ConnectError, HandshakeError, Session, Stream};
use tests::child::Peer;
use tests::deadline::{until, within};
use tests::payload::{check, pattern};

/// A few sessions' worth.
const DESCRIPTORS: &str = "48";

fn connect(path: &Path, patience: Duration) -> Result<Session, ConnectError> {
    let config = Config::builder().connect_timeout(patience).build().unwrap();
    Session::connect_with(path, &config)
}

/// A session that the server has accepted, if it can: it answers.
fn served(path: &Path, seed: u64) -> Result<(Session, Stream), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let session = match connect(path, Duration::from_millis(500)) {
        Ok(session) => session,
        Err(error) => {
            let expected = matches!(
                error,
                ConnectError::Handshake(HandshakeError::TimedOut | HandshakeError::Closed)
                    | ConnectError::Unreachable { .. }
            );
            assert!(expected, "{error:?}");
            return Err(text(&error));
        }
    };
    let mut stream = session.open().map_err(|error| text(&error))?;
    stream.send(&pattern(seed, 1000)).map_err(|error| text(&error))?;
    match stream.recv().map_err(|error| text(&error))? {
        Some(echo) => check(&echo.to_vec(), seed, 1000),
        None => return Err("the stream ended".to_owned()),
    }
    Ok((session, stream))
}

fn runs_out_of_descriptors(flavour: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let name = path.to_str().unwrap().to_owned();
    let command = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" serve {flavour} \"$1\"");
    let mut server = Peer::start("sh", &["-c", &command, env!("CARGO_BIN_EXE_hostile"), &name]);
    server.line("listening");
    within("too many clients", move || {
        let mut sessions = Vec::new();
        let refusal = loop {
            match served(&path, sessions.len() as u64) {
                Ok(session) => sessions.push(session),
                Err(error) => break error,
            }
            assert!(sessions.len() < 48, "a session costs descriptors");
        };
        println!("{} sessions, then: {refusal}", sessions.len());
        assert!(sessions.len() > 2);
        let exchange = |sessions: &mut Vec<(Session, Stream)>, size: usize| {
            for (seed, (_, stream)) in (0..).zip(sessions) {
                stream.send(&pattern(seed, size)).unwrap();
                check(&stream.recv().unwrap().unwrap().to_vec(), seed, size);
            }
        };
        // Those who are there do not notice, as long as they need no descriptor themselves.
        exchange(&mut sessions, 4000);
        // When some go others come.
        let all = sessions.len();
        sessions.truncate(all / 2);
        until("others come", || {
            sessions.extend(served(&path, 7).ok());
            sessions.len() >= all - 1
        });
        exchange(&mut sessions, 4000);
        // And there is room for memory that is passed.
        sessions.truncate(all / 2);
        until("descriptors come back", || served(&path, 8).is_ok());
        exchange(&mut sessions, 300_000);
    });
}

#[test]
fn a_blocking_server() {
    runs_out_of_descriptors("blocking");
}

#[test]
fn a_server_on_tokio() {
    runs_out_of_descriptors("tokio-multi");
}
