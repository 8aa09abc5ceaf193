//! Every future of a stream is given up at every point, thousands of times and under load: nothing is lost,
//! repeated or reordered.

use std::io::{Read, Write};

use futures_util::StreamExt;
use tests::impatience::Impatient;
use tests::on_both_runtimes;
use tests::pair::{Pair, in_both_modes};
use tests::payload::{Random, check, fill, pattern};
use tests::retry;
use tests::setup::Setup;
use tests::tokio::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

on_both_runtimes! { in_both_modes: receiving reading sending writing }

const MESSAGES: u64 = 3000;

/// Sizes that both ends know: within records, of the largest such, in shared memory, in several parts.
fn sizes(seed: u64) -> impl Iterator<Item = usize> {
    let mut random = Random::new(seed);
    std::iter::from_fn(move || {
        let most = [100, 241, 1000, 6000][random.below(4)];
        Some(random.below(most))
    })
}

/// `recv`, `recv_into` and `messages`, by turns.
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
                continue;
            }
            let message = if number % 3 == 1 {
                retry!(impatient, stream.recv()).unwrap()
            } else {
                retry!(impatient, stream.receiver().messages().next()).map(Result::unwrap)
            };
            check(&message.unwrap(), number, len);
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
            check(&stream.recv().unwrap().unwrap(), number, len);
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
