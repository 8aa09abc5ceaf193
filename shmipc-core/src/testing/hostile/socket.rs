//! What arrives on the socket, before and after the handshake.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::config::{Config, PeerCred};
use crate::error::{HandshakeError, PeerMisbehaved};
use crate::handshake::{Authorization, Established, Machine, Role, Terms, hello, refusal_frame};
use crate::layout::{MAGIC, MAGIC_AT, VERSION, VERSION_AT, segment_bytes};
use crate::mem::{self, Memory, MemoryMut};
use crate::testing::{Script, small_limits};
use crate::wire::{self, Claim, Decoder, Frame, Hello, Inode, MAX_FRAME, Refuse, SegmentClass};

/// Decoding the socket.
pub fn frames(bytes: &[u8]) -> Option<PeerMisbehaved> {
    let script = Script::new(bytes);
    let mut decoder = Decoder::new();
    while !script.is_over() {
        let fds = (0..script.byte() % 5 % 4).filter_map(|_| File::open("/dev/null").ok());
        let piece: Vec<u8> = match script.byte() % 8 {
            0 => wire::add_segment(script.byte().into(), 4096, SegmentClass::Small).to_vec(),
            1 => wire::close(7).to_vec(),
            4 | 5 => {
                let mut frame = any_frame(&script);
                if script.one_in(4) {
                    damage(&mut frame, &script);
                }
                frame
            }
            _ => (0..script.below(256)).map(|_| script.byte()).collect(),
        };
        decoder.feed(&piece, fds.map(|fd| OwnedFd::from(fd).into()));
        let mut frames = 0;
        while let Some(_frame) = match decoder.next_frame() {
            Ok(frame) => frame,
            Err(error) => {
                assert_eq!(decoder.next_frame().err(), Some(error), "an error is final");
                return Some(error.into());
            }
        } {
            frames += 1;
            assert!(frames <= MAX_FRAME, "unbounded work");
        }
    }
    None
}

/// A frame of any type, without its descriptors.
fn any_frame(script: &Script) -> Vec<u8> {
    let number = script.byte();
    match script.byte() % 12 {
        0 => wire::BELL.to_vec(),
        1 => wire::retire_segment(number.into()),
        2 => wire::ready(),
        3 => wire::outbox(script.one_in(2), script.one_in(2)),
        4 => hello(&Config::default()).encode(),
        5 => wire::refuse(&Refuse { reason: number.into(), number: 0, text: "text".to_owned() }),
        6 | 7 => {
            let claim = Claim {
                version: number.into(),
                patience: Duration::from_millis(number.into()),
                app_version: 1,
                app_name: "name".to_owned(),
                pidfd: None,
            };
            claim.encode(script.one_in(2))
        }
        8 => {
            let locks = [script.one_in(2), script.one_in(2)];
            wire::offer(number.into(), [Inode::default(); 2], script.one_in(2), locks)
        }
        9 => wire::yield_(),
        10 => wire::serving(),
        _ => wire::release(),
    }
}

/// A handshake in either role, the header of the peer's outbox included.
pub fn handshake(bytes: &[u8]) -> Option<PeerMisbehaved> {
    let script = Script::new(bytes);
    let config = Config { limits: small_limits(), ..Config::default() };
    let mut stranger = Stranger::new(&config);
    let role = if script.one_in(2) { Role::Client } else { Role::Server };
    let mut machine = Machine::new(role, &config, Authorization::Granted).ok()?;
    let mut decoder = Decoder::new();
    let (mut sent, mut theirs) = (0, None);
    while !script.is_over() && !machine.is_done() {
        while let Some(frame) = machine.poll_transmit() {
            stranger.hear(frame.fds);
            sent += 1;
            assert!(sent <= 3, "a side says Hello, its outbox, and Ready");
        }
        let (mut frame, fds) = stranger.speak(&script);
        if script.one_in(8) {
            damage(&mut frame, &script);
        }
        // Descriptors arrive with the first byte of their frame; the rest may come later.
        let cut = if script.one_in(4) { script.below(frame.len() + 1) } else { frame.len() };
        decoder.feed(&frame[..cut], fds.into_iter().map(Into::into));
        decoder.feed(&frame[cut..], []);
        while !machine.is_done() {
            let frame = match decoder.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => frame,
                Err(error) => {
                    assert_eq!(decoder.next_frame().err(), Some(error), "an error is final");
                    return accused(&error.into());
                }
            };
            if let Frame::Hello(hello) = &frame {
                theirs = Some(Hello::clone(hello));
            }
            if let Err(error) = machine.handle_frame(frame) {
                assert!(machine.handle_frame(Frame::Ready).is_err(), "an error is final");
                return accused(&error);
            }
        }
    }
    if machine.is_done() {
        let socket = null()?;
        let established = machine.finish(
            socket.into(),
            decoder,
            PeerCred::new(nix::unistd::getpid().as_raw(), 0, 0),
        );
        check(&established.expect("it is done"), &config, &theirs?);
    }
    None
}

