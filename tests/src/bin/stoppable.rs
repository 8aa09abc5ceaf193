//! A process that waits in a call of its choice, and is to end when it gets SIGINT: a thread of its own waits for the
//! signal and ends what the call waits for, as the guide recommends.
//!
//! `stoppable CALL PATH` says `waiting`, then `returned` and the error.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use shmipc_sync::{Client, Config, Listener, Session, Stream, WaitSet};
use tests::child::die_with_parent;
use tests::setup::{Setup, Size};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [call, path] = &arguments[..] else { panic!("unknown role: {arguments:?}") };
    die_with_parent();
    // Before any other thread is there: each inherits this, and the signal comes to the one that waits for it.
    interrupt().thread_block().expect("a signal mask");
    let path = Path::new(path);
    match call.as_str() {
        "Listener::accept" => {
            let listener = Arc::new(Listener::bind(path).expect("the path is free"));
            let closing = Arc::clone(&listener);
            at_the_signal(move || closing.close());
            returned(&listener.accept().expect_err("nobody comes"));
        }
        "WaitSet::wait" => {
            let mut set = WaitSet::new().expect("descriptors");
            let interrupter = set.interrupter();
            at_the_signal(move || interrupter.interrupt());
            let mut events = Vec::new();
            set.wait(&mut events, None).expect("it is no error");
            returned(&events.len());
        }
        "Client::call" => {
            let listener = Listener::bind(path).expect("the path is free");
            thread::spawn(move || idle(&listener));
            let client = Client::new(path, Config::default());
            let closing = client.clone();
            at_the_signal(move || {
                // Its call is in flight, and it is not waited for.
                let _ = closing.close(Instant::now());
            });
            let ages = Instant::now() + Duration::from_secs(3600);
            returned(&client.call(b"?", ages).map(drop).expect_err("nobody answers"));
        }
        call => {
            let session = session(path);
            let stream = session.open().expect("a stream");
            let closing = session.clone();
            // The signal may come before the call as well.
            at_the_signal(move || closing.close(0));
            in_session(call, &session, stream);
        }
    }
}

/// Both ends of a session that nothing happens on; the other end is kept by a thread.
fn session(path: &Path) -> Session {
    let config = Setup::new(Size::Tiny).config();
    let listener = Listener::builder().config(config.clone()).bind(path).expect("the path is free");
    thread::spawn(move || idle(&listener));
    Session::connect_with(path, &config).expect("a session")
}

/// Accepts sessions and their streams, and reads nothing.
fn idle(listener: &Listener) {
    let mut kept = Vec::new();
    while let Ok(session) = listener.accept() {
        kept.push(session);
    }
}

fn in_session(call: &str, session: &Session, mut stream: Stream) {
    match call {
        "Session::accept" => returned(&session.accept().expect_err("nobody opens")),
        "Session::closed" => returned(&session.closed()),
        "Session::open_wait" => {
            let mut streams = vec![stream];
            let error = loop {
                match session.open_wait() {
                    Ok(stream) => streams.push(stream),
                    Err(error) => break error,
                }
            };
            returned(&error);
        }
        "Stream::recv" => returned(&stream.recv().map(drop).expect_err("nobody sends")),
        "Stream::send" => {
            let error = loop {
                if let Err(error) = stream.send(&[1; 200]) {
                    break error;
                }
            };
            returned(&error);
        }
        "Stream::reserve" => {
            let mut kept = Vec::new();
            let error = loop {
                match stream.reserve(1000) {
                    Ok(reservation) => kept.push(reservation),
                    Err(error) => break error,
                }
            };
            returned(&error);
        }
        other => panic!("{other} does not wait"),
    }
}

fn interrupt() -> SigSet {
    SigSet::from_iter([Signal::SIGINT])
}

fn at_the_signal(end: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        interrupt().wait().expect("a signal");
        end();
    });
    println!("waiting");
}

fn returned(error: &dyn Display) {
    println!("returned {error}");
}
