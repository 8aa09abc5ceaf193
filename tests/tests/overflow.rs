//! A queue that is full of messages which would fit into it: the larger of them go into memory of their own,
//! so that nobody waits for a reader as long as there is credit.

use shmipc_sync::{Config, Listener, Session};
use tests::deadline::{start, within};
use tests::payload::{check, pattern};

const LEN: usize = 2000;
const MESSAGES: u64 = 100;

/// A sending and a receiving end whose queue holds few messages of [`LEN`].
fn pair() -> (Session, Session) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let builder = Config::builder().ring_bytes(32 << 10).max_streams(64).inline_max(2032);
    let config = builder.stream_window(1 << 20).build().unwrap();
    let listener = Listener::builder().config(config.clone()).bind(&path).unwrap();
    let accepting = start("accept", move || listener.accept().unwrap());
    let sending = Session::connect_with(&path, &config).unwrap();
    (sending, accepting.join())
}

#[test]
fn messages_that_do_not_fit_into_the_queue_do_not_wait() {
    let (sending, receiving) = pair();
    let geometry = sending.geometry();
    assert!(u64::from(geometry.ring_bytes) < MESSAGES * LEN as u64 / 4);
    let (mut stream, sending) = within("sending while nobody reads", move || {
        let mut stream = sending.open().unwrap();
        for number in 0..MESSAGES {
            if number % 2 == 0 {
                stream.send(&pattern(number, LEN)).unwrap();
            } else {
                let mut reservation = stream.reserve(LEN).unwrap();
                reservation.copy_from_slice(&pattern(number, LEN));
                // What turns out to be short may go into the queue after all.
                let len = if number % 3 == 0 { LEN / 4 } else { LEN };
                reservation.commit_len(len).unwrap();
            }
        }
        (stream, sending)
    });
    let lent = sending.stats().lent;
    assert!(lent > 0 && u64::from(lent) < MESSAGES, "{lent} messages lie apart");
    assert_eq!(sending.stats().records_sent, MESSAGES);
    within("receiving", move || {
        let mut stream = receiving.accept().unwrap();
        for number in 0..MESSAGES {
            let message = stream.recv().unwrap().unwrap().to_vec();
            if number % 6 == 3 {
                assert_eq!(message, pattern(number, LEN)[..LEN / 4]);
            } else {
                check(&message, number, LEN);
            }
        }
        stream.finish().unwrap();
    });
    within("the last", move || assert!(stream.recv().unwrap().is_none()));
}

/// Small ones are cheaper to wait for, and wait.
#[test]
fn small_messages_stay_in_the_queue() {
    let (sending, receiving) = pair();
    let sender = start("send", move || {
        let mut stream = sending.open().unwrap();
        for number in 0..500 {
            stream.send(&pattern(number, 500)).unwrap();
        }
        assert_eq!(sending.stats().arena_high_water, 0);
        stream
    });
    within("receiving", move || {
        let mut stream = receiving.accept().unwrap();
        for number in 0..500 {
            check(&stream.recv().unwrap().unwrap(), number, 500);
        }
    });
    drop(sender.join());
}
