//! Long random mixes: several streams, both directions, every way to send and to receive, and messages that
//! are held. Both ends know from a seed what must come; a run can be repeated with `SHMIPC_SEED`.

use std::collections::VecDeque;
use std::io::{IoSlice, Read, Write};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shmipc_core::error::{RecvError, TryError};
use shmipc_core::handle::Message;

use super::End;
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{Random, fill, pattern};

/// Messages of each direction of each stream.
const MESSAGES: u64 = 250;
/// Streams that each side opens.
const STREAMS: u64 = 2;

/// Four streams, two opened by each side, each with a thread for each direction at both ends.
pub(super) fn random_mixes<S: Session>(end: End<S>) {
    let (session, ours, theirs, seed, mut control) = match end {
        End::Here(session) => {
            let given = std::env::var("SHMIPC_SEED").ok();
            let given = given.map(|seed| seed.parse().expect("SHMIPC_SEED is a number"));
            let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            let seed: u64 = given.unwrap_or_else(|| now().as_nanos() as u64);
            println!("SHMIPC_SEED={seed}");
            let mut control = session.open().unwrap();
            control.send(&seed.to_le_bytes()).unwrap();
            (session, 1, 2, seed, control)
        }
        End::There(session) => {
            let mut control = session.accept().unwrap();
            let seed = u64::from_le_bytes(control.expect().try_into().unwrap());
            (session, 2, 1, seed, control)
        }
    };
    let max = session.geometry().max_message as usize;
    let inline = session.geometry().inline_max as usize;
    let plan = |from: u64, opener: u64, number: u64| {
        let mut random = Random::new(seed ^ from << 8 ^ opener << 16 ^ number << 24);
        // Mostly small: a run takes a second, not a minute.
        (0..MESSAGES).map(|_| random.size(max.min(600_000))).collect::<VecDeque<_>>()
    };
    let mut streams: Vec<_> =
        (0..STREAMS).map(|number| (ours, number, session.open().unwrap())).collect();
    thread::scope(|scope| {
        for (_, number, stream) in &mut streams {
            // The peer learns of them in this order.
            stream.write_all(&[*number as u8]).unwrap();
        }
        streams.extend((0..STREAMS).map(|_| {
            let mut stream = session.accept().unwrap();
            let mut number = [0];
            stream.read_exact(&mut number).unwrap();
            (theirs, number[0].into(), stream)
        }));
        for (opener, number, stream) in streams {
            let (sender, receiver) = stream.into_split();
            let (out, incoming) = (plan(ours, opener, number), plan(theirs, opener, number));
            let began = opener == ours;
            scope.spawn(move || send_all(sender, out, began, inline, Random::new(seed + number)));
            scope.spawn(move || {
                receive_all(receiver, incoming, Random::new(seed ^ number << 40 ^ ours));
            });
        }
    });
    control.finish().unwrap();
    assert!(control.recv().unwrap().is_none());
}

/// Sends messages of these lengths, each in a way chosen at random.
fn send_all<S: Sender>(
    mut sender: S,
    lengths: VecDeque<usize>,
    began: bool,
    inline: usize,
    mut random: Random,
) {
    let mut lengths = lengths.into_iter().enumerate().peekable();
    if began {
        // Ends the message that told the peer of the stream, whose bytes it has read.
        sender.flush().unwrap();
    }
    while let Some((number, len)) = lengths.next() {
        let data = pattern(number as u64, len);
        match random.below(7) {
            0 => sender.send(&data).unwrap(),
            1 => {
                let mut reservation = sender.reserve(len).unwrap();
                fill(&mut reservation, number as u64);
                reservation.commit().unwrap();
            }
            2 => {
                let more = (len + random.size(8000)).min(sender.max_message());
                let mut reservation = sender.reserve(more).unwrap();
                reservation[..len].copy_from_slice(&data);
                reservation.commit_len(len).unwrap();
            }
            3 => {
                let mut batch = vec![data];
                while let Some((number, len)) = lengths.next_if(|_| batch.len() < 20) {
                    batch.push(pattern(number as u64, len));
                }
                // What does not fit into a record is sent by itself.
                for run in batch.chunk_by(|a, b| (a.len() <= inline) == (b.len() <= inline)) {
                    if run[0].len() <= inline {
                        let run: Vec<_> = run.iter().map(Vec::as_slice).collect();
                        sender.send_batch(&run).unwrap();
                    } else {
                        run.iter().for_each(|data| sender.send(data).unwrap());
                    }
                }
            }
            4 if len > 0 => {
                let mut rest = &data[..];
                while !rest.is_empty() {
                    let piece = (1 + random.size(len)).min(rest.len());
                    sender.write_all(&rest[..piece]).unwrap();
                    rest = &rest[piece..];
                }
                sender.flush().unwrap();
            }
            5 if len > 0 => {
                let (a, b) = data.split_at(random.below(len));
                let mut buffers = &mut [IoSlice::new(a), IoSlice::new(b)][..];
                while !buffers.is_empty() {
                    let written = sender.write_vectored(buffers).unwrap();
                    IoSlice::advance_slices(&mut buffers, written);
                }
                sender.flush().unwrap();
            }
            _ => {
                // What is dropped was never there.
                drop(sender.reserve_timeout(random.size(8000), Duration::ZERO));
                sender.send(&data).unwrap();
            }
        }
    }
    sender.finish().unwrap();
}

