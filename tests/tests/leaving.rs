//! One process leaves while another one opens streams: each request is answered, or was not seen.

use shmipc_sync::{
    Config, Delivery, OpenError, RecvError, SendError, Session, SessionError, Stream, WaitMode,
};
use tests::child::Peer;
use tests::deadline::{PATIENCE, start, within};

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
