//! Streams let go in unusual ways.

use std::io::Write;
use std::thread;

use shmipc_sync::{Listener, RecvError, SendError, Session};
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

/// A last message of any size is received before the end, and nothing can follow it.
#[test]
fn a_last_message_ends_its_direction() {
    within("lifecycle", || {
        let (client, server) = pair();
        for len in [0, 1, 64, 4096, 4097, 100_000] {
            let mut stream = client.open().unwrap();
            stream.finish_with(&vec![len as u8; len]).unwrap();
            assert_eq!(stream.send(b"more"), Err(SendError::Ended));
            assert_eq!(stream.finish(), Err(SendError::Ended));
            let mut answering = server.accept().unwrap();
            assert_eq!(answering.recv().unwrap().unwrap().to_vec(), vec![len as u8; len]);
            assert!(answering.recv().unwrap().is_none());
            answering.write_all(b"the first half ").unwrap();
            answering.finish_with(b"and the second").unwrap();
            drop(answering);
            assert_eq!(stream.recv().unwrap().unwrap().to_vec(), b"the first half and the second");
            assert!(stream.recv().unwrap().is_none());
        }
        let mut stream = client.open().unwrap();
        let max = stream.max_message();
        let much = vec![0; max + 1];
        assert_eq!(stream.finish_with(&much), Err(SendError::TooLarge { len: max + 1, max }));
        stream.finish_with(b"it goes on").unwrap();
        let mut answering = server.accept().unwrap();
        let mut out = [0; 10];
        let short = Err(RecvError::BufferTooSmall { len: 10, room: 9 });
        assert_eq!(answering.recv_into(&mut out[..9]), short);
        assert_eq!(answering.recv_into(&mut out), Ok(Some(10)));
        assert_eq!((&out, answering.recv_into(&mut [])), (b"it goes on", Ok(None)));
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
