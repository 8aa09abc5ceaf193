//! What sessions leave behind: nothing. Descriptors and mappings are counted for both processes, so
//! this file is a test program of its own and its tests take turns.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shmipc_sync::{Listener, RecvError, SendError, Session, SessionError};
use tests::child::Peer;
use tests::deadline::{until, within};
use tests::needs::short_directory;
use tests::payload::{check, pattern};
use tests::proc::{Held, descriptors, is_emulated, mappings, maps, only_small_pages, resident};
use tests::scripted::Scripted;
use tests::setup::{Setup, Size};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

fn in_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    only_small_pages();
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until a process holds what it held before: it may still be clearing up.
#[track_caller]
fn until_back(pid: u32, before: Held) {
    until(&format!("{before:?} again"), || Held::by(pid) == before);
}

/// Sends and receives enough for every kind of memory: inside of records, small and large segments.
fn use_session(session: &Session) {
    let mut stream = session.open().unwrap();
    for len in [10, 10_000, 300_000, 600_000] {
        stream.send(&vec![1; len]).unwrap();
        assert_eq!(stream.recv().unwrap().unwrap().len(), len);
    }
}

/// Sessions that were used and ended in good order, in every order of dropping.
#[test]
fn after_two_hundred_sessions() {
    let _turn = in_turn();
    let directory = short_directory();
    let path = directory.path().join("socket");
    let mut peer = Peer::start(PEER, &["echo", path.to_str().unwrap()]);
    peer.line("listening");
    let (us, them) = (std::process::id(), peer.pid());
    let before = (Held::by(us), Held::by(them));
    let mut memory = Vec::new();
    for round in 0..210 {
        let session = Session::connect(&path).unwrap();
        match round % 4 {
            0 => {
                use_session(&session);
                drop(session);
            }
            1 => {
                use_session(&session);
                session.close(0);
                drop(session);
            }
            2 => {
                // The message is the last to go.
                let mut stream = session.open().unwrap();
                stream.send(&[1; 10_000]).unwrap();
                let message = stream.recv().unwrap().unwrap();
                let clone = session.clone();
                drop((stream, session, clone));
                drop(message);
            }
            _ => {
                // The stream goes after the session, on another thread.
                let stream = session.open().unwrap();
                drop(session);
                std::thread::spawn(move || drop(stream)).join().unwrap();
            }
        }
        peer.line("served");
        // The first rounds load what stays: code, and the heaps of threads.
        if round >= 9 {
            memory.push((resident(us), resident(them)));
        }
    }
    assert_eq!((before.0.mappings, before.1.mappings), (0, 0));
    until_back(us, before.0);
    until_back(them, before.1);
    assert!(!maps(us).contains("/dev/shm") && !maps(them).contains("/dev/shm"));
    let (first, last) = (memory[0], memory[memory.len() - 1]);
    println!(
        "resident memory, KiB: ours {} then {}, theirs {} then {}",
        first.0, last.0, first.1, last.1
    );
    if !is_emulated("the memory of 200 sessions") {
        assert!(last.0 < first.0 + 2048 && last.1 < first.1 + 2048, "memory grows: {memory:?}");
    }
    peer.succeed();
    assert!(files(directory.path()).is_empty());
}

/// Servers that are killed in the middle of it.
#[test]
fn after_killed_servers() {
    let _turn = in_turn();
    let us = std::process::id();
    let directory = short_directory();
    let path = directory.path().join("socket");
    let before = Held::by(us);
    for _ in 0..20 {
        let mut peer = Peer::start(PEER, &["echo", path.to_str().unwrap()]);
        peer.line("listening");
        let session = Session::connect(&path).unwrap();
        use_session(&session);
        let mut stream = session.open().unwrap();
        stream.send(&[1; 10_000]).unwrap();
        let message = stream.recv().unwrap().unwrap();
        peer.kill();
        let died = RecvError::Session(SessionError::PeerDied);
        let (stream, error) = within("death", move || {
            let error = stream.recv().unwrap_err();
            (stream, error)
        });
        assert_eq!(error, died);
        assert_eq!(message.to_vec(), [1; 10_000]);
        drop((message, session, stream, peer));
    }
    until_back(us, before);
    assert_eq!(files(directory.path()), ["socket", "socket.lock"]);
}

