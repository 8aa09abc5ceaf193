//! Segments of payload memory make way for each other.

use std::thread;
use std::time::Duration;

use shmipc_sync::{Listener, Session};

/// Nothing here takes long; a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// Half of the arena is full of segments that hold one medium message each. When these have been given
/// back, a message that fits none of the segments still finds room: unused ones are retired.
#[test]
fn unused_segments_make_way_for_a_larger_one() {
    let address = format!("@shmipc-test-segments-{}", std::process::id());
    let listener = Listener::bind(&address).unwrap();
    let connecting = thread::spawn(move || Session::connect(address).unwrap());
    let reader = listener.accept_timeout(PATIENCE).unwrap().expect("a session");
    let writer = connecting.join().unwrap();

    // Half of the messages are held by the application, half are unread.
    let medium = vec![7; 600 << 10];
    let mut held = Vec::new();
    let mut pairs: Vec<_> = (0..16)
        .map(|_| {
            let mut sender = writer.open().unwrap();
            sender.set_timeout(Some(PATIENCE));
            sender.send(&medium).unwrap();
            let mut receiver = reader.accept_timeout(PATIENCE).unwrap();
            held.push(receiver.recv_timeout(PATIENCE).unwrap().expect("the first"));
            (sender, receiver)
        })
        .collect();
    for (sender, _) in &mut pairs {
        sender.send(&medium).unwrap();
    }
    assert_eq!(writer.stats().arena_bytes, 32 << 20, "the half for large messages is full");

    for (_, receiver) in &mut pairs {
        held.push(receiver.recv_timeout(PATIENCE).unwrap().expect("the second"));
    }
    assert!(held.iter().all(|message| message.to_vec() == medium));
    drop(held);

    let large: Vec<u8> = (0..4 << 20).map(|i: u32| (i % 251) as u8).collect();
    let (sender, receiver) = &mut pairs[0];
    for _ in 0..3 {
        sender.send(&large).unwrap();
        let message = receiver.recv_timeout(PATIENCE).unwrap().expect("the large one");
        assert!(message.to_vec() == large, "the large message arrived whole");
    }
    assert!(writer.stats().arena_bytes <= 32 << 20);
    // And back again.
    let (sender, receiver) = &mut pairs[1];
    sender.send(&medium).unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap().expect("a medium one").len(), medium.len());
}
