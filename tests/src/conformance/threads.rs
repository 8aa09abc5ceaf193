//! Many threads on one session.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use shmipc_core::error::{AcceptError, RecvError, SendError};

use super::End;
use super::echo::{accept, echo_at_once, echo_in_turn, echo_stream};
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{Random, check, fill, pattern};

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

/// Sixty-four threads, or one for every stream if fewer are allowed, each with a stream of its own, against
/// as many: each message is answered before the next is sent.
pub(super) fn thread_per_stream<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_at_once(&session),
        End::Here(session) => session,
    };
    let threads = session.geometry().writer_streams.min(64);
    thread::scope(|scope| {
        for number in 0..threads {
            let mut stream = session.open().unwrap();
            scope.spawn(move || {
                let mut random = Random::new(number.into());
                for round in 0..100 {
                    let size = random.size(50_000);
                    stream.send(&pattern(round, size)).unwrap();
                    check(&stream.expect(), round, size);
                }
                stream.finish().unwrap();
                assert!(stream.recv().unwrap().is_none());
            });
        }
    });
}

/// On both sides a pool of four threads that open streams in bursts, use and close them, beside another four
/// that accept and answer the peer's: thousands in all.
pub(super) fn pools_over_thousands_of_streams<S: Session>(end: End<S>) {
    const STREAMS: usize = 500;
    let (End::Here(session) | End::There(session)) = end;
    let burst = (session.geometry().writer_streams as usize / 4).min(25);
    let accepted = AtomicUsize::new(0);
    let serve = || {
        while accepted.fetch_add(1, Ordering::Relaxed) < 4 * STREAMS {
            echo_stream(session.accept().unwrap());
        }
    };
    let ask = |thread: u64| {
        let numbers: Vec<_> = (0..STREAMS).collect();
        for numbers in numbers.chunks(burst) {
            let ask_one = |&number: &usize| {
                let mut stream = session.open_wait().unwrap();
                let (seed, len) = (thread << 32 | number as u64, number * 61 % 7000);
                stream.send(&pattern(seed, len)).unwrap();
                stream.finish().unwrap();
                (stream, seed, len)
            };
            let asked: Vec<_> = numbers.iter().map(ask_one).collect();
            for (mut stream, seed, len) in asked {
                check(&stream.expect(), seed, len);
                assert!(stream.recv().unwrap().is_none());
            }
        }
    };
    thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(serve);
            scope.spawn(move || ask(thread));
        }
    });
}

/// Threads whose waits run out of time, which leave and come back while others wait for long: nobody waits
/// for a leader that has left, and no message is lost on the way.
pub(super) fn waits_that_come_and_go<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_at_once(&session),
        End::Here(session) => session,
    };
    // Waits for all of it, in the end as the only one.
    let mut last = session.open().unwrap();
    last.send(b"begin").unwrap();
    assert_eq!(last.expect(), b"begin");
    let (mut last, mut patient) = last.into_split();
    thread::scope(|scope| {
        let patient = scope.spawn(move || patient.expect());
        let threads = session.geometry().writer_streams.min(13) - 1;
        let going = (0..threads).map(|number| {
            let mut stream = session.open().unwrap();
            let session = &session;
            scope.spawn(move || {
                let mut random = Random::new(number.into());
                let mut short = || Duration::from_micros(random.below(400) as u64);
                for round in 0..150 {
                    // In vain: there is nothing to come.
                    let early = stream.receiver().recv_timeout(short()).unwrap_err();
                    assert_eq!(early, RecvError::TimedOut);
                    if round % 8 == 0 {
                        let early = session.accept_timeout(short()).err();
                        assert_eq!(early, Some(AcceptError::TimedOut));
                    }
                    stream.send(&pattern(round, 100)).unwrap();
                    loop {
                        match stream.receiver().recv_timeout(short()) {
                            Ok(message) => break check(&message.unwrap(), round, 100),
                            Err(error) => assert_eq!(error, RecvError::TimedOut),
                        }
                    }
                }
                // Nobody else may be there to lead.
                stream.send(b"last").unwrap();
                assert_eq!(stream.expect(), b"last");
            })
        });
        let going: Vec<_> = going.collect();
        going.into_iter().for_each(|going| going.join().unwrap());
        assert!(!patient.is_finished());
        last.send(b"for the patient").unwrap();
        assert_eq!(patient.join().unwrap(), b"for the patient");
    });
}

/// Writers that wait for room with short deadlines, beside some that wait for as long as it takes, while the
/// peer reads slowly: who gave up has sent nothing, and everything else arrives once and in order.
pub(super) fn reservations_that_come_and_go<S: Session>(end: End<S>) {
    const MESSAGES: u64 = 100;
    match end {
        End::Here(session) => {
            let threads = session.geometry().writer_streams.min(8);
            thread::scope(|scope| {
                for number in 0..threads {
                    let mut stream = session.open().unwrap();
                    scope.spawn(move || {
                        let mut random = Random::new(number.into());
                        let max = stream.sender().max_message().min(200_000);
                        stream.send(&number.to_le_bytes()).unwrap();
                        for seed in 0..MESSAGES {
                            let len = [1000, 5000, max][random.below(3)];
                            let mut reservation = loop {
                                let short = Duration::from_micros(random.below(300) as u64);
                                let reserved = match number % 2 {
                                    0 => stream.sender().reserve(len),
                                    _ => stream.sender().reserve_timeout(len, short),
                                };
                                match reserved {
                                    Ok(reservation) => break reservation,
                                    Err(error) => assert_eq!(error, SendError::TimedOut),
                                }
                            };
                            fill(&mut reservation, seed);
                            reservation.commit().unwrap();
                        }
                        stream.finish().unwrap();
                        assert!(stream.recv().unwrap().is_none());
                    });
                }
            });
        }
        End::There(session) => {
            while let Some(mut stream) = accept(&session) {
                // One after the other: the others wait.
                let number = u32::from_le_bytes(stream.expect().try_into().unwrap());
                let mut seed = 0;
                for message in stream.receiver().messages() {
                    let message = message.unwrap();
                    check(&message, seed, message.len());
                    seed += 1;
                }
                assert_eq!(seed, MESSAGES, "of thread {number}");
                stream.finish().unwrap();
            }
        }
    }
}