/// Clients that are killed in the middle of it leave nothing in the server.
#[test]
fn after_killed_clients() {
    let _turn = in_turn();
    let us = std::process::id();
    let directory = short_directory();
    let path = directory.path().join("socket");
    let listener = Arc::new(Listener::bind(&path).unwrap());
    let before = Held::by(us);
    for _ in 0..20 {
        let mut peer = Peer::start(PEER, &["silent", path.to_str().unwrap()]);
        let accepting = Arc::clone(&listener);
        let (session, mut stream) = within("accept", move || {
            let session = accepting.accept().unwrap();
            let stream = session.accept().unwrap();
            (session, stream)
        });
        peer.line("silent");
        // Messages that the peer never reads, in memory that it has mapped.
        stream.send(&[1; 100_000]).unwrap();
        peer.kill();
        within("death", move || {
            assert_eq!(stream.recv().unwrap().unwrap().to_vec(), b"hello");
            stream.recv().unwrap_err()
        });
        drop((session, peer));
    }
    until_back(us, before);
}

/// Peers that are killed while both sides hold of the other's memory all that they can: messages in hand
/// and unread, small and of the largest size, reservations, and a writer that waits. What is in hand stays
/// readable; when it goes, everything is as it was before.
#[test]
fn after_peers_killed_with_everything_held() {
    let _turn = in_turn();
    let us = std::process::id();
    let directory = short_directory();
    let path = directory.path().join("socket");
    // In place: what is held is the peer's memory.
    let setup = Setup::new(Size::Default).trusted();
    let listener = Listener::builder().config(setup.config()).bind(&path).unwrap();
    let before = Held::by(us);
    let mut memory = Vec::new();
    const SIZES: [usize; 4] = [100, 20_000, 300_000, 4 << 20];
    for round in 0..12 {
        let (mut peer, session) = Scripted::start(PEER, setup, &listener, &path);
        let (mut held, mut streams, mut reservations) = (Vec::new(), Vec::new(), Vec::new());
        for (number, len) in SIZES.into_iter().enumerate() {
            // Two for each side, one of which is taken and kept.
            let mut stream = session.open().unwrap();
            (0..2).for_each(|seed| stream.send(&pattern(seed, len)).unwrap());
            peer.tell("accept");
            peer.tell(&format!("hold {number}"));
            (0..2).for_each(|seed| peer.tell(&format!("send {number} {seed} {len}")));
            held.push((len, stream.recv().unwrap().unwrap()));
            reservations.push(session.open().unwrap().sender().reserve(len).unwrap());
            streams.push(stream);
        }
        let mut waiting = session.open().unwrap();
        let waits = session.stats().reserve_waits;
        let writer = tests::deadline::start("a writer", move || {
            loop {
                if let Err(error) = waiting.send(&[1; 1 << 20]) {
                    return error;
                }
            }
        });
        until("the writer waits", || session.stats().reserve_waits > waits);
        assert!(Held::by(us).mappings > 4);

        peer.process().kill();
        assert_eq!(writer.join(), SendError::Session(SessionError::PeerDied));
        for (len, message) in &held {
            check(message, 0, *len);
        }
        let session = within("the rest", move || {
            for (stream, len) in streams.iter_mut().zip(SIZES) {
                check(&stream.recv().unwrap().unwrap(), 1, len);
                let died = RecvError::Session(SessionError::PeerDied);
                assert_eq!(stream.recv().unwrap_err(), died);
            }
            session
        });
        match round % 3 {
            0 => drop((held, reservations, session)),
            1 => drop((session, reservations, held)),
            _ => {
                drop((reservations, session));
                std::thread::spawn(move || drop(held)).join().unwrap();
            }
        }
        drop(peer);
        until_back(us, before);
        memory.push(resident(us));
    }
    let (first, last) = (memory[2], memory[11]);
    // Heaps of threads come and go; a message of each round left behind would be 36 MiB.
    if !is_emulated("the memory of 12 sessions whose peers were killed") {
        assert!(last < first + (16 << 10), "resident memory grows: {memory:?} KiB");
    }
}

