//! One thread that waits for many.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use shmipc_sync::{
    AcceptError, Config, Event, Listener, RecvError, Session, Stream, TryError, WaitSet, WatchError,
};
use tests::child::Peer;
use tests::deadline::{PATIENCE, start, until, within};
use tests::needs::short_directory;
use tests::payload::{check, pattern};
use tests::proc;
use tests::setup::{Setup, Size};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// The figures of one test are those of the whole process, so they take turns.
fn in_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A set, and what it has to report.
struct Waiting {
    set: WaitSet,
    events: Vec<Event>,
}

impl Waiting {
    fn new() -> Self {
        Self { set: WaitSet::new().unwrap(), events: Vec::new() }
    }

    /// The tokens that are reported, once there are any.
    #[track_caller]
    fn tokens(&mut self) -> Vec<usize> {
        self.set.wait(&mut self.events, Some(PATIENCE)).unwrap();
        assert!(!self.events.is_empty(), "nothing is reported");
        let mut tokens: Vec<usize> = self.events.iter().map(|event| event.token).collect();
        tokens.sort_unstable();
        tokens
    }

    /// Whether nothing is ready.
    fn is_quiet(&mut self) -> bool {
        self.set.wait(&mut self.events, Some(Duration::ZERO)).unwrap();
        self.events.is_empty()
    }
}

/// Two ends in this process.
fn pair() -> (Session, Session) {
    let name = format!("@shmipc-set-{}-{:?}", std::process::id(), thread::current().id());
    let listener = Listener::bind(&name).unwrap();
    thread::scope(|scope| {
        let client = scope.spawn(|| Session::connect(&name).unwrap());
        let server = listener.accept().unwrap();
        (client.join().unwrap(), server)
    })
}

/// A stream with a message in either direction behind it.
fn stream(client: &Session, server: &Session) -> (Stream, Stream) {
    let mut ours = client.open().unwrap();
    ours.send(b"hello").unwrap();
    let mut theirs = server.accept().unwrap();
    theirs.recv().unwrap().unwrap();
    (ours, theirs)
}

/// What [`Crowd::serve`] serves.
struct Crowd {
    set: WaitSet,
    listener: Listener,
    sessions: HashMap<usize, Session>,
    streams: HashMap<usize, Stream>,
    next: usize,
    served: usize,
    over: usize,
}

impl Crowd {
    const LISTENER: usize = 0;

    fn new(listener: Listener) -> Self {
        let mut set = WaitSet::new().unwrap();
        set.add_listener(&listener, Self::LISTENER).unwrap();
        let (sessions, streams) = (HashMap::new(), HashMap::new());
        Self { set, listener, sessions, streams, next: 1, served: 0, over: 0 }
    }