/// What is agreed follows from the two Hellos, and the memory is what it was agreed to be.
fn check(established: &Established, config: &Config, theirs: &Hello) {
    let Established { own, peer, out, incoming, .. } = established;
    let terms = Terms::agree(&hello(config), theirs).expect("they fit each other");
    assert_eq!((*out, *incoming), (terms.out, terms.incoming));
    assert_eq!(own.size(), segment_bytes(out, incoming));
    assert_eq!(peer.size(), segment_bytes(incoming, out));
    let limits = &config.limits;
    let most = (4096 + limits.ring_bytes + 4 * limits.max_lent).next_multiple_of(4096);
    assert!(own.size() <= most as usize && peer.size() <= most as usize, "beyond our limits");
    for mapping in [peer.load64(MAGIC_AT), own.load64(MAGIC_AT)] {
        assert_eq!(mapping, MAGIC);
    }
    // Every page is there.
    (0..peer.size()).step_by(4096).for_each(|page| _ = peer.load64(page));
}

/// The rule that was broken; what we tell the peer can be read.
fn accused(error: &HandshakeError) -> Option<PeerMisbehaved> {
    if let Some(frame) = refusal_frame(error) {
        let mut decoder = Decoder::new();
        decoder.feed(&frame, []);
        assert!(matches!(decoder.next_frame(), Ok(Some(Frame::Refuse(_)))));
    }
    match error {
        HandshakeError::Misbehaved(misdeed) => Some(*misdeed),
        _ => None,
    }
}

fn damage(frame: &mut Vec<u8>, script: &Script) {
    let at = script.below(frame.len());
    match script.byte() % 3 {
        0 => frame.truncate(at),
        1 => frame.push(script.byte()),
        _ => {
            if let Some(byte) = frame.get_mut(at) {
                *byte = script.byte();
            }
        }
    }
}

fn null() -> Option<OwnedFd> {
    File::open("/dev/null").ok().map(Into::into)
}

/// The other end of a handshake.
struct Stranger {
    /// What it has said of itself last.
    hello: Hello,
    ours: Hello,
    /// Our segment 0, once it was passed.
    heard: Option<OwnedFd>,
    /// Frames so far.
    said: u8,
}

impl Stranger {
    fn new(config: &Config) -> Self {
        Self { hello: hello(config), ours: hello(config), heard: None, said: 0 }
    }

    fn hear(&mut self, fds: Vec<OwnedFd>) {
        self.heard = fds.into_iter().next().or(self.heard.take());
    }

