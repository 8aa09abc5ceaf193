//! One process leaves while another one opens streams: each request is answered, or was not seen.

use std::time::Duration;

use shmipc_sync::{
    AcceptError, Config, Delivery, Listener, OpenError, RecvError, Reservation, SendError, Session,
    SessionError, Stream, WaitMode,
};
use tests::child::Peer;
use tests::deadline::{PATIENCE, start, until, within};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// What became of the requests of one thread.
#[derive(Debug, Default)]
struct Asked {
    answered: Vec<String>,
    /// Refused by `send`, or by `recv` after it was sent.
    not_sent: u32,
    not_seen: u32,
}

/// Asks again and again, several things at a time, until the peer leaves.
fn ask_until_it_leaves(session: &Session, name: &str) -> Asked {
    let mut asked = Asked::default();
    for round in 0.. {
        let opened: Vec<_> = (0..8).map_while(|_| open(session)).collect();
        let leaves = opened.len() < 8;
        let mut sent = Vec::new();
        for (number, mut stream) in opened.into_iter().enumerate() {
            let request = format!("{name}{round}.{number}");
            match stream.send(request.as_bytes()) {
                Ok(()) => sent.push((stream, request)),
                Err(error) => {
                    assert_eq!(error, SendError::GoingAway);
                    asked.not_sent += 1;
                }
            }
        }
        for (mut stream, request) in sent {
            match stream.recv() {
                Ok(reply) => assert_eq!(reply.expect("a reply").to_vec(), request.as_bytes()),
                Err(error) => {
                    let unseen = (RecvError::GoingAway, Delivery::NotSent);
                    assert_eq!((error, error.delivery()), unseen);
                    asked.not_seen += 1;
                    continue;
                }
            }
            stream.finish().expect("the peer waits for it");
            asked.answered.push(request);
        }
        if leaves {
            break;
        }
    }
    asked
}

/// Opens a stream, unless the peer leaves or has left.
fn open(session: &Session) -> Option<Stream> {
    match session.open() {
        Ok(stream) => Some(stream),
        Err(OpenError::GoingAway | OpenError::Session(SessionError::ClosedByPeer(0))) => None,
        Err(error) => panic!("{error}"),
    }
}

/// A thousand sessions, each of which the peer leaves at some moment while two threads open streams.
#[test]
fn opening_races_with_leaving() {
    const SESSIONS: usize = 1000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut peer = Peer::start(PEER, &["leave", path.to_str().unwrap()]);
    peer.line("listening");
    let (mut answered, mut not_sent, mut not_seen) = (0, 0, 0);
    for number in 0..SESSIONS {
        let wait = [WaitMode::Adaptive, WaitMode::Block][number % 2];
        let config = Config::builder().wait(wait).build().unwrap();
        let session = Session::connect_with(&path, &config).unwrap();
        let other = session.clone();
        let asking = start("the other thread", move || ask_until_it_leaves(&other, "b"));
        let here = session.clone();
        let asked = within("one thread", move || ask_until_it_leaves(&here, "a"));
        let other = asking.join();
        let mut ours: Vec<_> = asked.answered.into_iter().chain(other.answered).collect();
        let seen = peer.line("seen");
        let mut seen: Vec<_> = seen.split_whitespace().map(str::to_owned).collect();
        ours.sort_unstable();
        seen.sort_unstable();
        assert_eq!(ours, seen, "what was answered is what was seen");
        answered += ours.len();
        not_sent += asked.not_sent + other.not_sent;
        not_seen += asked.not_seen + other.not_seen;
        session.closed_timeout(PATIENCE).expect("the peer closes when all is served");
    }
    println!("{answered} answered, {not_sent} not sent, {not_seen} sent and not seen");
    assert!(answered > 0 && not_sent + not_seen > 0, "the race has but one outcome");
    peer.succeed();
}

/// Two ends in this process, which wait in this way.
fn pair(wait: WaitMode) -> (Session, Session) {
    let config = Config::builder().wait(wait).build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::builder().config(config.clone()).bind(&path).unwrap();
    let connecting = start("the client", move || Session::connect_with(path, &config).unwrap());
    let server = listener.accept().unwrap();
    (connecting.join(), server)
}