/// What must still come: messages, the first of which may have been read in part.
struct Oracle {
    lengths: VecDeque<usize>,
    number: u64,
    read: usize,
}

impl Oracle {
    /// Takes the next message off.
    fn next(&mut self) -> Option<Vec<u8>> {
        let whole = pattern(self.number, self.lengths.pop_front()?);
        self.number += 1;
        Some(whole[std::mem::take(&mut self.read)..].to_vec())
    }

    /// Takes `count` bytes off; empty messages on the way are skipped.
    fn bytes(&mut self, mut count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while count > 0 {
            let whole = pattern(self.number, self.lengths[0]);
            let piece = count.min(whole.len() - self.read);
            bytes.extend_from_slice(&whole[self.read..self.read + piece]);
            (self.read, count) = (self.read + piece, count - piece);
            if self.read == whole.len() {
                self.next();
            }
        }
        bytes
    }

    fn left(&self) -> usize {
        self.lengths.iter().sum::<usize>() - self.read
    }
}

/// Receives what was sent, each message in a way chosen at random, and holds some.
fn receive_all<R: Receiver>(mut receiver: R, lengths: VecDeque<usize>, mut random: Random) {
    let mut oracle = Oracle { lengths, number: 0, read: 0 };
    let mut held: Vec<(Vec<u8>, Message)> = Vec::new();
    let same = |got: &[u8], must: &[u8]| {
        assert_eq!(got.len(), must.len(), "length of a message");
        assert!(got == must, "contents of a message of {} bytes", must.len());
    };
    while !oracle.lengths.is_empty() {
        let way = random.below(7);
        if way == 6 {
            let count = (1 + random.size(10_000)).min(oracle.left());
            let mut bytes = vec![0; count];
            receiver.read_exact(&mut bytes).unwrap();
            same(&bytes, &oracle.bytes(count));
            continue;
        }
        let must = oracle.next().expect("not empty");
        match way {
            0 | 1 => held.push((must, receiver.recv().unwrap().expect("a message"))),
            2 => same(&receiver.expect(), &must),
            3 => {
                let mut out = vec![0; must.len() + random.below(3)];
                if !must.is_empty() && random.below(4) == 0 {
                    let max = random.below(must.len());
                    let short = receiver.recv_into(&mut out[..max]);
                    let (len, room) = (must.len(), max);
                    assert_eq!(short, Err(RecvError::BufferTooSmall { len, room }));
                }
                let len = receiver.recv_into(&mut out).unwrap().expect("a message");
                same(&out[..len], &must);
            }
            4 => loop {
                match receiver.try_recv() {
                    Err(TryError::WouldBlock) => thread::yield_now(),
                    message => break same(&message.unwrap().expect("a message"), &must),
                }
            },
            _ => loop {
                match receiver.recv_timeout(Duration::from_micros(random.below(500) as u64)) {
                    Ok(message) => break same(&message.expect("a message"), &must),
                    Err(error) => assert_eq!(error, RecvError::TimedOut),
                }
            },
        }
        if held.len() > random.below(30) {
            let (must, message) = held.swap_remove(random.below(held.len()));
            same(&message, &must);
        }
    }
    assert!(receiver.recv().unwrap().is_none());
    held.iter().for_each(|(must, message)| same(message, must));
}
