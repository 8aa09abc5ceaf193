//! A `read` that finds no byte and gives up has consumed nothing, not even an empty message.

mod raw;

use std::task::{Poll, Waker};

use raw::pair;
use shmipc_core::handle::{RecvHalf, SendHalf, Session};
use shmipc_core::queue::Flags;
use shmipc_core::session::Readiness;

/// A stream of a session, from the one end to the other.
struct Line {
    _sessions: [Session; 2],
    _other: (RecvHalf, SendHalf),
    send: SendHalf,
    recv: RecvHalf,
}

impl Line {
    fn new() -> Self {
        let [client, server] = pair();
        let (send, back) = client.open().unwrap();
        assert!(send.try_send(b"hello", Flags::none()).unwrap());
        let Poll::Ready(Ok((there, mut recv))) = server.poll_accept(None) else {
            panic!("a stream was opened");
        };
        assert!(matches!(recv.poll_recv(None), Poll::Ready(Ok(Some(_)))));
        Self { _sessions: [client, server], _other: (back, there), send, recv }
    }

    fn send(&self, message: &[u8], flags: Flags) {
        assert!(self.send.try_send(message, flags).unwrap());
    }

    /// A `read` that gives up.
    fn read_in_vain(&mut self) {
        assert!(self.recv.poll_read(&mut [0; 10], None).is_pending());
    }

    fn read(&mut self) -> Vec<u8> {
        let mut out = [0; 10];
        let Poll::Ready(Ok(count)) = self.recv.poll_read(&mut out, None) else {
            panic!("something can be read");
        };
        out[..count].to_vec()
    }

    /// The next message; `None` at the end of the stream.
    fn recv(&mut self) -> Option<Vec<u8>> {
        let Poll::Ready(Ok(message)) = self.recv.poll_recv(None) else {
            panic!("something can be received");
        };
        message.map(|message| message.to_vec())
    }

    /// Nothing is left.
    fn expect_nothing(&mut self) {
        assert!(self.recv.poll_recv(None).is_pending());
    }
}

#[test]
fn read_that_gives_up_leaves_empty_messages() {
    let mut line = Line::new();
    for _ in 0..2 {
        line.send(b"", Flags::none());
        line.read_in_vain();
    }
    line.send(b"x", Flags::none());
    assert_eq!([line.recv(), line.recv(), line.recv()], ["", "", "x"].map(|m| Some(m.into())));
    line.expect_nothing();
}

#[test]
fn recv_into_finds_the_empty_message_that_read_left() {
    let mut line = Line::new();
    line.send(b"", Flags::none());
    line.read_in_vain();
    line.send(b"x", Flags::none());
    for len in [0, 1] {
        let received = line.recv.poll_recv_into(&mut [0; 10], None);
        assert!(matches!(received, Poll::Ready(Ok(Some(found))) if found == len), "{received:?}");
    }
}

#[test]
fn read_that_finds_a_byte_passes_over_empty_messages() {
    let mut line = Line::new();
    line.send(b"", Flags::none());
    line.read_in_vain();
    line.send(b"x", Flags::none());
    assert_eq!(line.read(), b"x");
    line.expect_nothing();
}

#[test]
fn read_that_finds_the_end_passes_over_empty_messages() {
    let mut line = Line::new();
    line.send(b"", Flags::none());
    line.read_in_vain();
    line.send.finish().unwrap();
    assert_eq!(line.read(), b"");
    assert_eq!(line.recv(), None);
}

/// What adds nothing to a message whose bytes were read is no message of its own.
#[test]
fn read_that_gives_up_has_consumed_the_message_that_it_has_read() {
    let mut line = Line::new();
    line.send(b"ab", Flags::MORE);
    assert_eq!(line.read(), b"ab");
    line.read_in_vain();
    line.send(b"", Flags::none());
    line.read_in_vain();
    line.send(b"c", Flags::none());
    assert_eq!(line.recv(), Some(b"c".to_vec()));
}

/// A thread that only reads would look for a byte in vain again and again.
#[test]
fn empty_message_that_read_left_does_not_make_the_stream_ready() {
    let mut line = Line::new();
    line.send(b"", Flags::none());
    line.read_in_vain();
    assert_eq!(line.recv.watch().poll(Waker::noop()), Readiness::Pending);
    line.send(b"", Flags::none());
    line.read_in_vain();
    assert_eq!(line.recv(), Some(Vec::new()));
    assert_eq!(line.recv.watch().poll(Waker::noop()), Readiness::Ready, "one more can be received");
}
