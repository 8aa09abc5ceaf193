//! Data, finish, reset, stop and what is dropped, in every order, and then the end of the session: closed by
//! the peer, or killed with it. What was published before comes first, and never more than that.

use std::sync::Arc;

use shmipc_sync::{AcceptError, Listener, RecvError, SendError, Session, SessionError};
use tests::child::Peer;
use tests::deadline::{start, within};
use tests::orders::{Act, CLOSE, expected, observe, orders};
use tests::proc::allow_sessions;

const PEER: &str = env!("CARGO_BIN_EXE_peer");
/// Sessions of one peer process, if descriptors suffice.
const BATCH: usize = 40;
/// Tests that run at the same time.
const TESTS: usize = 4;

/// What the other side sees of a session in which this was done, and which then ended like that.
fn look(session: &Session, order: &[Act], over: SessionError) {
    let seen = expected(order);
    if seen.heard {
        let (mut sender, mut receiver) = session.accept().unwrap().into_split();
        let end = observe(&mut receiver, order, &seen);
        if seen.end.is_none() {
            assert_eq!(end, Err(RecvError::Session(over)), "{order:?}");
        }
        let error = loop {
            if let Err(error) = sender.send(&[0; 100]) {
                break error;
            }
        };
        let stopped = seen.stop.map(SendError::Stopped);
        let told = error == SendError::Session(over) || Some(error) == stopped;
        assert!(told, "{order:?}: {error:?}");
    }
    assert_eq!(session.accept().err(), Some(AcceptError::Session(over)), "{order:?}");
    assert_eq!(session.closed(), over, "{order:?}");
}

/// All orders of up to three actions, each in a session of its own, looked at by threads that already wait or
/// when all is over.
fn in_every_order(over: SessionError, late: bool) {
    let all = orders(3);
    let most = (allow_sessions(TESTS * BATCH) / TESTS).max(1);
    for (number, batch) in all.chunks(most).enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = Arc::new(Listener::bind(&path).unwrap());
        let (from, count) = ((number * most).to_string(), batch.len());
        let path = path.to_str().unwrap();
        let mut peer = Peer::start(PEER, &["orders", path, &from, &count.to_string()]);
        let mut sessions = within("accept", move || -> Vec<_> {
            (0..count).map(|_| listener.accept().unwrap()).collect()
        });
        sessions.sort_by_key(Session::peer_app_version);
        let looking = |(session, order): (Session, &Vec<Act>)| {
            let order = order.clone();
            start("look", move || look(&session, &order, over))
        };
        let pairs = sessions.into_iter().zip(batch);
        let end = |peer: &mut Peer| match over {
            SessionError::PeerDied => {
                peer.line("done");
                peer.kill();
            }
            _ => {
                peer.line("done");
                peer.say("close");
                peer.line("closed");
            }
        };
        let looking: Vec<_> = if late {
            end(&mut peer);
            pairs.map(looking).collect()
        } else {
            let looking = pairs.map(looking).collect();
            end(&mut peer);
            looking
        };
        looking.into_iter().for_each(|looking| looking.join());
    }
}

#[test]
fn then_killed_while_we_wait() {
    in_every_order(SessionError::PeerDied, false);
}

#[test]
fn then_killed_before_we_look() {
    in_every_order(SessionError::PeerDied, true);
}

#[test]
fn then_closed_while_we_wait() {
    in_every_order(SessionError::ClosedByPeer(CLOSE), false);
}

#[test]
fn then_closed_before_we_look() {
    in_every_order(SessionError::ClosedByPeer(CLOSE), true);
}
