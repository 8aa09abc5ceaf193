//! Streams let go in unusual ways.

use std::io::Write;
use std::thread;

use shmipc_sync::{Listener, Session};
use tests::deadline::within;

/// Two ends in this process.
fn pair() -> (Session, Session) {
    let name = format!("@shmipc-lifecycle-{}-{:?}", std::process::id(), thread::current().id());
    let listener = Listener::bind(&name).unwrap();
    thread::scope(|scope| {
        let client = scope.spawn(|| Session::connect(&name).unwrap());
        let server = listener.accept().unwrap();
        (client.join().unwrap(), server)
    })
}

/// The stopped half of a stream that is over everywhere else is not taken for another stream's.
#[test]
fn a_stopped_half_has_no_part_in_later_streams() {
    within("lifecycle", || {
        let (client, server) = pair();
        let (mut sender, mut stopped) = client.open().unwrap().into_split();
        sender.send(b"first").unwrap();
        sender.finish().unwrap();
        let mut first = server.accept().unwrap();
        first.finish().unwrap();
        drop(sender);
        stopped.stop(7);
        assert!(stopped.recv().unwrap().is_none());
        let mut second = client.open().unwrap();
        second.send(b"second").unwrap();
        let mut answering = server.accept().unwrap();
        answering.send(b"for the second").unwrap();
        drop(stopped);
        assert_eq!(second.recv().unwrap().unwrap().to_vec(), b"for the second");
        answering.send(b"nobody stopped it").unwrap();
    });
}

/// Many small parts are cheap to receive as one message.
#[test]
fn a_message_of_single_bytes() {
    const LEN: usize = 100_000;
    within("lifecycle", || {
        let (client, server) = pair();
        let mut stream = client.open().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0..LEN {
                    stream.write_all(&[i as u8]).unwrap();
                }
                stream.flush().unwrap();
            });
            let message = server.accept().unwrap().recv().unwrap().unwrap().to_vec();
            assert!(message.iter().enumerate().all(|(i, &byte)| byte == i as u8));
            assert_eq!(message.len(), LEN);
        });
    });
}
