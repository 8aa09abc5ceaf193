//! SIGKILL of the peer: whoever waits, in any call, learns of it at once, after everything that was
//! published before.

use std::time::{Duration, Instant};

use shmipc_sync::{
    AcceptError, Config, Delivery, Listener, OpenError, RecvError, SendError, Session,
    SessionError, Stream, WaitMode,
};
use tests::child::Peer;
use tests::deadline::{Running, start, until, within};
use tests::payload::check;

const PEER: &str = env!("CARGO_BIN_EXE_peer");
const DIED: SessionError = SessionError::PeerDied;
/// From the kill to the error: the design says 100 ms; a test on a busy machine allows more.
const PROMPT: Duration = Duration::from_secs(5);
const MODES: [WaitMode; 3] = [WaitMode::Adaptive, WaitMode::Block, WaitMode::Spin];

/// A peer in a role, and our end of its session.
fn meet(role: &[&str], wait: WaitMode) -> (Peer, Session) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let config = Config::builder().wait(wait).build().unwrap();
    let listener = Listener::builder().config(config).bind(&path).unwrap();
    let arguments: Vec<&str> =
        [role[0], path.to_str().unwrap()].into_iter().chain(role[1..].iter().copied()).collect();
    let peer = Peer::start(PEER, &arguments);
    (peer, within("accept", move || listener.accept().unwrap()))
}

/// A peer that has said one thing, and the stream on which it did.
fn meet_silent(role: &str, wait: WaitMode) -> (Peer, Session, Stream) {
    let (mut peer, session) = meet(&[role], wait);
    let waiting = session.clone();
    let mut stream = within("the first stream", move || waiting.accept().unwrap());
    assert_eq!(stream.recv().unwrap().unwrap().to_vec(), b"hello");
    peer.line("silent");
    (peer, session, stream)
}

/// Starts `wait` on a thread, kills the peer once the thread is inside, and returns what it gave.
fn kill_while<T: Send + 'static>(
    peer: Peer,
    session: &Session,
    mode: WaitMode,
    wait: impl FnOnce() -> T + Send + 'static,
) -> T {
    let sleeps = session.stats().sleeps;
    let waiting = start("waiting", wait);
    kill_asleep(peer, session, mode, sleeps, vec![waiting]).remove(0)
}

/// Kills the peer once a thread sleeps in the kernel that did not before, and returns what all threads
/// gave.
fn kill_asleep<T>(
    mut peer: Peer,
    session: &Session,
    mode: WaitMode,
    sleeps: u64,
    waiting: Vec<Running<T>>,
) -> Vec<T> {
    if mode != WaitMode::Spin {
        until("somebody sleeps", || session.stats().sleeps > sleeps);
    }
    let killed = Instant::now();
    peer.kill();
    let results = waiting.into_iter().map(Running::join).collect();
    assert!(killed.elapsed() < PROMPT, "it took {:?}", killed.elapsed());
    results
}

/// Killed while we wait in `recv`, in every mode.
#[test]
fn while_receiving() {
    for mode in MODES {
        let (peer, session, mut stream) = meet_silent("silent", mode);
        let (mut stream, error) = kill_while(peer, &session, mode, move || {
            let error = stream.recv().unwrap_err();
            (stream, error)
        });
        assert_eq!(error, RecvError::Session(DIED));
        // From now on every call says so.
        assert_eq!(stream.recv().unwrap_err(), RecvError::Session(DIED));
        let error = stream.send(b"x").unwrap_err();
        assert_eq!((error, error.delivery()), (SendError::Session(DIED), Delivery::NotSent));
        assert_eq!(stream.finish(), Err(SendError::Session(DIED)));
        assert_eq!(session.open().err(), Some(OpenError::Session(DIED)));
        assert_eq!(session.accept().err(), Some(AcceptError::Session(DIED)));
        assert!(session.is_closed());
    }
}

/// Killed while we wait in `accept`.
#[test]
fn while_accepting() {
    for mode in MODES {
        let (peer, session, _stream) = meet_silent("silent", mode);
        let waiting = session.clone();
        let error = kill_while(peer, &session, mode, move || waiting.accept().err());
        assert_eq!(error, Some(AcceptError::Session(DIED)));
    }
}

