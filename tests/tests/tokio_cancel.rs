//! Every future of the tokio flavour is given up at every point, thousands of times and under load: nothing
//! is lost, repeated or reordered.

use std::future::Future;
use std::io::{Read, Write};
use std::thread;

use shmipc_sync::WaitMode;
use tests::deadline::{start, within};
use tests::impatience::Impatient;
use tests::payload::{Random, check, fill, pattern};
use tests::retry;
use tests::setup::{Setup, Size};
use tests::tokio::{CurrentThread, Kind, MultiThread};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A session between this flavour, on a runtime of its own, and threads.
struct Pair {
    runtime: tokio::runtime::Runtime,
    ours: shmipc_async::Session,
    theirs: shmipc_sync::Session,
}

impl Pair {
    fn new<K: Kind>(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let config = setup.config();
        let builder = shmipc_sync::Listener::builder().config(config.clone());
        let listener = builder.bind(&path).unwrap();
        let accepting = start("accept", move || listener.accept().unwrap());
        let runtime = K::start().unwrap();
        let ours = runtime.block_on(shmipc_async::Session::connect_with(path, &config)).unwrap();
        Self { runtime, ours, theirs: accepting.join() }
    }

    /// Runs `theirs` on a thread and `ours` as a task, to their ends.
    fn run<T: Send + 'static>(
        &self,
        ours: impl Future<Output = T> + Send + 'static,
        theirs: impl FnOnce() + Send + 'static,
    ) -> T {
        let theirs = start("the peer", theirs);
        let result = self.runtime.block_on(self.runtime.spawn(ours)).unwrap();
        theirs.join();
        result
    }
}

/// Runs a test in both ways to wait, with windows that are full all the time, and again until thousands of
/// futures have been given up: how many there are to give up depends on how fast the peer is.
fn in_both_modes(name: &str, test: fn(Setup, u64) -> u64) {
    let rounds = within(name, move || {
        let (mut given_up, mut rounds) = (0, 0);
        while given_up < 2000 {
            for wait in [WaitMode::Block, WaitMode::Adaptive] {
                given_up += test(Setup::new(Size::Tiny).wait(wait), 7 + wait as u64 + 2 * rounds);
            }
            rounds += 1;
        }
        rounds
    });
    println!("{name}: {rounds} rounds");
}

macro_rules! on_both_runtimes {
    ($($name:ident)*) => {
        mod current_thread {
            $(#[test]
            fn $name() {
                super::in_both_modes(stringify!($name), super::$name::<super::CurrentThread>);
            })*
        }
        mod multi_thread {
            $(#[test]
            fn $name() {
                super::in_both_modes(stringify!($name), super::$name::<super::MultiThread>);
            })*
        }
    };
}

on_both_runtimes! {
    receiving reading sending writing opening_and_ending accepting
}

const MESSAGES: u64 = 3000;

/// Sizes that both ends know: within records, of the largest such, in shared memory, in several parts.
fn sizes(seed: u64) -> impl Iterator<Item = usize> {
    let mut random = Random::new(seed);
    std::iter::from_fn(move || {
        let most = [100, 241, 1000, 6000][random.below(4)];
        Some(random.below(most))
    })
}

/// `recv` and `recv_into`, by turns.
fn receiving<K: Kind>(setup: Setup, seed: u64) -> u64 {
    let pair = Pair::new::<K>(setup);
    let session = pair.ours.clone();
    let ours = async move {
        let mut impatient = Impatient::new(seed);
        let mut stream = session.accept().await.unwrap();
        let mut out = vec![0; 8192];
        for (number, len) in (0..MESSAGES).zip(sizes(seed)) {
            if number % 3 == 0 {
                let received = retry!(impatient, stream.recv_into(&mut out)).unwrap().unwrap();
                check(&out[..received], number, len);
            } else {
                let message = retry!(impatient, stream.recv());
                check(&message.unwrap().unwrap().to_vec(), number, len);
            }
        }
        assert!(retry!(impatient, stream.recv()).unwrap().is_none());
        impatient.given_up()
    };
    let session = pair.theirs.clone();
    pair.run(ours, move || {
        let mut stream = session.open().unwrap();
        for (number, len) in (0..MESSAGES).zip(sizes(seed)) {
            let message = pattern(number, len);
            if number % 5 == 0 {
                // In several parts.
                message.chunks(300).for_each(|part| stream.write_all(part).unwrap());
                if message.is_empty() { stream.send(&[]).unwrap() } else { stream.flush().unwrap() }
            } else {
                stream.send(&message).unwrap();
            }
        }
        stream.finish().unwrap();
    })
}