/// Who opens streams and never waits learns of it all the same: by the record that opens the stream,
/// whatever publishes it, and then in the next call.
#[test]
fn a_stream_that_crosses_with_the_leaving() {
    type Way = fn(&mut Stream, Option<Reservation>);
    let ways: [(&str, Way); 4] = [
        ("send", |stream, _| stream.send(b"late").unwrap()),
        ("commit", |_, held| held.unwrap().commit().unwrap()),
        ("batch", |stream, _| {
            let mut batch = stream.batch();
            batch.push(b"late").unwrap();
            batch.push(b"later").unwrap();
            batch.commit().unwrap();
        }),
        ("finish", |stream, _| stream.finish().unwrap()),
    ];
    for (name, way) in ways {
        let (client, server) = pair(WaitMode::Adaptive);
        let (mut stream, mut other) = (client.open().unwrap(), client.open().unwrap());
        let held = (name == "commit").then(|| stream.reserve(5000).unwrap());
        server.leave();
        way(&mut stream, held);
        assert_eq!(stream.send(b"more"), Err(SendError::GoingAway), "{name}");
        assert_eq!(stream.recv().unwrap_err(), RecvError::GoingAway, "{name}");
        assert_eq!(other.send(b"nor this"), Err(SendError::GoingAway), "{name}");
        assert_eq!(server.accept().err(), Some(AcceptError::Leaving), "{name}");
        assert_eq!(server.drained(), Ok(()), "{name}");
        let seen = server.stats();
        assert_eq!(seen.records_received > 0, name != "finish", "{name}: read, and dropped");
    }
}

/// A session that only one side uses after it left: streams of the leaver's own go on.
#[test]
fn streams_of_the_leaver_go_on() {
    let (client, server) = pair(WaitMode::Adaptive);
    let mut stream = server.open().unwrap();
    server.leave();
    assert_eq!(server.open().err(), Some(OpenError::Leaving));
    assert_eq!(server.drained_timeout(PATIENCE), Ok(()), "its own streams do not count");
    // Opened before, and heard of only now.
    stream.send(b"hello").unwrap();
    let mut theirs = within("the stream", move || client.accept().unwrap());
    assert_eq!(theirs.recv().unwrap().unwrap().to_vec(), b"hello");
    theirs.send(b"reply").unwrap();
    assert_eq!(stream.recv().unwrap().unwrap().to_vec(), b"reply");
}

/// The final position is rung for though nobody has asked for it, and nothing else is ever sent.
#[test]
fn a_sleeping_opener_is_told() {
    for wait in [WaitMode::Adaptive, WaitMode::Block] {
        let (client, server) = pair(wait);
        let mut stream = client.open().unwrap();
        let sender = stream.sender();
        let mut held = Vec::new();
        while let Ok(reservation) = sender.reserve_timeout(4000, Duration::ZERO) {
            held.push(reservation);
        }
        let waiting = start("the next", move || (stream.reserve(4000).map(|_| ()), stream));
        until("it sleeps", || client.stats().sleeps > 0);
        server.leave();
        let (result, _stream) = waiting.join();
        assert_eq!(result, Err(SendError::GoingAway), "{wait:?}");
        for reservation in held {
            assert_eq!(reservation.commit(), Err(SendError::GoingAway));
        }
    }
}

/// Who sleeps in `drained` is told of the last end, whichever side's it is and whatever carries it.
#[test]
fn a_sleeping_leaver_is_told() {
    type Way = fn(&mut Stream, &mut Stream);
    let ways: [(&str, Way); 4] = [
        ("finish", |_, ours| ours.finish().unwrap()),
        ("last message", |_, ours| ours.finish_with(b"reply").unwrap()),
        ("reset", |_, ours| ours.reset(1)),
        ("the peer's end", |theirs, ours| {
            ours.finish().unwrap();
            theirs.finish().unwrap();
        }),
    ];
    for (name, way) in ways {
        let (client, server) = pair(WaitMode::Block);
        let mut theirs = client.open().unwrap();
        theirs.send(b"request").unwrap();
        let mut ours = server.accept().unwrap();
        ours.recv().unwrap().unwrap();
        if name != "the peer's end" {
            theirs.finish().unwrap();
            assert!(ours.recv().unwrap().is_none());
        }
        server.leave();
        let (session, sleeps) = (server.clone(), server.stats().sleeps);
        let waiting = start("drained", move || session.drained());
        until("it sleeps", || server.stats().sleeps > sleeps);
        way(&mut theirs, &mut ours);
        assert_eq!(waiting.join(), Ok(()), "{name}");
    }
}