/// Killed while we wait in `reserve`: for credit of small messages, and of large ones.
#[test]
fn while_reserving() {
    for mode in MODES {
        for len in [1000, 1 << 20] {
            let (peer, session, mut stream) = meet_silent("silent", mode);
            let sending = move || loop {
                match stream.reserve(len) {
                    Ok(reservation) => reservation.commit().unwrap(),
                    Err(error) => return error,
                }
            };
            let error = kill_while(peer, &session, mode, sending);
            assert_eq!(error, SendError::Session(DIED));
        }
    }
}

/// Killed while several threads wait in several calls: all of them learn of it.
#[test]
fn while_many_wait() {
    for mode in [WaitMode::Adaptive, WaitMode::Block] {
        let (peer, session, _stream) = meet_silent("silent", mode);
        let sleeps = session.stats().sleeps;
        let waiting = (0..8).map(|number| {
            let (session, mut stream) = (session.clone(), session.open().unwrap());
            start("waiting", move || match number % 2 {
                0 => session.accept().err() == Some(AcceptError::Session(DIED)),
                _ => stream.recv().err() == Some(RecvError::Session(DIED)),
            })
        });
        let told = kill_asleep(peer, &session, mode, sleeps, waiting.collect());
        assert_eq!(told, [true; 8]);
    }
}

fn with_a_child_that_holds_the_socket(mode: WaitMode) {
    let (mut peer, session, mut stream) = meet_silent("silent-after-fork", mode);
    peer.line("child");
    let error = kill_while(peer, &session, mode, move || stream.recv().unwrap_err());
    assert_eq!(error, RecvError::Session(DIED), "{mode:?}");
}

/// A forked child of the peer that holds the socket open does not hide the peer's death.
#[test]
fn child_that_holds_the_socket_hides_nothing() {
    with_a_child_that_holds_the_socket(WaitMode::Adaptive);
    with_a_child_that_holds_the_socket(WaitMode::Block);
}

/// Nor from a thread that spins and never sleeps.
#[test]
fn child_that_holds_the_socket_hides_nothing_from_a_spinning_thread() {
    with_a_child_that_holds_the_socket(WaitMode::Spin);
}

/// Everything published before the death is delivered first, and messages in hand stay readable.
#[test]
fn after_publishing() {
    const MESSAGES: u64 = 40;
    for early in [0, 10] {
        let (mut peer, session) = meet(&["publish", &MESSAGES.to_string()], WaitMode::Adaptive);
        peer.line("published");
        let waiting = session.clone();
        let mut stream = within("the stream", move || waiting.accept().unwrap());
        let mut messages: Vec<_> = (0..early).map(|_| stream.recv().unwrap().unwrap()).collect();
        peer.kill();
        let (late, error) = within("the rest", move || {
            let late: Vec<_> = (early..MESSAGES).map(|_| stream.recv().unwrap().unwrap()).collect();
            (late, stream.recv().unwrap_err())
        });
        assert_eq!(error, RecvError::Session(DIED));
        messages.extend(late);
        drop(session);
        for (number, message) in messages.iter().enumerate() {
            check(message, number as u64, (number * 97) % 9000);
        }
    }
}

/// A stream that the dead peer opened and that nobody has accepted can still be accepted and read.
#[test]
fn before_accepting() {
    let (mut peer, session) = meet(&["publish", "3"], WaitMode::Adaptive);
    peer.line("published");
    peer.kill();
    within("the stream of the dead", move || {
        let mut stream = session.accept().unwrap();
        for number in 0..3 {
            check(&stream.recv().unwrap().unwrap(), number, (number as usize * 97) % 9000);
        }
        assert_eq!(stream.recv().unwrap_err(), RecvError::Session(DIED));
        assert_eq!(session.accept().err(), Some(AcceptError::Session(DIED)));
    });
}

