//! Places of streams: how many, and used again and again.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use shmipc_core::error::{OpenError, SessionError};

use super::End;
use super::echo::{accept, echo_at_once, echo_in_turn};
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::Random;

/// All the streams that the peer allows are open at one time and work; one more is refused by name;
/// as soon as one has ended, another can be opened.
pub(super) fn all_streams_and_no_more<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_at_once(&session),
        End::Here(session) => session,
    };
    let mut streams = Vec::new();
    let limit = loop {
        match session.open() {
            Ok(stream) => streams.push(stream),
            Err(OpenError::TooManyStreams { limit }) => break limit,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(streams.len(), limit as usize);
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.send(&(number as u64).to_le_bytes()).unwrap();
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        assert_eq!(stream.expect(), (number as u64).to_le_bytes());
    }
    for round in 0..20 {
        assert_eq!(session.open().err(), Some(OpenError::TooManyStreams { limit }));
        let number = round * 7 % streams.len();
        let mut stream = streams.swap_remove(number);
        stream.finish().unwrap();
        assert!(stream.recv().unwrap().is_none());
        drop(stream);
        let mut again = session.open().unwrap();
        again.send(b"again").unwrap();
        assert_eq!(again.expect(), b"again");
        streams.push(again);
    }
}

/// Whoever waits for a place gets it when a stream ends, and learns of the session's end.
pub(super) fn a_place_is_waited_for<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_at_once(&session),
        End::Here(session) => session,
    };
    let mut streams = VecDeque::new();
    while let Ok(mut stream) = session.open() {
        stream.send(b"open").unwrap();
        streams.push_back(stream);
    }
    let limit = streams.len() as u32;
    streams.iter_mut().for_each(|stream| assert_eq!(stream.expect(), b"open"));
    let too_many = Some(OpenError::TooManyStreams { limit });
    assert_eq!(session.open_timeout(Duration::from_millis(20)).err(), too_many);
    for _ in 0..30 {
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| session.open_wait())).collect();
            for _ in &waiting {
                let mut stream = streams.pop_front().unwrap();
                stream.finish().unwrap();
                assert!(stream.recv().unwrap().is_none());
            }
            for opened in waiting {
                let mut stream = opened.join().unwrap().unwrap();
                stream.send(b"again").unwrap();
                assert_eq!(stream.expect(), b"again");
                streams.push_back(stream);
            }
        });
    }
    let waiting = session.clone();
    let waiting = thread::spawn(move || waiting.open_wait().err());
    assert_eq!(session.open().err(), too_many);
    session.close(0);
    assert_eq!(waiting.join().unwrap(), Some(OpenError::Session(SessionError::Closed)));
}

/// Twenty thousand streams, one after the other: opened, used once, closed.
pub(super) fn places_are_used_again<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    for number in 0..20_000u32 {
        let mut stream = session.open().unwrap();
        stream.send(&number.to_le_bytes()).unwrap();
        stream.finish().unwrap();
        assert_eq!(stream.expect(), number.to_le_bytes());
        assert!(stream.recv().unwrap().is_none());
    }
}

/// Streams that either side drops in any state leave nothing behind: places, credit and memory come
/// back, and the session goes on.
pub(super) fn dropped_in_any_state<S: Session>(end: End<S>) {
    const STREAMS: u64 = 3000;
    match end {
        End::Here(session) => {
            let mut random = Random::new(11);
            let mut kept = Vec::new();
            for number in 0..STREAMS {
                let mut stream = loop {
                    match session.open() {
                        Ok(stream) => break stream,
                        Err(OpenError::TooManyStreams { .. }) => {
                            kept.clear();
                            // A place is free when the peer has ended the stream too: look for that.
                            let _ = session.accept_timeout(Duration::from_millis(1));
                        }
                        Err(error) => panic!("{error}"),
                    }
                };
                for _ in 0..random.below(4) {
                    // The peer may have stopped us.
                    let _ = stream.send(&vec![1; random.size(20_000)]);
                }
                match random.below(5) {
                    0 => drop(stream.finish()),
                    1 => stream.sender().reset(3),
                    2 => stream.receiver().stop(4),
                    3 => drop(stream.sender().reserve(random.size(20_000))),
                    _ => {}
                }
                match number % 3 {
                    0 => kept.push(stream),
                    1 => drop(stream),
                    _ => {
                        let (sender, receiver) = stream.into_split();
                        drop(receiver);
                        drop(sender);
                    }
                }
            }
            drop(kept);
            let mut last = loop {
                match session.open() {
                    Ok(stream) => break stream,
                    Err(_) => drop(session.accept_timeout(Duration::from_millis(1))),
                }
            };
            last.send(b"the last").unwrap();
            assert_eq!(last.expect(), b"the last");
        }
        End::There(session) => thread::scope(|scope| {
            for seed in 0.. {
                let Some(stream) = accept(&session) else { return };
                scope.spawn(move || answer_or_not(stream, &mut Random::new(seed)));
            }
        }),
    }
}

/// Reads and answers some of a stream, and leaves it in one of several ways.
fn answer_or_not(mut stream: impl Stream, random: &mut Random) {
    let mut patience = [1, 2, 1000][random.below(3)];
    while patience > 0 {
        let Ok(Some(message)) = stream.recv() else { break };
        let message = message.to_vec();
        // The peer may have stopped us.
        let _ = stream.send(&message);
        patience -= 1;
    }
    if random.below(2) == 0 {
        let _ = stream.finish();
    }
}
