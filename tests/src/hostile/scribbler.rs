//! A peer that takes part in a session and meanwhile writes what it likes into its own outbox and into
//! the socket.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use nix::unistd::dup;
use shmipc_core::config::Config;
use shmipc_core::handle::{RecvHalf, SendHalf, Session};
use shmipc_core::handshake::connect;
use shmipc_core::layout::{
    CPU_AT, EVENT_HEAD_AT, EVENT_RETURNED_AT, EVENT_TAIL_AT, FINAL_AT, HEAD_AT, LEAVING_AT,
    RETURNED_AT, RING_AT, TAIL_AT, returns_at,
};
use shmipc_core::link;
use shmipc_core::mem::{Memory, MemoryMut, OwnMapping};
use shmipc_core::queue::Flags;
use shmipc_core::wire::{self, BELL, SegmentClass};

use crate::deadline::until;
use crate::payload::Random;

/// Words that are written on behalf of one session, unless it ends before.
const WRITES: usize = 2000;

/// What is written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Events,
    Cursors,
    Records,
    Returns,
    Header,
    Socket,
}

impl Place {
    const ALL: [Self; 6] =
        [Self::Events, Self::Cursors, Self::Records, Self::Returns, Self::Header, Self::Socket];
}

/// Kinds of attack: one for each place, and one that hits all places in turn.
pub const KINDS: u64 = Place::ALL.len() as u64 + 1;

/// Connects, makes traffic, and scribbles as `seed` says; the kind is the seed modulo [`KINDS`]. In the end
/// it breaks a rule for certain, and waits until the server has ended the session.
///
/// # Panics
/// If the server refuses to connect, or does not end the session.
pub fn attack(path: &Path, seed: u64) {
    let mut random = Random::new(seed);
    let config = Config::default();
    let established = connect(path, &config).expect("the server lives");
    let outbox = Outbox {
        own: Arc::clone(&established.own),
        socket: dup(&established.socket).expect("a descriptor"),
        ring: established.out.ring_bytes as usize,
    };
    let session = Session::new(established, &config).expect("a session");
    let over = AtomicBool::new(false);
    let only = Place::ALL.get((seed % KINDS) as usize).copied();
    thread::scope(|scope| {
        let traffic = scope.spawn(|| traffic(&session, seed, &over));
        for _ in 0..WRITES {
            if session.is_over() {
                break;
            }
            let place = only.unwrap_or_else(|| Place::ALL[random.below(Place::ALL.len())]);
            outbox.scribble(place, &mut random);
            match random.below(16) {
                0 => thread::sleep(Duration::from_micros(200)),
                1..4 => thread::yield_now(),
                _ => {}
            }
        }
        over.store(true, Ordering::Relaxed);
        traffic.join().expect("traffic ends");
    });
    until("the server ends the session", || {
        outbox.own.publish64(TAIL_AT, u64::MAX);
        let _ = link::send(outbox.socket.as_fd(), &BELL, &[]);
        session.glance();
        thread::sleep(Duration::from_micros(100));
        session.is_over()
    });
}

/// Requests on a few streams, whose replies are taken but not looked at, until the session is over or
/// there was enough of it.
fn traffic(session: &Session, seed: u64, over: &AtomicBool) {
    let mut random = Random::new(seed ^ 0x5c71_bb1e);
    let mut streams: Vec<(SendHalf, RecvHalf)> = Vec::new();
    let ends = || session.is_over() || over.load(Ordering::Relaxed);
    while !ends() {
        match streams.len() {
            4 => drop(streams.swap_remove(random.below(4))),
            _ => streams.extend(session.open().ok()),
        }
        for _ in 0..8 {
            session.glance();
            if streams.is_empty() || ends() {
                break;
            }
            let number = random.below(streams.len());
            let (send, recv) = &mut streams[number];
            let message = vec![7; random.size(100_000)];
            if message.len() <= send.inline_max() {
                let _ = send.try_send(&message, Flags::none());
            } else {
                let reserved =
                    send.reserve(message.len()).map(|mut reserving| reserving.poll(None));
                if let Ok(Poll::Ready(Ok(mut reservation))) = reserved {
                    reservation.copy_from_slice(&message);
                    let _ = reservation.commit();
                }
            }
            while let Poll::Ready(Ok(Some(_))) = recv.poll_recv(None) {
                if ends() {
                    break;
                }
            }
        }
    }
}

/// What one side may write.
struct Outbox {
    own: Arc<OwnMapping>,
    socket: OwnedFd,
    ring: usize,
}

impl Outbox {
    fn scribble(&self, place: Place, random: &mut Random) {
        let one_of = |random: &mut Random, words: &[usize]| words[random.below(words.len())];
        let at = match place {
            Place::Events => one_of(random, &[EVENT_TAIL_AT, EVENT_HEAD_AT, EVENT_RETURNED_AT]),
            Place::Cursors => one_of(random, &[TAIL_AT, HEAD_AT, RETURNED_AT]),
            Place::Header => one_of(random, &[0, 8, CPU_AT, LEAVING_AT, FINAL_AT]),
            Place::Records => {
                // Around the tail: what the server is about to read.
                let around = self.own.load64(TAIL_AT) as usize % self.ring + self.ring;
                let at = around + 8 * random.below(96) - 512;
                RING_AT + at % self.ring / 8 * 8
            }
            Place::Returns => {
                let (from, to) = (returns_at(self.ring as u32), self.own.size());
                from + 8 * random.below(((to - from) / 8).min(64))
            }
            // Most frames end the session at once, so they are rare.
            Place::Socket if random.below(100) == 0 => return self.send_anything(random),
            Place::Socket => return self.send(&BELL, None),
        };
        let old = self.own.load64(at);
        let new = match random.below(8) {
            0 => random.next(),
            1 => [0, u64::MAX, 1 << 63, old.wrapping_add(1)][random.below(4)],
            2 => old.wrapping_add(self.ring as u64),
            3 | 4 => old.wrapping_add(16 * random.below(64) as u64),
            5 => old.wrapping_sub(16 * random.below(64) as u64),
            _ => old ^ (1 << random.below(64)),
        };
        self.own.publish64(at, new);
    }

    fn send_anything(&self, random: &mut Random) {
        let file = File::open("/dev/null").expect("it is there");
        let small = random.below(4) as u32;
        let bytes: Vec<u8> = match random.below(6) {
            0 => (0..=random.below(64)).map(|_| random.next() as u8).collect(),
            1 => BELL[..1 + random.below(7)].to_vec(),
            2 => wire::add_segment(small, 4096 << small, SegmentClass::Small).to_vec(),
            3 => wire::retire_segment(small).to_vec(),
            4 => wire::ready(),
            _ => {
                let mut bytes = wire::add_segment(1, 2 << 20, SegmentClass::Dedicated).to_vec();
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
                bytes
            }
        };
        self.send(&bytes, (random.below(2) == 0).then(|| file.as_fd()));
    }

    fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) {
        let fds: Vec<_> = fd.into_iter().collect();
        let _ = link::send(self.socket.as_fd(), bytes, &fds);
    }
}