/// Killed at any moment while both sides are busy: prompt, and only this error.
#[test]
fn at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    for round in 0..30 {
        let mut peer = Peer::start(PEER, &["echo", path.to_str().unwrap()]);
        peer.line("listening");
        let session = Session::connect(&path).unwrap();
        let busy = {
            let session = session.clone();
            start("busy", move || -> Result<(), RecvError> {
                let mut stream = session.open().unwrap();
                loop {
                    for len in [10, 5000, 300_000] {
                        if let Err(error) = stream.send(&vec![1; len]) {
                            return Err(RecvError::Open(error));
                        }
                    }
                    for _ in 0..3 {
                        stream.recv()?.expect("no end");
                    }
                }
            })
        };
        until("it is busy", || session.stats().records_received > round * 3);
        let killed = Instant::now();
        peer.kill();
        let error = busy.join().unwrap_err();
        let died = [RecvError::Session(DIED), RecvError::Open(SendError::Session(DIED))];
        assert!(died.contains(&error), "{error}");
        assert!(killed.elapsed() < PROMPT);
    }
}

/// A peer that answers, and leaves when told.
fn meet_leaver(wait: WaitMode) -> (Peer, Session) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut peer = Peer::start(PEER, &["leave-when-told", path.to_str().unwrap()]);
    peer.line("listening");
    let config = Config::builder().wait(wait).build().unwrap();
    (peer, Session::connect_with(&path, &config).unwrap())
}

/// Killed after it left: what it has certainly not seen is told apart from what it may have served.
#[test]
fn after_leaving() {
    for mode in MODES {
        let (mut peer, session) = meet_leaver(mode);
        let (mut before, mut after) = (session.open().unwrap(), session.open().unwrap());
        before.send(b"").unwrap();
        peer.line("seen");
        peer.say("leave");
        peer.line("left");
        peer.kill();
        within("both answers", move || {
            // The request lies in our own memory, which the dead cannot read.
            let sent = after.send(b"after");
            assert!(matches!(sent, Ok(()) | Err(SendError::GoingAway)), "{sent:?}");
            let error = after.recv().unwrap_err();
            assert_eq!((error, error.delivery()), (RecvError::GoingAway, Delivery::NotSent));
            let error = before.recv().unwrap_err();
            assert_eq!((error, error.delivery()), (RecvError::Session(DIED), Delivery::Unknown));
            let error = after.send(b"again").unwrap_err();
            assert_eq!((error, error.delivery()), (SendError::GoingAway, Delivery::NotSent));
            drop((before, after));
            assert_eq!(session.open().err(), Some(OpenError::Session(DIED)));
        });
    }
}

/// Killed at any moment while it leaves: what is said not to have been sent was not seen, and nobody
/// waits for ever.
#[test]
fn while_leaving() {
    let mut outcomes = [0; 3];
    for round in 0..60 {
        let (mut peer, session) = meet_leaver(MODES[round % 2]);
        let asking: Vec<_> = (0..3)
            .map(|thread| {
                let session = session.clone();
                start("asking", move || {
                    let mut answered = 0;
                    loop {
                        let request = format!("{thread}.{answered}");
                        match ask(&session, &request) {
                            Ok(()) => answered += 1,
                            Err(delivery) => return (thread, answered, delivery),
                        }
                    }
                })
            })
            .collect();
        until("it is busy", || session.stats().records_received > 20);
        peer.say("leave");
        let moment = Instant::now() + Duration::from_micros(20 * round as u64);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        peer.kill();
        let asked: Vec<(i32, u32, Delivery)> = asking.into_iter().map(Running::join).collect();
        let seen = peer.said("seen");
        for (thread, answered, delivery) in asked {
            let was_seen = |number: u32| seen.contains(&format!("{thread}.{number}"));
            assert!((0..answered).all(was_seen), "an answer to what was not seen");
            assert!(delivery != Delivery::NotSent || !was_seen(answered), "seen and not sent");
            outcomes[delivery as usize] += 1;
        }
    }
    println!("not sent, unknown, refused: {outcomes:?}");
}

/// Asks one thing. An error says what is known of the request.
fn ask(session: &Session, request: &str) -> Result<(), Delivery> {
    let mut stream = session.open().map_err(|_| Delivery::NotSent)?;
    stream.send(request.as_bytes()).map_err(|error| error.delivery())?;
    let reply = stream.recv().map_err(|error| error.delivery())?;
    assert_eq!(reply.expect("a reply").to_vec(), request.as_bytes());
    let _ = stream.finish();
    Ok(())
}
