//! Counters and `tracing` say what happened, and why somebody waited.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shmipc_sync::{Config, ConfigBuilder, Listener, SendError, Session, Stats, WaitMode};
use tests::deadline::{start, until, within};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// How many threads may spin is a matter of the whole process.
fn in_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two ends in this process, under the same configuration.
fn pair(config: ConfigBuilder) -> (Session, Session) {
    let config = config.build().unwrap();
    within("two ends", move || {
        let name =
            format!("@shmipc-stats-{}-{:?}", std::process::id(), std::thread::current().id());
        let listener = Listener::builder().config(config.clone()).bind(&name).unwrap();
        let client = start("a client", move || Session::connect_with(&name, &config).unwrap());
        let server = listener.accept().unwrap();
        (client.join(), server)
    })
}

fn config(mode: WaitMode) -> ConfigBuilder {
    Config::builder().wait(mode)
}

/// Sends so many messages of `len` bytes on each of so many streams to a peer that reads nothing, until
/// one has to wait. Gives how many were sent before it.
fn until_one_waits(session: &Session, streams: usize, each: usize, len: usize) -> usize {
    until_one_waits_for(session, None, streams, each, len)
}

/// The same to a peer that takes note of memory that is announced, between two messages, if it is given.
fn until_one_waits_for(
    session: &Session,
    peer: Option<&Session>,
    streams: usize,
    each: usize,
    len: usize,
) -> usize {
    let mut sent = 0;
    let mut open: Vec<_> = (0..streams).map(|_| session.open().unwrap()).collect();
    for stream in &mut open {
        stream.set_timeout(Some(Duration::from_millis(5)));
        for _ in 0..each {
            match stream.send(&vec![7; len]) {
                Ok(()) => {
                    sent += 1;
                    peer.into_iter().for_each(Session::try_drive);
                }
                Err(error) => {
                    assert_eq!(error, SendError::TimedOut);
                    assert_eq!(stream.sender().stats().reserve_waits, 1);
                    // What was sent is not taken back.
                    open.iter_mut().for_each(|stream| _ = stream.finish());
                    return sent;
                }
            }
        }
    }
    panic!("none of {sent} messages waited");
}

/// Waits in all, for credit, for space, for memory.
fn waits(stats: Stats) -> [u64; 4] {
    [stats.reserve_waits, stats.credit_stalls, stats.space_waits, stats.memory_waits]
}

#[test]
fn what_a_reservation_waited_for() {
    let _turn = in_turn();
    let (ours, _theirs) = pair(config(WaitMode::Block));
    assert_eq!(until_one_waits(&ours, 1, 10, 60_000), 4, "a window of 256 KiB");
    assert_eq!(waits(ours.stats()), [1, 1, 0, 0]);

    let (ours, _theirs) = pair(config(WaitMode::Block));
    let sent = until_one_waits(&ours, 1, 1000, 1000) as u64;
    assert_eq!(waits(ours.stats()), [1, 0, 1, 0], "after {sent} messages");
    let stats = ours.stats();
    assert_eq!((stats.records_sent, stats.bytes_sent), (sent, sent * 1000));

    let (ours, theirs) = pair(config(WaitMode::Block).arena_max(8 << 20).max_message(1 << 20));
    let sent = until_one_waits_for(&ours, Some(&theirs), 3, 2, 1 << 20);
    assert_eq!(sent, 4, "half of the arena");
    let stats = ours.stats();
    assert_eq!(waits(stats), [1, 0, 0, 1]);
    assert_eq!((stats.memory_pleas, stats.lent), (1, 4));
    assert_eq!((stats.arena_bytes, stats.arena_high_water), (4 << 20, 4 << 20));
    // The peer hears the plea, and moves what nobody reads.
    theirs.try_drive();
    theirs.try_accept().unwrap();
    assert_eq!(theirs.stats().evicted, 4);
    ours.open().unwrap().send(&[7; 10_000]).unwrap();
    let stats = ours.stats();
    assert_eq!((stats.lent, stats.arena_high_water), (1, (4 << 20) + (64 << 10)));
}

