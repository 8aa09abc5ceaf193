//! A client, in a process of its own, that refuses what the server passes: the server is told which rule it broke.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use shmipc_core::config::Config;
use shmipc_core::error::{HandshakeError, PeerMisbehaved, Refusal};
use shmipc_core::handshake::{Machine, Role, authorize};
use shmipc_core::link::{self, Receive, Sent};
use shmipc_core::mem;
use shmipc_core::wire::Decoder;
use tests::child::Peer;
use tests::deadline::until;
use tests::needs::short_directory;

#[test]
fn server_is_told_the_rule_when_the_client_refuses_its_memory() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let arguments = ["publish", path.to_str().unwrap(), "1"];
    let _client = Peer::start(env!("CARGO_BIN_EXE_peer"), &arguments);
    let socket = OwnedFd::from(listener.accept().unwrap().0);

    let config = Config::default();
    let judged = authorize(&config, link::peer_cred(socket.as_fd()).unwrap());
    let mut machine = Machine::new(Role::Server, &config, judged).unwrap();
    let mut decoder = Decoder::new();
    let mut told = None;
    until("the client hangs up", || {
        while let Some(mut frame) = machine.poll_transmit() {
            if let Some(segment) = frame.fds.first_mut() {
                // Another size than the one agreed on.
                *segment = mem::create(c"shmipc-test", 4096).unwrap().1;
            }
            let fds: Vec<_> = frame.fds.iter().map(AsFd::as_fd).collect();
            assert_eq!(link::send(socket.as_fd(), &frame.bytes, &fds), Ok(Sent::Whole));
        }
        match link::receive(socket.as_fd(), &mut decoder).unwrap() {
            Receive::Bytes => {
                while let Some(frame) = decoder.next_frame().unwrap() {
                    match machine.handle_frame(frame) {
                        Ok(()) => {}
                        Err(error) => told = Some(error),
                    }
                }
                false
            }
            Receive::Empty => false,
            Receive::End => true,
        }
    });
    let rule = PeerMisbehaved::WrongMemory.to_string();
    assert_eq!(told, Some(HandshakeError::Refused(Refusal::Misbehaved { rule })));
}
