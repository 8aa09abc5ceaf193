//! Many threads on one session.

use std::thread;

use super::End;
use super::echo::{echo_at_once, echo_in_turn};
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{Random, check, pattern};

/// Eight threads with eight streams each, in step and out of it, against a thread per stream.
pub(super) fn eight_threads_with_eight_streams<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_at_once(&session),
        End::Here(session) => session,
    };
    thread::scope(|scope| {
        for number in 0..8 {
            let session = session.clone();
            scope.spawn(move || {
                let mut random = Random::new(number);
                let mut streams: Vec<_> = (0..8).map(|_| session.open().unwrap()).collect();
                for round in 0..40 {
                    let sizes = [0; 8].map(|_| random.size(20_000));
                    for (stream, size) in streams.iter_mut().zip(sizes) {
                        stream.send(&pattern(round, size)).unwrap();
                    }
                    for (stream, size) in streams.iter_mut().zip(sizes) {
                        check(&stream.expect(), round, size);
                    }
                }
                for mut stream in streams {
                    stream.finish().unwrap();
                    assert!(stream.recv().unwrap().is_none());
                }
            });
        }
    });
}

/// The halves of one stream on two threads, each at its own pace, on several streams at once.
pub(super) fn stream_in_two_halves<S: Session>(end: End<S>) {
    const MESSAGES: u64 = 1500;
    let session = match end {
        End::There(session) => return echo_at_once(&session),
        End::Here(session) => session,
    };
    thread::scope(|scope| {
        for number in 0..4 {
            let (mut sender, mut receiver) = session.open().unwrap().into_split();
            scope.spawn(move || {
                let mut random = Random::new(number);
                for round in 0..MESSAGES {
                    sender.send(&pattern(round, random.below(3000))).unwrap();
                }
                sender.finish().unwrap();
            });
            scope.spawn(move || {
                let mut random = Random::new(number);
                for round in 0..MESSAGES {
                    check(&receiver.expect(), round, random.below(3000));
                }
                assert!(receiver.recv().unwrap().is_none());
            });
        }
    });
}

/// Threads that open and close streams of their own, over one session, against few servers.
pub(super) fn threads_share_a_session<S: Session>(end: End<S>) {
    match end {
        End::There(session) => {
            thread::scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|| echo_in_turn(&session));
                }
            });
        }
        End::Here(session) => {
            thread::scope(|scope| {
                for number in 0..6u64 {
                    let session = session.clone();
                    scope.spawn(move || {
                        for round in 0..300 {
                            let mut stream = session.open().unwrap();
                            let (seed, len) = (number * 1000 + round, (round * 37 % 9000) as usize);
                            stream.send(&pattern(seed, len)).unwrap();
                            check(&stream.expect(), seed, len);
                            stream.finish().unwrap();
                            assert!(stream.recv().unwrap().is_none());
                        }
                    });
                }
            });
        }
    }
}