#[test]
fn what_was_sent_and_what_lies_unread() {
    let _turn = in_turn();
    let (ours, theirs) = pair(config(WaitMode::Block));
    let mut sender = ours.open().unwrap();
    let window = sender.sender().stats().credit;
    assert_eq!(window, ours.geometry().stream_window.into());
    for len in [0, 100, 10_000] {
        sender.send(&vec![7; len]).unwrap();
    }
    let (of_session, stats) = (ours.stats(), sender.sender().stats());
    assert_eq!((of_session.records_sent, of_session.bytes_sent), (3, 10_100));
    assert_eq!((stats.records, stats.bytes), (3, 10_100));
    assert_eq!(window - stats.credit, 64 + (64 + 128) + (64 + 10_048));

    let mut receiver = theirs.accept().unwrap();
    let unread = |stats: shmipc_sync::RecvStats| (stats.unread_records, stats.unread_bytes);
    assert_eq!(unread(receiver.receiver().stats()), (3, 10_100));
    assert!(receiver.recv().unwrap().unwrap().is_empty());
    assert_eq!(receiver.recv().unwrap().unwrap().len(), 100);
    let (of_session, stats) = (theirs.stats(), receiver.receiver().stats());
    assert_eq!(unread(stats), (1, 10_000));
    assert_eq!((stats.records, stats.bytes), (3, 10_100));
    assert_eq!((of_session.records_received, of_session.bytes_received), (3, 10_100));
}

/// One sleep, one ring, and no spin where none is allowed.
#[test]
fn who_slept_and_who_was_rung() {
    let _turn = in_turn();
    let (ours, theirs) = pair(config(WaitMode::Block));
    let mut sender = ours.open().unwrap();
    sender.send(b"open").unwrap();
    let mut receiver = theirs.accept().unwrap();
    receiver.recv().unwrap().unwrap();
    for round in 1..=3 {
        let before = (ours.stats().bells_rung, theirs.stats());
        let sleeping = start("a sleeper", move || {
            receiver.recv().unwrap().unwrap();
            receiver
        });
        until("it sleeps", || theirs.stats().sleeps > before.1.sleeps);
        sender.send(b"wake up").unwrap();
        receiver = sleeping.join();
        assert_eq!(ours.stats().bells_rung, before.0 + 1, "in round {round}");
        assert_eq!(theirs.stats().bells_received, before.1.bells_received + 1);
    }
    for stats in [ours.stats(), theirs.stats()] {
        assert_eq!((stats.spins_paid, stats.spins_failed), (0, 0));
    }
}

#[test]
fn spins_that_paid_and_spins_that_did_not() {
    let _turn = in_turn();
    let (ours, _theirs) = pair(config(WaitMode::Adaptive));
    let mut stream = ours.open().unwrap();
    assert!(stream.recv_timeout(Duration::from_millis(20)).is_err());
    let stats = ours.stats();
    assert_eq!((stats.spins_paid, stats.spins_failed), (0, 1));

    let (ours, theirs) = pair(config(WaitMode::Spin));
    let mut stream = ours.open().unwrap();
    let echo = start("an echo", move || {
        let mut stream = theirs.accept().unwrap();
        while let Some(message) = stream.recv().unwrap() {
            stream.send(&message).unwrap();
        }
    });
    until("a spin pays", || {
        stream.send(b"hello").unwrap();
        stream.recv().unwrap().unwrap();
        ours.stats().spins_paid > 0
    });
    assert_eq!((ours.stats().spins_failed, ours.stats().sleeps), (0, 0));
    stream.finish().unwrap();
    echo.join();
}

/// How often each event was told of.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeMap<String, usize>>>);

impl Subscriber for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("shmipc")
    }

    fn event(&self, event: &Event<'_>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        *self.0.lock().unwrap().entry(message.0).or_default() += 1;
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn what_is_told_to_tracing() {
    let _turn = in_turn();
    let idle = Duration::from_millis(1);
    let (ours, theirs) = pair(
        config(WaitMode::Block).arena_max(8 << 20).max_message(1 << 20).idle_memory_timeout(idle),
    );
    let told = Told::default();
    tracing::subscriber::with_default(told.clone(), || {
        until_one_waits_for(&ours, Some(&theirs), 3, 2, 1 << 20);
        // Hears the plea, and gives back what nobody reads.
        theirs.try_drive();
        theirs.try_accept().unwrap();
        until("unused memory is retired", || {
            assert!(ours.accept_timeout(Duration::from_millis(2)).is_err());
            ours.stats().arena_bytes == 0
        });
        theirs.leave();
        assert!(ours.closed_timeout(Duration::from_millis(1)).is_none());
        assert!(ours.is_peer_leaving());
        ours.close(0);
    });
    let told = told.0.lock().unwrap();
    let times = |event: &str| told.get(event).copied().unwrap_or_default();
    assert_eq!(times("new payload memory"), 4, "{told:?}");
    assert_eq!(
        times("no payload memory left: asked the peer to return what is unread"),
        1,
        "{told:?}"
    );
    assert!(times("retired payload memory that nobody uses") > 0, "{told:?}");
    assert_eq!((times("we leave"), times("the peer leaves"), times("session over")), (1, 1, 1));
}
