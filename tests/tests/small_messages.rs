//! The two ways that spare small messages something: batches, and receiving into a buffer.

use std::thread;
use std::time::Duration;

use shmipc_sync::{Listener, RecvError, SendError, Session, Stream};

/// Nothing here takes long; a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

fn pair(name: &str) -> (Session, Session, Stream, Stream) {
    let address = format!("@shmipc-test-{name}-{}", std::process::id());
    let listener = Listener::bind(&address).unwrap();
    let connecting = thread::spawn(move || Session::connect(&address).unwrap());
    let server = listener.accept_timeout(PATIENCE).unwrap().expect("a session");
    let client = connecting.join().unwrap();
    let mut near = client.open().unwrap();
    near.send(b"begin").unwrap();
    let mut far = server.accept_timeout(PATIENCE).unwrap();
    assert_eq!(far.recv_timeout(PATIENCE).unwrap().expect("a message").to_vec(), b"begin");
    near.set_timeout(Some(PATIENCE));
    far.set_timeout(Some(PATIENCE));
    (client, server, near, far)
}

/// Batches far larger than the queue arrive whole and in order.
#[test]
fn batches_keep_order_and_wait_for_room() {
    const BATCHES: u32 = 20;
    const MESSAGES: u32 = 5000;
    let (_client, _server, mut near, mut far) = pair("batch");
    let receiving = thread::spawn(move || {
        let mut buffer = [0; 64];
        for expected in 0..BATCHES * MESSAGES {
            let len = far.recv_into(&mut buffer).unwrap().expect("a message");
            let number = u32::from_le_bytes(buffer[..4].try_into().unwrap());
            assert_eq!((number, len), (expected, 4 + expected as usize % 60));
        }
        assert_eq!(far.recv_into(&mut buffer), Ok(None));
    });
    for batch in 0..BATCHES {
        let mut messages = near.batch();
        for number in batch * MESSAGES..(batch + 1) * MESSAGES {
            let mut message = [7; 64];
            message[..4].copy_from_slice(&number.to_le_bytes());
            messages.push(&message[..4 + number as usize % 60]).unwrap();
        }
        assert_eq!(messages.len(), MESSAGES as usize);
        messages.commit().unwrap();
        assert!(messages.is_empty());
    }
    near.finish().unwrap();
    receiving.join().unwrap();
}

/// A batch that is dropped was not sent; one with a message too long for a record says so.
#[test]
fn a_dropped_batch_sends_nothing() {
    let (_client, _server, mut near, mut far) = pair("dropped-batch");
    {
        let mut batch = near.batch();
        batch.push(b"never sent").unwrap();
        let error = batch.push(&[0; 5000]).unwrap_err();
        assert_eq!(error, SendError::TooLarge { len: 5000, max: 4096 });
    }
    near.send(b"sent").unwrap();
    assert_eq!(far.recv().unwrap().expect("a message").to_vec(), b"sent");
}

/// A message longer than the buffer is an error and stays the next message, in a record or not.
#[test]
fn a_short_buffer_loses_nothing() {
    let (_client, _server, mut near, mut far) = pair("short-buffer");
    for len in [100, 4096, 4097, 100_000] {
        let message: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        near.send(&message).unwrap();
        let mut buffer = vec![0; len];
        let short = far.recv_into(&mut buffer[..len - 1]);
        assert_eq!(short, Err(RecvError::BufferTooSmall { len, room: len - 1 }));
        assert_eq!(far.recv_into(&mut buffer), Ok(Some(len)));
        assert_eq!(buffer, message);
    }
}