/// Bytes, read in pieces of all sizes.
fn reading<K: Kind>(setup: Setup, seed: u64) -> u64 {
    const BYTES: usize = 2 << 20;
    let pair = Pair::new::<K>(setup);
    let session = pair.ours.clone();
    let ours = async move {
        let mut impatient = Impatient::new(seed);
        let mut random = Random::new(seed);
        let mut stream = session.accept().await.unwrap();
        let (mut all, mut piece) = (Vec::new(), vec![0; 4096]);
        loop {
            let len = 1 + random.below(4096);
            match impatient.try_await(stream.read(&mut piece[..len])).await {
                None => {}
                Some(Ok(0)) => break,
                Some(count) => all.extend_from_slice(&piece[..count.unwrap()]),
            }
        }
        check(&all, seed, BYTES);
        impatient.given_up()
    };
    let session = pair.theirs.clone();
    pair.run(ours, move || {
        let mut stream = session.open().unwrap();
        let (mut bytes, mut random) = (vec![0; BYTES], Random::new(seed));
        fill(&mut bytes, seed);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(1 + random.below(2000)));
            stream.write_all(now).unwrap();
            rest = later;
        }
        stream.finish().unwrap();
    })
}

/// `send`, `reserve` and batches, by turns; what was given up is sent again.
fn sending<K: Kind>(setup: Setup, seed: u64) -> u64 {
    let pair = Pair::new::<K>(setup);
    let session = pair.ours.clone();
    let ours = async move {
        let mut impatient = Impatient::new(seed);
        let mut stream = session.open().unwrap();
        let mut numbers = (0..MESSAGES).zip(sizes(seed));
        while let Some((number, len)) = numbers.next() {
            let message = pattern(number, len);
            match number % 3 {
                0 => retry!(impatient, stream.send(&message)).unwrap(),
                1 => {
                    let reserved = retry!(impatient, stream.reserve(len));
                    let mut reservation = reserved.unwrap();
                    reservation.copy_from_slice(&message);
                    reservation.commit().unwrap();
                }
                _ => {
                    let mut batch = stream.batch();
                    let mut staged = Vec::new();
                    let mut next = Some((number, len));
                    while let Some((number, len)) = next.take() {
                        // Batches take what fits into a record only.
                        let message = pattern(number, len);
                        if batch.push(&message).is_err() {
                            staged.push(message);
                            break;
                        }
                        next = if batch.len() < 20 { numbers.next() } else { None };
                    }
                    retry!(impatient, batch.commit()).unwrap();
                    assert!(batch.is_empty());
                    for message in staged {
                        retry!(impatient, stream.send(&message)).unwrap();
                    }
                }
            }
        }
        stream.finish().unwrap();
        (impatient.given_up(), stream)
    };
    let session = pair.theirs.clone();
    let (given_up, _stream) = pair.run(ours, move || {
        let mut stream = session.accept().unwrap();
        for (number, len) in (0..MESSAGES).zip(sizes(seed)) {
            check(&stream.recv().unwrap().unwrap().to_vec(), number, len);
        }
        assert!(stream.recv().unwrap().is_none());
    });
    given_up
}

/// Writes, plain and vectored, each of which has other data than the one that was given up before; flushes
/// in between.
fn writing<K: Kind>(setup: Setup, seed: u64) -> u64 {
    let pair = Pair::new::<K>(setup);
    let session = pair.ours.clone();
    let (tell, told) = std::sync::mpsc::channel();
    let ours = async move {
        let mut impatient = Impatient::new(seed);
        let mut random = Random::new(seed);
        let mut stream = session.open().unwrap();
        for number in 0..3 * MESSAGES {
            let data = pattern(number, 1 + random.below(3000));
            let (first, second) = data.split_at(random.below(data.len()));
            let kind = random.below(3);
            let written = match kind {
                0 => impatient.try_await(stream.write(&data)).await,
                1 => {
                    let buffers = [first, second].map(std::io::IoSlice::new);
                    impatient.try_await(stream.write_vectored(&buffers)).await
                }
                _ => impatient.try_await(stream.flush()).await.map(|flushed| flushed.map(|()| 0)),
            };
            if let Some(count) = written {
                let count = count.unwrap();
                assert!(count > 0 || kind == 2, "a write of something writes something");
                tell.send(data[..count].to_vec()).unwrap();
            }
        }
        retry!(impatient, stream.shutdown()).unwrap();
        (impatient.given_up(), stream)
    };
    let session = pair.theirs.clone();
    let (given_up, _stream) = pair.run(ours, move || {
        let mut stream = session.accept().unwrap();
        let (mut all, mut expected) = (Vec::new(), Vec::new());
        stream.read_to_end(&mut all).unwrap();
        told.iter().for_each(|bytes| expected.extend(bytes));
        assert_eq!(all.len(), expected.len());
        assert!(all == expected, "bytes differ");
    });
    given_up
}

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
