//! Clients of both flavours whose server leaves, with streams open, calls in flight or nothing at all; their
//! events, and how they close.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use shmipc_core::error::DrainError;
use shmipc_sync::{CallError, ClientConfig, ClientEvent, Delivery, RecvError, SessionError};
use tests::child::Peer;
use tests::client::{Client, Conversation, Events, Tokio, soon, within_a_moment};
use tests::deadline::{start, until, within};
use tests::serving;
use tests::with_both_clients;

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// A server, a client of it, and what happens to that.
struct Case<C: Client> {
    server: Peer,
    client: C,
    events: C::Events,
    path: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl<C: Client> Case<C> {
    fn new(config: ClientConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let server = serving::start(PEER, &path);
        let client = C::with(&path, config);
        Self { server, events: client.events(), client, path, _directory: directory }
    }

    /// The server leaves all its sessions.
    fn leave(&mut self) {
        self.server.say("leave");
        self.server.line("left");
    }

    /// The next thing that happens.
    #[track_caller]
    fn next(&mut self) -> ClientEvent {
        self.events.next_soon().expect("something happens")
    }

    #[track_caller]
    fn connected(&mut self, number: u64) {
        let event = self.next();
        let ClientEvent::Connected { session, peer } = event else { panic!("{event:?}") };
        assert_eq!((session, peer.pid as u32), (number, self.server.pid()));
    }

    /// The session that answers a call.
    #[track_caller]
    fn answering(&mut self) -> u64 {
        self.client.ask("hello");
        let seen = self.server.line("seen");
        seen.strip_suffix(" hello").expect("our request").parse().expect("a number")
    }

    #[track_caller]
    fn migrating(&mut self, session: u64) {
        assert_eq!(self.next(), ClientEvent::Migrating { session });
    }
}

/// A stream that is open when the server leaves goes on to its end; new ones go to another session.
fn a_stream_goes_on<C: Client>() {
    within("a stream over a migration", || {
        let mut case = Case::<C>::new(ClientConfig::default());
        let mut stream = case.client.open().unwrap();
        stream.send("one").unwrap();
        assert_eq!(stream.receive().unwrap(), "one");
        assert_eq!(case.server.line("seen"), "1 one");
        case.leave();
        case.client.ask("elsewhere");
        assert_eq!(case.server.line("seen"), "2 elsewhere");
        for number in 0..1000 {
            let message = format!("and {number}");
            stream.send(&message).unwrap();
            assert_eq!(stream.receive().unwrap(), message);
            assert_eq!(case.server.line("seen"), format!("1 {message}"));
        }
        stream.finish();
        assert_eq!(stream.receive().unwrap(), "", "the end");
        assert_eq!(case.server.line("over"), "1", "with its last stream");
        case.connected(1);
        case.migrating(1);
        case.connected(2);
        assert_eq!(case.events.try_next(), None);
    });
}

/// A client that makes no call moves all the same, also while streams keep its old sessions open, and its
/// next call finds a session.
fn an_idle_client_moves<C: Client>() {
    within("an idle client", || {
        let mut case = Case::<C>::new(ClientConfig::default());
        let mut streams = Vec::new();
        for number in 1..10 {
            let mut stream = case.client.open().unwrap();
            stream.send("hello").unwrap();
            assert_eq!(stream.receive().unwrap(), "hello");
            streams.push(stream);
            if number == 1 {
                case.connected(1);
            }
            case.leave();
            case.migrating(number);
            case.connected(number + 1);
        }
        case.client.ask("again");
        case.server.line("seen 10 again");
        for stream in &mut streams {
            stream.send("still there").unwrap();
            assert_eq!(stream.receive().unwrap(), "still there");
        }
        assert_eq!(case.events.try_next(), None);
    });
}

/// A call does not wait for the time at which an idle client would have moved.
fn a_call_moves_at_once<C: Client>() {
    within("a call", || {
        let config = ClientConfig::builder().move_spread(Duration::from_secs(3600));
        let mut case = Case::<C>::new(config.build().unwrap());
        for number in 1..100 {
            case.client.ask("hello");
            case.connected(number);
            case.leave();
            case.migrating(number);
        }
    });
}

/// Calls are spread over sessions, each of which moves by itself.
fn several_sessions_share_the_load<C: Client>() {
    within("three sessions", || {
        let mut case = Case::<C>::new(ClientConfig::builder().sessions(3).build().unwrap());
        for round in 0..3 {
            let ours: BTreeSet<_> = (1..=3).map(|place| round * 3 + place).collect();
            let mut used = BTreeSet::new();
            while used != ours {
                used.insert(case.answering());
            }
            // No place is vacant any more.
            let mut counts = BTreeMap::new();
            for _ in 0..30 {
                *counts.entry(case.answering()).or_insert(0) += 1;
            }
            assert_eq!(counts, ours.iter().map(|&session| (session, 10)).collect());
            case.leave();
        }
        let happened: Vec<_> = (0..3 * 3 + 2 * 3).map(|_| case.next()).collect();
        for session in 1..=6 {
            assert!(happened.contains(&ClientEvent::Migrating { session }), "{happened:?}");
        }
    });
}

/// A session that is full of streams holds up no call that another one has room for.
fn a_full_session_is_passed_over<C: Client>() {
    within("a full session", || {
        let config = ClientConfig::builder().sessions(2).build().unwrap();
        let case = Case::<C>::new(config);
        let mut streams: Vec<_> = Vec::new();
        // The default of `max_streams`, twice.
        for _ in 0..512 {
            let mut stream = case.client.open().unwrap();
            stream.send("hello").unwrap();
            streams.push(stream);
        }
        // One session has a place again, and calls find it whoever's turn it is.
        let mut last = streams.swap_remove(511);
        last.finish();
        while !last.receive().unwrap().is_empty() {}
        drop(last);
        for _ in 0..10 {
            case.client.ask("hello");
        }
    });
}

/// Each reader is told everything in order, whatever happens, and of the end.
fn events_come_in_order<C: Client>() {
    within("events", || {
        let mut case = Case::<C>::new(ClientConfig::default());
        case.client.ask("hello");
        case.connected(1);
        let mut late = case.client.events();
        case.leave();
        case.migrating(1);
        case.client.ask("hello");
        case.connected(2);
        case.server.kill();
        let lost = ClientEvent::Lost { session: 2, error: SessionError::PeerDied };
        assert_eq!(case.next(), lost);
        case.server = serving::start(PEER, &case.path);
        case.client.ask("hello");
        case.connected(3);
        assert_eq!(late.next_soon(), Some(ClientEvent::Migrating { session: 1 }));
        assert!(matches!(late.next_soon(), Some(ClientEvent::Connected { session: 2, .. })));
        assert_eq!(late.next_soon(), Some(lost));
        assert!(matches!(late.next_soon(), Some(ClientEvent::Connected { session: 3, .. })));
        let client = case.client.clone();
        drop(case.client);
        assert_eq!(late.try_next(), None);
        drop(client);
        assert_eq!(late.next_soon(), None, "with the last clone");
        assert_eq!(case.server.line("over"), "1", "closed at once");
    });
}

/// Closing waits for calls and streams, and lets no new ones begin.
fn closing_waits<C: Client>() {
    within("closing", || {
        let mut case = Case::<C>::new(ClientConfig::default());
        let mut stream = case.client.open().unwrap();
        stream.send("hello").unwrap();
        assert_eq!(stream.receive().unwrap(), "hello");
        let (calls, closes) = (case.client.clone(), case.client.clone());
        let call = start("a call", move || calls.ask(serving::HOLD));
        case.server.line("seen 1 hold");
        let close = start("closing", move || closes.close(soon()));
        until("no new calls", || {
            let refused = case.client.call(b"new", soon());
            refused.is_err_and(|error| {
                assert_eq!((&error, error.delivery()), (&CallError::Closed, Delivery::NotSent));
                true
            })
        });
        assert!(matches!(case.client.open(), Err(CallError::Closed)));
        assert!(!call.is_done() && !close.is_done());
        case.server.say("answer");
        call.join();
        assert!(!close.is_done(), "it waits for the stream");
        stream.send("more").unwrap();
        assert_eq!(stream.receive().unwrap(), "more");
        stream.finish();
        drop(stream);
        assert_eq!(close.join(), Ok(()));
        assert_eq!(case.server.line("over"), "1");
        assert_eq!(case.client.close(within_a_moment()), Ok(()), "again");
    });
}

/// What still goes on at the deadline fails, and says what is known of it.
fn closing_does_not_wait_for_ever<C: Client>() {
    within("closing at a deadline", || {
        let mut case = Case::<C>::new(ClientConfig::default());
        let mut before = case.client.open().unwrap();
        before.send("hello").unwrap();
        assert_eq!(before.receive().unwrap(), "hello");
        case.leave();
        let calls = case.client.clone();
        let call = start("a call", move || calls.call(serving::HOLD.as_bytes(), soon()));
        case.server.line("seen 2 hold");
        assert_eq!(case.client.close(within_a_moment()), Err(DrainError::TimedOut));
        let error = call.join().unwrap_err();
        assert_eq!(error, CallError::Recv(SessionError::Closed.into()));
        assert_eq!(error.delivery(), Delivery::Unknown);
        let error = RecvError::Session(SessionError::Closed);
        assert_eq!(before.receive(), Err(error), "of a session that was left, too");
    });
}

/// Calls of many threads, or tasks, while the server leaves again and again.
fn many_at_a_time<C: Client>() {
    within("many calls", || {
        let mut case = Case::<C>::new(ClientConfig::builder().sessions(2).build().unwrap());
        let callers: Vec<_> = (0..32)
            .map(|caller| {
                let client = case.client.clone();
                let calls =
                    move || (0..50).for_each(|call| client.ask(&format!("{caller}.{call}")));
                start("a caller", calls)
            })
            .collect();
        let mut seen: Vec<String> = Vec::new();
        for call in 0..32 * 50 {
            let line = case.server.line("seen");
            seen.push(line.split_once(' ').expect("a session and a request").1.to_owned());
            if call % 100 == 50 {
                case.server.say("leave");
            }
        }
        callers.into_iter().for_each(|caller| caller.join());
        case.server.hang_up();
        seen.extend(case.server.said("seen"));
        seen.sort_unstable();
        let mut expected: Vec<_> =
            (0..32).flat_map(|a| (0..50).map(move |b| format!("{a}.{b}"))).collect();
        expected.sort_unstable();
        assert_eq!(seen, expected, "each was seen once");
    });
}

with_both_clients! {
    a_stream_goes_on an_idle_client_moves a_call_moves_at_once several_sessions_share_the_load
    a_full_session_is_passed_over events_come_in_order closing_waits closing_does_not_wait_for_ever
    many_at_a_time
}

/// Very many tasks of one runtime share a client.
#[test]
fn a_thousand_tasks() {
    within("a thousand tasks", || {
        let mut case = Case::<Tokio>::new(ClientConfig::default());
        let Tokio(client, runtime) = case.client.clone();
        let tasks: Vec<_> = (0..1000)
            .map(|task| {
                let client = client.clone();
                runtime.spawn(async move {
                    let request = format!("{task}");
                    let deadline = Instant::now() + tests::deadline::PATIENCE;
                    let reply = client.call(request.as_bytes(), deadline).await;
                    assert_eq!(reply.map(|reply| reply.to_vec()), Ok(request.into_bytes()));
                })
            })
            .collect();
        case.server.line("seen");
        case.server.say("leave");
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
    });
}