    /// The next frame, mostly the one whose turn it is, with its descriptors.
    fn speak(&mut self, script: &Script) -> (Vec<u8>, Vec<OwnedFd>) {
        let turn = self.said;
        self.said = self.said.saturating_add(1);
        match script.byte() {
            0..=199 if turn == 0 => (self.greeting(script), Vec::new()),
            0..=199 if turn == 1 => self.outbox(script),
            0..=199 => (wire::ready(), Vec::new()),
            200..=207 => (self.greeting(script), Vec::new()),
            208..=215 => self.outbox(script),
            216..=219 => (wire::ready(), Vec::new()),
            220..=223 => (wire::BELL.to_vec(), Vec::new()),
            224..=227 => (wire::close(script.byte().into()), Vec::new()),
            228..=231 => (wire::retire_segment(1), Vec::new()),
            232..=235 => {
                (wire::add_segment(1, 4096, SegmentClass::Small), null().into_iter().collect())
            }
            236..=243 => {
                let (reason, number) = (u32::from(script.byte() % 8), script.word() as u32);
                let text = if script.one_in(2) { "other".to_owned() } else { String::new() };
                (wire::refuse(&Refuse { reason, number, text }), Vec::new())
            }
            244..=247 => {
                let fds = (0..script.byte() % 4).filter_map(|_| null()).collect();
                (any_frame(script), fds)
            }
            _ => ((0..script.below(300)).map(|_| script.byte()).collect(), Vec::new()),
        }
    }

    /// A Hello, mostly one that can be agreed with.
    fn greeting(&mut self, script: &Script) -> Vec<u8> {
        let hello = &mut self.hello;
        if script.one_in(2) {
            let limits = &mut hello.limits;
            let any = script.word() as u32;
            match script.byte() % 16 {
                0 => limits.ring_bytes = 4096 << (any % 16),
                1 => limits.max_streams = any % 64,
                2 => limits.inline_max = any % 512,
                3 => limits.max_lent = 128 << (any % 16),
                4 => limits.stream_window = any % 64 * 64,
                5 => limits.unread_max = any % 64 * 256,
                6 => limits.arena_max = (4 << 20) << (any % 8),
                7 => limits.max_message = any % (2 << 20),
                8 => hello.word_bits = any as u8,
                9 => hello.little_endian = any % 2 == 0,
                10 => hello.app_name = "other".to_owned(),
                11 => hello.trusts = true,
                12 => hello.bell = crate::config::BellKind::Eventfd,
                13 => hello.app_version = any,
                14 => limits.ring_bytes = any,
                _ => limits.max_lent = any,
            }
        }
        hello.encode()
    }

    /// An Outbox, mostly a good one.
    fn outbox(&self, script: &Script) -> (Vec<u8>, Vec<OwnedFd>) {
        let pidfd = script.one_in(2);
        let eventfd = script.one_in(16);
        let mut fds: Vec<_> = self.segment(script).into_iter().collect();
        if pidfd {
            let myself =
                if script.one_in(8) { null() } else { mem::pidfd_of_self().ok().flatten() };
            fds.extend(myself);
        }
        if eventfd {
            fds.extend(null());
        }
        match script.byte() {
            0..=7 => drop(fds.pop()),
            8..=15 => fds.extend(null()),
            _ => {}
        }
        (wire::outbox(pidfd, eventfd), fds)
    }

    /// A segment 0, mostly a good one.
    fn segment(&self, script: &Script) -> Option<OwnedFd> {
        let terms = self.hello.limits.check().ok().map(|()| Terms::agree(&self.ours, &self.hello));
        let size = match terms {
            Some(Ok(terms)) => segment_bytes(&terms.incoming, &terms.out),
            _ => 4096,
        };
        match script.byte() {
            0..=7 => null(),
            8..=15 => self.heard.as_ref()?.try_clone().ok(),
            16..=23 => made(size + 4096, MAGIC, VERSION),
            24..=31 => made(size, script.word(), VERSION),
            32..=39 => made(size, MAGIC, script.word()),
            // Not sealed, or full of holes.
            byte @ 40..=55 => {
                let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
                let file = File::from(memfd_create(c"shmipc-test", flags).ok()?);
                file.set_len(size as u64).ok()?;
                if byte >= 48 {
                    let seals = SealFlag::from_bits_retain(0x17);
                    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals)).ok()?;
                }
                Some(file.into())
            }
            _ => made(size, MAGIC, VERSION),
        }
    }
}

/// A segment as it should be, but for its first two words.
fn made(size: usize, magic: u64, version: u64) -> Option<OwnedFd> {
    let (mapping, segment) = mem::create(c"shmipc-test", size).ok()?;
    mapping.store64(MAGIC_AT, magic);
    mapping.store64(VERSION_AT, version);
    Some(segment)
}
