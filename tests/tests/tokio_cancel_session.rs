//! Every future of a session is given up at every point, thousands of times and under load: no stream is lost,
//! and who waits for an end is told of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use shmipc_async::SessionError;
use tests::impatience::Impatient;
use tests::on_both_runtimes;
use tests::pair::{Pair, in_both_modes};
use tests::payload::pattern;
use tests::retry;
use tests::setup::Setup;
use tests::tokio::Kind;

on_both_runtimes! { in_both_modes: opening_and_ending accepting ends }

/// A stream for each request: `open_wait` while all places are taken, `finish_with`, `recv`; three tasks.
fn opening_and_ending<K: Kind>(setup: Setup, seed: u64) -> u64 {
    const REQUESTS: u64 = 700;
    let pair = Pair::new::<K>(setup);
    let session = pair.ours.clone();
    let ours = async move {
        let tasks: Vec<_> = (0..6)
            .map(|task| {
                let session = session.clone();
                tokio::spawn(async move {
                    let mut impatient = Impatient::new(seed + 100 * task);
                    for number in 0..REQUESTS {
                        let request = pattern(task << 32 | number, 8 + number as usize % 700);
                        let opened = retry!(impatient, session.open_wait());
                        let mut stream = opened.unwrap();
                        retry!(impatient, stream.finish_with(&request)).unwrap();
                        let reply = retry!(impatient, stream.recv());
                        assert_eq!(reply.unwrap().unwrap().to_vec(), request);
                        let end = retry!(impatient, stream.recv());
                        assert!(end.unwrap().is_none());
                    }
                    impatient.given_up()
                })
            })
            .collect();
        let mut given_up = 0;
        for task in tasks {
            given_up += task.await.unwrap();
        }
        session.close(0);
        given_up
    };
    let session = pair.theirs.clone();
    pair.run(ours, move || {
        let mut served = 0;
        while let Ok(mut stream) = session.accept() {
            let request = stream.recv().unwrap().unwrap().to_vec();
            assert!(stream.recv().unwrap().is_none(), "one request");
            stream.send(&request).unwrap();
            stream.finish().unwrap();
            served += 1;
        }
        assert_eq!(served, 6 * REQUESTS);
    })
}

/// Three tasks accept the streams of two threads.
fn accepting<K: Kind>(setup: Setup, seed: u64) -> u64 {
    const STREAMS: u64 = 3000;
    let pair = Pair::new::<K>(setup);
    let session = pair.ours.clone();
    let ours = async move {
        let tasks: Vec<_> = (0..3)
            .map(|task| {
                let session = session.clone();
                tokio::spawn(async move {
                    let mut impatient = Impatient::new(seed + task);
                    let mut seen = Vec::new();
                    loop {
                        let accepted = retry!(impatient, session.accept());
                        let Ok(mut stream) = accepted else { break };
                        let number = stream.recv().await.unwrap().unwrap().to_vec();
                        seen.push(u64::from_ne_bytes(number.try_into().unwrap()));
                        // Its place is free when both sides have ended it.
                        stream.finish().unwrap();
                        assert!(stream.recv().await.unwrap().is_none());
                    }
                    (seen, impatient.given_up())
                })
            })
            .collect();
        let (mut seen, mut given_up) = (Vec::new(), 0);
        for task in tasks {
            let (numbers, times) = task.await.unwrap();
            seen.extend(numbers);
            given_up += times;
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..STREAMS).collect::<Vec<_>>());
        given_up
    };
    let session = pair.theirs.clone();
    pair.run(ours, move || {
        thread::scope(|scope| {
            for half in 0..2 {
                let session = &session;
                scope.spawn(move || {
                    for number in (half..STREAMS).step_by(2) {
                        let mut stream = session.open_wait().unwrap();
                        stream.sender().finish_with(&number.to_ne_bytes()).unwrap();
                        assert!(stream.recv().unwrap().is_none());
                    }
                });
            }
        });
        session.close(0);
    })
}

/// Three tasks wait until what the peer has opened is over, and three until the session is.
fn ends<K: Kind>(setup: Setup, seed: u64) -> u64 {
    const ROUNDS: u64 = 20;
    (0..ROUNDS).map(|round| leave_and_close::<K>(setup, seed + 100 * round)).sum()
}

fn leave_and_close<K: Kind>(setup: Setup, seed: u64) -> u64 {
    let pair = Pair::new::<K>(setup);
    let session = pair.ours.clone();
    let (tell, told) = std::sync::mpsc::channel();
    let ours = async move {
        let streams = [session.accept().await.unwrap(), session.accept().await.unwrap()];
        session.leave();
        let over = Arc::new(AtomicUsize::new(streams.len()));
        let waiting: Vec<_> = (0..6)
            .map(|task| {
                let (session, over) = (session.clone(), Arc::clone(&over));
                tokio::spawn(async move {
                    let mut impatient = Impatient::new(seed + task);
                    if task % 2 == 0 {
                        retry!(impatient, session.drained()).unwrap();
                        assert_eq!(over.load(Ordering::Acquire), 0, "drained too early");
                    } else {
                        let why = retry!(impatient, session.closed());
                        assert_eq!(why, SessionError::ClosedByPeer(5));
                    }
                    impatient.given_up()
                })
            })
            .collect();
        for mut stream in streams {
            let request = stream.recv().await.unwrap().unwrap().to_vec();
            assert!(stream.recv().await.unwrap().is_none());
            over.fetch_sub(1, Ordering::Release);
            stream.finish_with(&request).await.unwrap();
        }
        let mut given_up = 0;
        let (drained, closed): (Vec<_>, Vec<_>) =
            waiting.into_iter().enumerate().partition(|(task, _)| task % 2 == 0);
        for (_, task) in drained {
            given_up += task.await.unwrap();
        }
        tell.send(()).unwrap();
        for (_, task) in closed {
            given_up += task.await.unwrap();
        }
        given_up
    };
    let session = pair.theirs.clone();
    pair.run(ours, move || {
        let mut streams = [session.open().unwrap(), session.open().unwrap()];
        streams.iter_mut().for_each(|stream| stream.sender().finish_with(b"request").unwrap());
        for stream in &mut streams {
            assert_eq!(stream.recv().unwrap().unwrap().to_vec(), b"request");
            assert!(stream.recv().unwrap().is_none());
        }
        told.recv().unwrap();
        session.close(5);
    })
}
