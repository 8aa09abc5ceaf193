//! A sender to which the kernel refuses payload memory for a while, for lack of a descriptor: it goes on with what
//! there is, goes on with everything as soon as the kernel gives again, and says meanwhile what is lacking.

use std::time::Duration;

use shmipc_sync::{Listener, Message, Stream};
use tests::child::Peer;
use tests::deadline::{start, within};
use tests::payload::check;
use tests::proc::{is_asleep, limit_descriptors};
use tests::setup::{Setup, Size};

/// A sender, and the test's end of its stream.
struct Short {
    sender: Peer,
    stream: Stream,
    _listener: Listener,
    _directory: tempfile::TempDir,
}

impl Short {
    /// Starts one, which has sent one message of `bytes` and has memory for it.
    fn start(flavour: &str, bytes: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        // In place: what the test keeps is the sender's memory.
        let config = Setup::new(Size::Default).trusted().config();
        let listener = Listener::builder().config(config).bind(&path).unwrap();
        let path = path.to_str().unwrap();
        let mut sender = Peer::start(env!("CARGO_BIN_EXE_sender"), &[flavour, path]);
        let session = listener.accept().unwrap();
        sender.line("ready");
        sender.say(&format!("send {bytes}"));
        let mut stream = session.accept().unwrap();
        receive(&mut stream, bytes);
        assert_eq!(sender.line("did"), "send");
        Self { sender, stream, _listener: listener, _directory: directory }
    }

    /// From now on the kernel gives the sender no descriptor.
    fn take_descriptors(&self) {
        limit_descriptors(self.sender.pid(), Some(0));
    }

    fn give_descriptors(&self) {
        limit_descriptors(self.sender.pid(), None);
    }

    /// How often the kernel has refused memory to the sender; it is in no other call.
    fn refusals(&mut self) -> u64 {
        self.sender.say("stats");
        self.sender.line("did").parse().unwrap()
    }
}

fn receive(stream: &mut Stream, bytes: usize) -> Message {
    let message = stream.recv().unwrap().expect("no end");
    check(&message, bytes as u64, bytes);
    message
}

/// Receives and keeps messages of 100,000 bytes until no further one comes.
fn keep_all(short: &mut Short, order: &str) -> Vec<Message> {
    let mut kept = Vec::new();
    loop {
        short.sender.say(order);
        let message = loop {
            match short.stream.receiver().recv_timeout(Duration::from_secs(2)) {
                Ok(message) => break message.expect("no end"),
                Err(_) if is_asleep(short.sender.pid()) => return kept,
                Err(_) => {}
            }
        };
        assert_eq!(message.len(), 100_000);
        kept.push(message);
        assert_eq!(short.sender.line("did"), order.split(' ').next().unwrap());
        assert!(kept.len() < 200, "memory without end");
    }
}

/// `recv` holds what has come of a message; the sender needs it to go on.
fn one_long_message(flavour: &'static str) {
    within("one long message", move || {
        let mut short = Short::start(flavour, 64 << 10);
        short.take_descriptors();
        short.sender.say(&format!("write {}", 4 << 20));
        let Short { stream, .. } = &mut short;
        receive(stream, 4 << 20);
        assert_eq!(short.sender.line("did"), "write");
        assert!(short.refusals() > 0, "nothing was lacking");
        short.give_descriptors();
        short.sender.say(&format!("write {}", 4 << 20));
        receive(&mut short.stream, 4 << 20);
        assert_eq!(short.sender.line("did"), "write");
    });
}

/// The application holds all memory that the sender has; the sender waits, and goes on when the kernel gives.
fn kept_messages(flavour: &'static str) {
    within("kept messages", move || {
        let mut short = Short::start(flavour, 100_000);
        short.take_descriptors();
        let kept = keep_all(&mut short, "send 100000");
        // It is in `send`. Nothing comes back; the kernel gives again.
        short.give_descriptors();
        receive(&mut short.stream, 100_000);
        assert_eq!(short.sender.line("did"), "send");
        for message in kept {
            check(&message, 100_000, 100_000);
        }
        assert!(short.refusals() > 0, "nothing was lacking");
    });
}

/// Bytes that need not lie in one piece do not wait for memory.
fn bytes_go_on(flavour: &'static str) {
    within("bytes", move || {
        let mut short = Short::start(flavour, 100_000);
        short.take_descriptors();
        let kept = keep_all(&mut short, "send 100000");
        // The message that the sender waits with, once there is room for it.
        drop(kept);
        receive(&mut short.stream, 100_000);
        assert_eq!(short.sender.line("did"), "send");
        short.sender.say("write 1000000");
        let message = start("recv", move || {
            receive(&mut short.stream, 1_000_000);
            short
        });
        let mut short = message.join();
        assert_eq!(short.sender.line("did"), "write");
    });
}

mod blocking {
    use super::*;

    #[test]
    fn recv_of_one_long_message_does_not_stall_when_memory_is_refused() {
        one_long_message("blocking");
    }

    #[test]
    fn send_goes_on_beside_kept_messages_when_the_kernel_gives_memory_again() {
        kept_messages("blocking");
    }

    #[test]
    fn write_goes_on_while_memory_is_refused() {
        bytes_go_on("blocking");
    }

    /// The error of a send with a deadline names what the kernel refused.
    #[test]
    fn send_that_times_out_names_the_refusal() {
        within("a send with a deadline", || {
            let mut short = Short::start("blocking", 100_000);
            short.take_descriptors();
            let kept = keep_all(&mut short, "try 100000");
            let error = short.sender.line("did");
            assert!(error.contains("memfd_create") && error.contains("ulimit -n"), "{error}");
            drop(kept);
            // Not one call is lost for it.
            short.sender.say("send 100000");
            receive(&mut short.stream, 100_000);
            assert_eq!(short.sender.line("did"), "send");
        });
    }
}

mod tokio_current {
    use super::*;

    #[test]
    fn recv_of_one_long_message_does_not_stall_when_memory_is_refused() {
        one_long_message("tokio-current");
    }

    #[test]
    fn send_goes_on_beside_kept_messages_when_the_kernel_gives_memory_again() {
        kept_messages("tokio-current");
    }

    #[test]
    fn write_goes_on_while_memory_is_refused() {
        bytes_go_on("tokio-current");
    }
}

mod tokio_multi {
    use super::*;

    #[test]
    fn recv_of_one_long_message_does_not_stall_when_memory_is_refused() {
        one_long_message("tokio-multi");
    }

    #[test]
    fn send_goes_on_beside_kept_messages_when_the_kernel_gives_memory_again() {
        kept_messages("tokio-multi");
    }
}
