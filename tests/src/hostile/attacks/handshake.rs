//! What may not come in a handshake: the library makes a good outbox, and the attack changes it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::eventfd::EventFd;
use shmipc_core::config::Config;
use shmipc_core::error::PeerMisbehaved::{self, *};
use shmipc_core::error::{HandshakeError, Refusal};
use shmipc_core::handshake::{Machine, Role, Transmit, authorize};
use shmipc_core::link::{self, Receive, Sent};
use shmipc_core::mem;
use shmipc_core::wire::{self, BELL, Decoder, Frame};

use super::Attack;
use crate::deadline::until;
use crate::hostile::by_hand::HALF;
use crate::hostile::lingering::{let_go, lingering};

pub(super) const ATTACKS: &[Attack] = &[
    Attack::in_handshake("a device as its process", NotAPidfd, |outbox| {
        pretend(outbox, File::open("/dev/null").expect("it is there"));
    }),
    Attack::in_handshake("a directory as its process", NotAPidfd, |outbox| {
        pretend(outbox, File::open("/proc/self").expect("it is there"));
    }),
    Attack::in_handshake("an eventfd as its process", NotAPidfd, |outbox| {
        pretend(outbox, EventFd::new().expect("an eventfd"));
    }),
    Attack::in_handshake("a socket that lingers as its process", NotAPidfd, |outbox| {
        pretend(outbox, lingering());
    }),
    Attack::in_handshake("an outbox that lingers", NotSealed, |outbox| {
        outbox.fds[0] = lingering();
    }),
    Attack::in_handshake("an outbox that is a device", NotSealed, |outbox| {
        outbox.fds[0] = File::open("/dev/zero").expect("it is there").into();
    }),
    Attack::in_handshake("an outbox of one page", WrongMemory, |outbox| {
        outbox.fds[0] = mem::create(c"shmipc-test", 4096).expect("memory").1;
    }),
    Attack::in_handshake("an eventfd that nobody asked for", Descriptors, |outbox| {
        outbox.bytes = wire::outbox(outbox.fds.len() > 1, true);
        outbox.fds.push(EventFd::new().expect("an eventfd").into());
    }),
    Attack::in_handshake("an outbox without memory", Descriptors, |outbox| outbox.fds.clear()),
    Attack::in_handshake("garbage with a socket that lingers", Frame, |outbox| {
        outbox.bytes = vec![0; 8];
        outbox.fds = vec![lingering()];
    }),
    Attack::in_handshake("a bell before the session", Frame, |outbox| {
        outbox.bytes = BELL.to_vec();
        outbox.fds.clear();
    }),
    Attack::in_handshake("ready without an outbox", Frame, |outbox| {
        outbox.bytes = wire::ready();
        outbox.fds.clear();
    }),
];

/// Passes this as the process.
fn pretend(outbox: &mut Transmit, impostor: impl Into<OwnedFd>) {
    outbox.bytes = wire::outbox(true, false);
    outbox.fds.truncate(1);
    outbox.fds.push(impostor.into());
}

/// The first segment of a server, as it passes it in a handshake that this process does not end; with the
/// connection.
///
/// # Panics
/// If the server refuses.
pub fn segment_of_the_server(path: &Path, config: &Config) -> (UnixStream, OwnedFd) {
    let socket = UnixStream::connect(path).expect("the server lives");
    let server = link::peer_cred(socket.as_fd()).expect("a socket");
    let mut machine =
        Machine::new(Role::Client, config, authorize(config, server)).expect("it is our server");
    let (mut decoder, mut segment) = (Decoder::new(), None);
    until("the server passes its segment", || {
        while let Some(frame) = machine.poll_transmit() {
            let fds: Vec<_> = frame.fds.iter().map(AsFd::as_fd).collect();
            assert_eq!(link::send(socket.as_fd(), &frame.bytes, &fds), Ok(Sent::Whole));
        }
        let _ = link::receive(socket.as_fd(), &mut decoder).expect("an honest server");
        while let Some(frame) = decoder.next_frame().expect("an honest server") {
            match frame {
                Frame::Outbox(outbox) => segment = outbox.segment.as_fd().try_clone_to_owned().ok(),
                frame => machine.handle_frame(frame).expect("an honest server"),
            }
        }
        segment.is_some()
    });
    (socket, segment.expect("until it is there"))
}

/// Does what a client does, but for its outbox. Returns when the server has hung up.
///
/// # Panics
/// If the server has not said which rule was broken.
pub(super) fn meet(
    path: &Path,
    config: &Config,
    change: fn(&mut Transmit),
    broken: PeerMisbehaved,
) {
    let socket = OwnedFd::from(UnixStream::connect(path).expect("the server lives"));
    let server = link::peer_cred(socket.as_fd()).expect("a socket");
    let judged = authorize(config, server);
    let mut machine = Machine::new(Role::Client, config, judged).expect("it is our server");
    let mut decoder = Decoder::new();
    let mut told = None;
    until("the server hangs up", || {
        while let Some(mut frame) = machine.poll_transmit() {
            if !frame.fds.is_empty() {
                change(&mut frame);
            }
            // Only the server has the descriptors when the frame is whole.
            let (begin, end) = frame.bytes.split_at(HALF);
            let fds: Vec<_> = frame.fds.iter().map(AsFd::as_fd).collect();
            assert_eq!(link::send(socket.as_fd(), begin, &fds), Ok(Sent::Whole));
            frame.fds.into_iter().for_each(let_go);
            let sent = link::send(socket.as_fd(), end, &[]);
            assert!(matches!(sent, Ok(Sent::Whole | Sent::Gone)), "{sent:?}");
        }
        match link::receive(socket.as_fd(), &mut decoder).expect("an honest server") {
            Receive::Bytes => {
                while let Some(frame) = decoder.next_frame().expect("an honest server") {
                    match machine.handle_frame(frame) {
                        Ok(()) => {}
                        Err(HandshakeError::Refused(refusal)) => told = Some(refusal),
                        Err(error) => panic!("an honest server: {error}"),
                    }
                }
                false
            }
            Receive::Empty => false,
            Receive::End => true,
        }
    });
    assert_eq!(told, Some(Refusal::Misbehaved { rule: broken.to_string() }), "what was told");
}
