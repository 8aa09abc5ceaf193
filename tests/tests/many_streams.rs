//! Ten thousand open streams; and a peer that never reads, beside a session that goes on.

use std::time::Duration;

use shmipc_sync::{Listener, OpenError, SendError, Session};
use tests::blocking::Blocking;
use tests::child::Peer;
use tests::conformance::in_two_processes;
use tests::deadline::{start, until, within};
use tests::payload::{check, pattern};
use tests::scripted::Scripted;
use tests::setup::{Setup, Size};

const PEER: &str = env!("CARGO_BIN_EXE_peer");
const MANY: Setup = Setup::new(Size::Many);

/// The ends of a session in this process.
fn pair(setup: Setup) -> (Session, Session) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::builder().config(setup.config()).bind(&path).unwrap();
    let connecting = start("connect", move || Session::connect_with(path, &setup.config()));
    let accepted = listener.accept().unwrap();
    (connecting.join().unwrap(), accepted)
}

/// As many as are allowed are open at one time: each carries messages both ways, in any order; one more is
/// refused by name; what ends makes room for as many again.
#[test]
fn ten_thousand_are_open() {
    const STREAMS: usize = 10_000;
    within("ten thousand streams", || {
        let (client, server) = pair(MANY);
        for round in 0..2u64 {
            let mut ours: Vec<_> = Vec::new();
            until("all are open", || {
                match client.open() {
                    Ok(stream) => ours.push(stream),
                    // The peer's head may be behind, in the second round.
                    Err(error) => assert_eq!(error, OpenError::TooManyStreams { limit: 10_000 }),
                }
                ours.len() == STREAMS
            });
            let error = client.open().unwrap_err();
            assert_eq!(error, OpenError::TooManyStreams { limit: 10_000 });
            let mut theirs: Vec<_> = ours
                .iter_mut()
                .enumerate()
                .map(|(number, stream)| {
                    stream.send(&pattern(number as u64, number % 300)).unwrap();
                    server.accept().unwrap()
                })
                .collect();
            // Another order than that of opening.
            for step in 0..STREAMS {
                let number = step * 7919 % STREAMS;
                check(&theirs[number].recv().unwrap().unwrap(), number as u64, number % 300);
                theirs[number].send(&pattern(round, 100)).unwrap();
            }
            for step in 0..STREAMS {
                let number = step * 6007 % STREAMS;
                check(&ours[number].recv().unwrap().unwrap(), round, 100);
            }
            // One busy stream among them.
            for seed in 0..2000 {
                ours[5000].send(&pattern(seed, 64)).unwrap();
                check(&theirs[5000].recv().unwrap().unwrap(), seed, 64);
            }
            ours.iter_mut().for_each(|stream| stream.finish().unwrap());
            for stream in &mut theirs {
                assert!(stream.recv().unwrap().is_none());
                stream.finish().unwrap();
            }
            ours.iter_mut().for_each(|stream| assert!(stream.recv().unwrap().is_none()));
        }
    });
}

/// Both sides open as many as they may, and let go of all at once: every end fits into the queue, whoever
/// reads it, and whenever.
#[test]
fn ten_thousand_of_each_side_end_at_once() {
    within("twice ten thousand streams", || {
        let (client, server) = pair(MANY);
        let mut kept = Vec::new();
        for (opener, other) in [(&client, &server), (&server, &client)] {
            for _ in 0..10_000 {
                let mut stream = opener.open().unwrap();
                stream.send(b"x").unwrap();
                kept.push((stream, other.accept().unwrap()));
            }
        }
        // Nobody drains meanwhile.
        drop(kept);
        let mut stream = None;
        until("a place for one more", || {
            // A place is free when the other side has read of its end.
            assert!(server.accept_timeout(Duration::ZERO).is_err());
            stream = client.open().ok();
            stream.is_some()
        });
        let mut stream = stream.unwrap();
        stream.send(b"and on").unwrap();
        let mut accepted = server.accept().unwrap();
        assert_eq!(accepted.recv().unwrap().unwrap().to_vec(), b"and on");
    });
}

/// Pools of four threads with room for all their streams at one time.
#[test]
fn pools_of_threads() {
    in_two_processes::<Blocking>(PEER, "pools_over_thousands_of_streams", MANY);
}

/// Streams that stall, far more of them.
#[test]
fn stalled_streams() {
    in_two_processes::<Blocking>(PEER, "stalled_streams_disturb_nobody", MANY);
}

/// A peer that never reads makes the writers of its session wait; the session beside it, of the same
/// process and with the same listener, goes on.
#[test]
fn a_peer_that_never_reads_disturbs_no_other_session() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::bind(&path).unwrap();
    let setup = Setup::new(Size::Default);
    let (mut silent, deaf) = Scripted::start(PEER, setup, &listener, &path);
    let mut one = deaf.open().unwrap();
    one.send(b"x").unwrap();
    silent.tell("accept");
    silent.tell("hold 0");
    // Two writers that wait for ever: for memory that nobody hands back, and for credit.
    let writers: Vec<_> = [1 << 20, 100]
        .into_iter()
        .map(|len| {
            let mut stream = deaf.open().unwrap();
            start("writes for ever", move || {
                loop {
                    if let Err(error) = stream.send(&vec![1; len]) {
                        return error;
                    }
                }
            })
        })
        .collect();
    until("both wait", || deaf.stats().reserve_waits >= 2);

    let other = directory.path().join("echo");
    let mut echo = Peer::start(PEER, &["echo", other.to_str().unwrap()]);
    echo.line("listening");
    within("the other session", move || {
        let session = Session::connect(&other).unwrap();
        let mut stream = session.open().unwrap();
        for (seed, len) in [10, 5000, 600_000, 4 << 20].into_iter().cycle().take(200).enumerate() {
            stream.send(&pattern(seed as u64, len)).unwrap();
            check(&stream.recv().unwrap().unwrap(), seed as u64, len);
        }
        let error = stream.sender().reserve((4 << 20) + 1).unwrap_err();
        assert_eq!(error, SendError::TooLarge { len: (4 << 20) + 1, max: 4 << 20 });
    });
    assert!(writers.iter().all(|writer| !writer.is_done()));
    let accepted = listener.accept_timeout(Duration::ZERO).unwrap();
    assert!(accepted.is_none());
    deaf.close(0);
    for writer in writers {
        assert_eq!(writer.join(), SendError::Session(shmipc_sync::SessionError::Closed));
    }
}