    fn token(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// Serves everything until `served` requests were answered, or `over` sessions ended.
    fn serve(&mut self, served: usize, over: usize) {
        let mut events = Vec::new();
        while self.served < served || self.over < over {
            self.set.wait(&mut events, Some(PATIENCE)).unwrap();
            assert!(!events.is_empty(), "{} of {served} requests came", self.served);
            for event in &events {
                self.act(event.token);
            }
        }
    }

    fn act(&mut self, token: usize) {
        if token == Self::LISTENER {
            while let Ok(session) = self.listener.try_accept() {
                let token = self.token();
                self.set.add_session(&session, token).unwrap();
                self.sessions.insert(token, session);
            }
        } else if let Some(session) = self.sessions.get(&token) {
            match session.try_accept() {
                Err(TryError::WouldBlock) => {}
                Ok(mut stream) => {
                    let token = self.token();
                    self.set.add_receiver(stream.receiver(), token).unwrap();
                    self.streams.insert(token, stream);
                }
                Err(TryError::Failed(_)) => {
                    assert!(self.set.remove(token));
                    self.sessions.remove(&token);
                    self.over += 1;
                }
            }
        } else {
            let stream = self.streams.get_mut(&token).expect("a token of ours");
            match stream.receiver().try_recv() {
                Err(TryError::WouldBlock) => {}
                Ok(Some(message)) => {
                    stream.send(&message).unwrap();
                    self.served += 1;
                }
                Ok(None) | Err(TryError::Failed(_)) => {
                    assert!(self.set.remove(token));
                    self.streams.remove(&token);
                }
            }
        }
    }
}

/// One thread serves accept and messages of 1,000 sessions of another process, which checks every reply;
/// uses no CPU while they are idle; and learns of the end of all.
#[test]
fn a_thousand_sessions() {
    const ROUNDS: usize = 5;
    let _turn = in_turn();
    let count = proc::allow_sessions(1000);
    let directory = short_directory();
    let path = directory.path().join("socket");
    let config = Setup::new(Size::Tiny).config();
    let listener = Listener::builder().config(config).bind(&path).unwrap();
    let (sessions, rounds) = (count.to_string(), ROUNDS.to_string());
    let mut peer = Peer::start(PEER, &["crowd", path.to_str().unwrap(), &sessions, &rounds]);

    let mut crowd = Crowd::new(listener);
    for round in 1..=ROUNDS {
        let serving = start("serving", move || {
            crowd.serve(round * count, 0);
            crowd
        });
        crowd = serving.join();
        peer.line("round");
        if round < ROUNDS {
            peer.say("go on");
        }
    }
    assert_eq!(crowd.set.len(), 1 + 2 * count);
    assert_eq!(crowd.served, ROUNDS * count);

    // Nothing happens any more.
    let us = std::process::id();
    let interrupter = crowd.set.interrupter();
    let idle = start("idle-set", move || {
        let mut events = Vec::new();
        crowd.set.wait(&mut events, None).unwrap();
        assert!(events.is_empty(), "{events:?}");
        crowd
    });
    let mut waiter = 0;
    until("it sleeps", || {
        waiter = proc::threads(us, "idle-set").first().copied().unwrap_or(0);
        proc::sleeps(us, waiter)
    });
    // The peer may still do its part of the last round; then nothing wakes us for half a second.
    let look = || proc::voluntary_switches(us, waiter);
    let mut before = look();
    until("it sleeps on", || {
        thread::sleep(Duration::from_millis(500));
        std::mem::replace(&mut before, look()) == before
    });
    assert!(!idle.is_done());
    interrupter.interrupt();
    let mut crowd = idle.join();

    // The peer's end is the end of every session and every stream.
    peer.say("go on");
    peer.line("done");
    let ending = start("the end", move || {
        crowd.serve(0, count);
        crowd
    });
    peer.succeed();
    let crowd = ending.join();
    assert_eq!(crowd.over, count);
    assert!(crowd.sessions.is_empty());
}

/// What still has something is reported again, and what has nothing is not.
#[test]
fn reported_until_it_is_taken() {
    let _turn = in_turn();
    within("a set", || {
        let (client, server) = pair();
        let (mut ours, mut theirs) = stream(&client, &server);
        let mut waiting = Waiting::new();
        waiting.set.add_receiver(theirs.receiver(), 7).unwrap();
        waiting.set.add_session(&server, 8).unwrap();
        assert!(waiting.is_quiet());
        ours.send(b"1").unwrap();
        ours.send(b"2").unwrap();
        for _ in 0..3 {
            assert_eq!(waiting.tokens(), [7]);
        }
        theirs.recv().unwrap().unwrap();
        assert_eq!(waiting.tokens(), [7], "the second");
        let _second = client.open().unwrap().send(b"a stream").is_ok();
        until("both", || waiting.tokens() == [7, 8]);
        theirs.recv().unwrap().unwrap();
        assert_eq!(waiting.tokens(), [8]);
        server.try_accept().unwrap();
        assert!(waiting.is_quiet());
        ours.finish().unwrap();
        for _ in 0..3 {
            assert_eq!(waiting.tokens(), [7], "the end of the stream");
        }
        assert!(waiting.set.remove(7) && !waiting.set.remove(7));
        assert!(waiting.is_quiet());
    });
}

/// The end of a stream is reported also if a call has taken it along with the last message, straight from
/// the queue or behind others, without anything having been reported before.
#[test]
fn the_end_that_came_with_a_message_is_reported() {
    let _turn = in_turn();
    within("a set", || {
        let (client, server) = pair();
        for len in [3, 100_000] {
            let (mut ours, mut theirs) = stream(&client, &server);
            let mut waiting = Waiting::new();
            waiting.set.add_receiver(theirs.receiver(), 7).unwrap();
            assert!(waiting.is_quiet());
            ours.finish_with(&pattern(1, len)).unwrap();
            check(&theirs.recv().unwrap().unwrap(), 1, len);
            assert_eq!(waiting.tokens(), [7]);
            assert!(theirs.recv().unwrap().is_none());
        }
    });
}

/// What a stream keeps after a call that took only a part is reported, though nobody was told before.
#[test]
fn the_rest_of_a_message_is_reported() {
    let _turn = in_turn();
    within("a set", || {
        let (client, server) = pair();
        let (mut ours, mut theirs) = stream(&client, &server);
        let mut waiting = Waiting::new();
        waiting.set.add_receiver(theirs.receiver(), 7).unwrap();
        for _ in 0..3 {
            assert!(waiting.is_quiet());
            ours.send(b"abc").unwrap();
            let mut byte = [0];
            assert_eq!(theirs.read(&mut byte).unwrap(), 1);
            assert_eq!(waiting.tokens(), [7]);
            assert_eq!(theirs.recv().unwrap().unwrap().to_vec(), b"bc");
            assert!(waiting.is_quiet());
            ours.send(b"abc").unwrap();
            theirs.recv_into(&mut byte).unwrap_err();
            assert_eq!(waiting.tokens(), [7]);
            assert_eq!(theirs.recv().unwrap().unwrap().to_vec(), b"abc");
        }
    });
}

/// Calls that block on the same sessions, between two waits and beside them, take nothing from the set.
#[test]
fn calls_that_block_on_the_same_session() {
    let _turn = in_turn();
    within("a set", || {
        let (client, server) = pair();
        let streams: Vec<_> = (0..3).map(|_| stream(&client, &server)).collect();
        let (mut ours, mut theirs): (Vec<_>, Vec<_>) = streams.into_iter().unzip();
        let mut waiting = Waiting::new();
        waiting.set.add_receiver(theirs[0].receiver(), 0).unwrap();
        waiting.set.add_receiver(theirs[1].receiver(), 1).unwrap();
        for round in 0..200 {
            assert!(waiting.is_quiet());
            // A call that finds both messages, and one that times out on a stream of the set.
            let none = theirs[1].recv_timeout(Duration::from_millis(round % 2));
            assert!(none.is_err());
            ours[0].send(b"for the set").unwrap();
            ours[2].send(b"for the call").unwrap();
            assert_eq!(theirs[2].recv().unwrap().unwrap().to_vec(), b"for the call");
            assert_eq!(waiting.tokens(), [0]);
            assert_eq!(theirs[0].recv().unwrap().unwrap().to_vec(), b"for the set");
            ours[1].send(b"for the set").unwrap();
            assert_eq!(waiting.tokens(), [1]);
            assert_eq!(theirs[1].recv().unwrap().unwrap().to_vec(), b"for the set");
        }
        // Beside a thread that waits all the time.
        let mut beside = theirs.pop().unwrap();
        let (mut echoed, mut asked) = (ours.pop().unwrap(), ours);
        thread::scope(|scope| {
            scope.spawn(move || {
                while let Some(message) = beside.recv().unwrap() {
                    beside.send(&message).unwrap();
                }
            });
            scope.spawn(move || {
                for number in 0..500u32 {
                    asked[number as usize % 2].send(&number.to_ne_bytes()).unwrap();
                    let reply = asked[number as usize % 2].recv().unwrap().unwrap();
                    assert_eq!(reply.to_vec(), number.to_ne_bytes());
                }
                for stream in &mut asked {
                    stream.finish().unwrap();
                }
            });
            scope.spawn(move || {
                for number in 0..500u32 {
                    echoed.send(&number.to_ne_bytes()).unwrap();
                    assert_eq!(echoed.recv().unwrap().unwrap().to_vec(), number.to_ne_bytes());
                }
                echoed.finish().unwrap();
            });
            while !waiting.set.is_empty() {
                for token in waiting.tokens() {
                    match theirs[token].receiver().try_recv() {
                        Err(TryError::WouldBlock) => {}
                        Ok(Some(message)) => {
                            theirs[token].send(&message).unwrap();
                        }
                        Ok(None) | Err(TryError::Failed(_)) => assert!(waiting.set.remove(token)),
                    }
                }
            }
        });
    });
}

/// Every entry of a session that is over says so, until it is removed.
#[test]
fn the_end_of_a_session_is_reported() {
    let _turn = in_turn();
    let directory = short_directory();
    let path = directory.path().join("socket");
    let listener = Listener::bind(&path).unwrap();
    let mut peer = Peer::start(PEER, &["publish", path.to_str().unwrap(), "3"]);
    let (session, mut stream) = within("accepting", move || {
        let session = listener.accept().unwrap();
        let stream = session.accept().unwrap();
        (session, stream)
    });
    peer.line("published");
    let mut waiting = Waiting::new();
    waiting.set.add_session(&session, 1).unwrap();
    waiting.set.add_receiver(stream.receiver(), 2).unwrap();
    assert_eq!(waiting.tokens(), [2]);
    assert!(waiting.events.iter().all(|event| !event.session_over));
    peer.kill();
    within("the end", move || {
        until("both", || {
            waiting.tokens() == [1, 2] && waiting.events.iter().all(|event| event.session_over)
        });
        for _ in 0..3 {
            assert!(stream.recv().unwrap().is_some(), "what was published comes first");
            assert_eq!(waiting.tokens(), [1, 2], "reported until removed");
        }
        assert!(stream.recv().is_err() && session.try_accept().is_err());
        assert!(waiting.set.remove(1) && waiting.set.remove(2));
        assert!(waiting.is_quiet());
        // Also one that was over before.
        waiting.set.add_session(&session, 3).unwrap();
        assert_eq!(waiting.tokens(), [3]);
        assert!(waiting.events[0].session_over);
    });
}

/// A session that leaves is reported, and so is a stream that the one which leaves has not seen.
#[test]
fn leaving_is_reported() {
    let _turn = in_turn();
    let (client, server) = pair();
    let (mut before, mut theirs) = stream(&client, &server);
    let mut late = client.open().unwrap();
    let (mut here, mut there) = (Waiting::new(), Waiting::new());
    here.set.add_receiver(before.receiver(), 1).unwrap();
    here.set.add_receiver(late.receiver(), 2).unwrap();
    there.set.add_session(&server, 3).unwrap();
    there.set.add_receiver(theirs.receiver(), 4).unwrap();
    assert!(here.is_quiet() && there.is_quiet());
    let leaving = server.clone();
    let (mut there, tokens) = {
        let waiting = start("the set", move || {
            let tokens = there.tokens();
            (there, tokens)
        });
        leaving.leave();
        waiting.join()
    };
    assert_eq!(tokens, [3]);
    assert_eq!(server.try_accept().err(), Some(AcceptError::Leaving.into()));
    there.set.remove(3);
    assert_eq!(here.tokens(), [2]);
    let Err(TryError::Failed(error)) = late.try_recv() else { panic!("told by the set") };
    assert_eq!(error, RecvError::GoingAway);
    here.set.remove(2);
    assert!(here.is_quiet() && there.is_quiet());
    before.send(b"on").unwrap();
    assert_eq!(there.tokens(), [4]);
    assert_eq!(theirs.recv().unwrap().unwrap().to_vec(), b"on");
}

/// Who leaves is told when every stream has been accepted that will be, also if it had not read of all.
#[test]
fn the_last_stream_before_leaving_is_reported() {
    let _turn = in_turn();
    within("a set", || {
        let (client, server) = pair();
        let mut waiting = Waiting::new();
        waiting.set.add_session(&server, 1).unwrap();
        assert!(waiting.is_quiet());
        let mut before = client.open().unwrap();
        before.send(b"before").unwrap();
        server.leave();
        assert_eq!(waiting.tokens(), [1]);
        let mut accepted = server.try_accept().unwrap();
        assert_eq!(waiting.tokens(), [1]);
        assert_eq!(server.try_accept().err(), Some(AcceptError::Leaving.into()));
        waiting.set.remove(1);
        waiting.set.add_receiver(accepted.receiver(), 2).unwrap();
        assert_eq!(waiting.tokens(), [2]);
        assert_eq!(accepted.recv().unwrap().unwrap().to_vec(), b"before");

        // One that had nothing to accept, and sleeps meanwhile.
        let (_client, server) = pair();
        waiting.set.add_session(&server, 3).unwrap();
        assert!(waiting.is_quiet());
        thread::scope(|scope| {
            scope.spawn(|| server.leave());
            assert_eq!(waiting.tokens(), [3]);
        });
        assert_eq!(server.try_accept().err(), Some(AcceptError::Leaving.into()));

        // A stream of ours that the peer does not take: its entry has the error.
        let (client, server) = pair();
        let mut unseen = client.open().unwrap();
        waiting.set.remove(3);
        waiting.set.add_receiver(unseen.receiver(), 4).unwrap();
        assert!(waiting.is_quiet());
        server.leave();
        let _ = unseen.send(b"too late");
        assert_eq!(waiting.tokens(), [4]);
        assert_eq!(unseen.recv().err(), Some(RecvError::GoingAway));
    });
}

/// Entries of what was dropped go by themselves, and places taken anew are not mistaken for them.
#[test]
fn what_is_dropped_goes() {
    let _turn = in_turn();
    within("a set", || {
        let (client, server) = pair();
        let mut waiting = Waiting::new();
        for round in 0..50 {
            let (mut ours, mut theirs) = stream(&client, &server);
            waiting.set.add_receiver(theirs.receiver(), round).unwrap();
            let taken = waiting.set.add_receiver(theirs.receiver(), round);
            assert_eq!(taken, Err(WatchError::TokenTaken(round)));
            ours.send(b"x").unwrap();
            assert_eq!(waiting.tokens(), [round]);
            if round % 2 == 0 {
                // Never heard of by the peer: the same id is used again.
                let mut unheard = server.open().unwrap();
                waiting.set.add_receiver(unheard.receiver(), 1000 + round).unwrap();
                drop(unheard);
                let mut again = server.open().unwrap();
                waiting.set.add_receiver(again.receiver(), 2000 + round).unwrap();
                drop((ours, theirs));
                assert!(waiting.is_quiet());
                again.send(b"y").unwrap();
                client.accept().unwrap().send(b"z").unwrap();
                assert_eq!(waiting.tokens(), [2000 + round]);
            } else {
                drop((ours, theirs));
            }
            assert!(waiting.is_quiet());
            assert_eq!(waiting.set.len(), 0);
        }
        let listener = Listener::bind(format!("@shmipc-dropped-{}", std::process::id())).unwrap();
        waiting.set.add_listener(&listener, 5).unwrap();
        drop(listener);
        assert!(waiting.is_quiet());
        assert!(waiting.set.remove(5));
        // The session is not kept open.
        waiting.set.add_session(&server, 6).unwrap();
        drop(server);
        client.closed();
        assert_eq!(waiting.tokens(), [6]);
    });
}

/// Waits end by the clock, not too early, and by other threads.
#[test]
fn timed_out_and_interrupted() {
    let _turn = in_turn();
    within("a set", || {
        let (_client, server) = pair();
        let mut waiting = Waiting::new();
        waiting.set.add_session(&server, 1).unwrap();
        let timeout = Duration::from_millis(30);
        let start = Instant::now();
        waiting.set.wait(&mut waiting.events, Some(timeout)).unwrap();
        assert!(waiting.events.is_empty() && start.elapsed() >= timeout);
        let interrupter = waiting.set.interrupter();
        interrupter.interrupt();
        waiting.set.wait(&mut waiting.events, None).unwrap();
        assert!(waiting.events.is_empty());
        for _ in 0..200 {
            thread::scope(|scope| {
                scope.spawn(|| interrupter.interrupt());
                waiting.set.wait(&mut waiting.events, None).unwrap();
            });
        }
        assert!(waiting.events.is_empty());
        drop(waiting);
        interrupter.interrupt();
    });
}

/// A handshake that takes too long is ended in time, though the thread of the set waits for nothing else.
#[test]
fn a_stuck_handshake_does_not_stay() {
    let _turn = in_turn();
    let name = format!("@shmipc-stuck-{}", std::process::id());
    let config = Config::builder().handshake_timeout(Duration::from_millis(30)).build().unwrap();
    let listener = Listener::builder().config(config).bind(&name).unwrap();
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name[1..]).unwrap();
    let _stuck = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
    within("a set", move || {
        let mut waiting = Waiting::new();
        waiting.set.add_listener(&listener, 1).unwrap();
        until("it has failed", || {
            assert_eq!(waiting.tokens(), [1]);
            assert_eq!(listener.try_accept().err(), Some(TryError::WouldBlock));
            listener.stats().timed_out == 1
        });
    });
}