/// The same, with a peer that closes in good order and lives on, and whose memory is looked at too.
#[test]
fn after_closing_with_everything_held() {
    let _turn = in_turn();
    let us = std::process::id();
    let directory = short_directory();
    let path = directory.path().join("socket");
    // In place: what is held is the peer's memory.
    let setup = Setup::new(Size::Default).trusted();
    let listener = Listener::builder().config(setup.config()).bind(&path).unwrap();
    let before = Held::by(us);
    for (round, by_peer) in [true, false, true, false].into_iter().enumerate() {
        let (mut peer, session) = Scripted::start(PEER, setup, &listener, &path);
        let them = peer.process().pid();
        let mut stream = session.open().unwrap();
        let mut held = Vec::new();
        for (number, len) in [20_000, 4 << 20].into_iter().enumerate() {
            stream.send(&pattern(5, len)).unwrap();
            if number == 0 {
                peer.tell("accept");
            }
            peer.tell("hold 0");
            peer.tell(&format!("send 0 6 {len}"));
            held.push((len, stream.recv().unwrap().unwrap()));
        }
        if by_peer {
            peer.tell("close 3");
            assert_eq!(session.closed(), SessionError::ClosedByPeer(3));
        } else {
            session.close(3);
            assert_eq!(peer.ask("closed"), "ClosedByPeer(3)");
        }
        drop((session, stream));
        peer.tell("drop 0");
        peer.tell("drop-session");
        // Both hold two messages of the other, in two segments, and nothing else of the session.
        let both = (mappings(us), mappings(them));
        assert_eq!(both, (2, 2), "in round {round}");
        assert_eq!(descriptors(them), peer.before().descriptors, "in round {round}");
        held.iter().for_each(|(len, message)| check(message, 6, *len));
        peer.tell("held 0 5 20000");
        peer.tell(&format!("held 1 5 {}", 4 << 20));
        drop(held);
        peer.tell("release");
        assert_eq!((mappings(us), mappings(them)), (0, 0), "in round {round}");
    }
    until_back(us, before);
}

/// Waits that run out of time leave nothing: neither memory nor time.
#[test]
fn after_waits_that_time_out() {
    let _turn = in_turn();
    let us = std::process::id();
    let directory = short_directory();
    let path = directory.path().join("socket");
    let mut peer = Peer::start(PEER, &["echo", path.to_str().unwrap()]);
    peer.line("listening");
    let session = Session::connect(&path).unwrap();
    let (_sender, mut receiver) = session.open().unwrap().into_split();
    let mut wait = |rounds| {
        for _ in 0..rounds {
            session.accept_timeout(Duration::ZERO).unwrap_err();
            receiver.recv_timeout(Duration::ZERO).unwrap_err();
        }
    };
    wait(1000);
    let before = resident(us);
    wait(20_000);
    let after = resident(us);
    assert!(after < before + 512, "resident memory grew from {before} to {after} KiB");
}

/// Handshakes that fail leave nothing.
#[test]
fn after_failed_handshakes() {
    let _turn = in_turn();
    let us = std::process::id();
    let directory = short_directory();
    let path = directory.path().join("socket");
    // In place: what is held is the peer's memory.
    let setup = Setup::new(Size::Default).trusted();
    let listener = Listener::builder().config(setup.config()).bind(&path).unwrap();
    let before = Held::by(us);
    for round in 0..100 {
        use std::io::Write;
        let mut socket = std::os::unix::net::UnixStream::connect(&path).unwrap();
        socket.write_all(&[round; 50]).unwrap();
        let _ = listener.accept_timeout(Duration::ZERO).unwrap();
    }
    until("all handshakes are over", || {
        let _ = listener.accept_timeout(Duration::ZERO).unwrap();
        listener.stats().in_progress == 0
    });
    until_back(us, before);
}

fn files(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
