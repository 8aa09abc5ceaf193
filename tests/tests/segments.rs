//! Segments of payload memory make way for each other.

use std::thread;
use std::time::Duration;

use shmipc_sync::{Config, Listener, Session, WaitMode};
use tests::deadline::{start, until};
use tests::setup::{Setup, Size};

/// Nothing here takes long; a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// A session that connected under `config`, and its peer.
fn pair(name: &str, config: &Config) -> (Session, Session) {
    let address = format!("@shmipc-test-segments-{name}-{}", std::process::id());
    let listener = Listener::builder().config(config.clone()).bind(&address).unwrap();
    thread::scope(|scope| {
        let connecting = scope.spawn(|| Session::connect_with(&address, config).unwrap());
        let accepted = listener.accept_timeout(PATIENCE).unwrap().expect("a session");
        (connecting.join().unwrap(), accepted)
    })
}

/// Half of the arena is full of segments that hold one medium message each. When these have been given
/// back, a message that fits none of the segments still finds room: unused ones are retired.
#[test]
fn unused_segments_make_way_for_a_larger_one() {
    // Read in place, so that what is held keeps its segment.
    let (writer, reader) = pair("larger", &Setup::new(Size::Default).trusted().config());
    // Acknowledges segments that are announced between its calls.
    let _driver = reader.spawn_driver().unwrap();

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
    assert!(held.iter().all(|message| message[..] == medium));
    assert!(held.iter().any(|message| message.is_zero_copy()));
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

/// A thread that sleeps without a limit sees to it that memory goes back which another thread has asked
/// for in the meantime, though nothing comes that would wake it.
#[test]
fn unused_segments_go_back_while_a_thread_sleeps() {
    let timeout = Duration::from_millis(20);
    let config = Config::builder().wait(WaitMode::Block).idle_memory_timeout(timeout).build();
    let (writer, reader) = pair("asleep", &config.unwrap());
    let mut asleep = writer.open().unwrap();
    asleep.send(b"hello").unwrap();
    let mut other_end = reader.accept().unwrap();
    assert_eq!(other_end.recv().unwrap().unwrap().to_vec(), b"hello");
    let before = writer.stats().sleeps;
    let sleeping = start("a sleeper", move || asleep.recv().unwrap().unwrap().to_vec());
    until("it sleeps", || writer.stats().sleeps > before);
    for _ in 0..3 {
        let mut sender = writer.open().unwrap();
        sender.finish_with(&[7; 600 << 10]).unwrap();
        assert!(writer.stats().arena_bytes >= 600 << 10);
        let mut receiver = reader.accept().unwrap();
        assert_eq!(receiver.recv().unwrap().unwrap().len(), 600 << 10);
        until("the memory goes back", || writer.stats().arena_bytes == 0);
    }
    other_end.send(b"good morning").unwrap();
    assert_eq!(sleeping.join(), b"good morning");
}

/// The table in `docs/guide.md`: what a session has whose messages have a length, one on its way at a time.
#[test]
fn payload_memory_is_as_large_as_the_messages_need() {
    const KIB: u32 = 1 << 10;
    let table = [
        (4, 0),
        (8, 64),
        (16, 64),
        (64, 256),
        (256, 1024),
        (512, 2048),
        (1024, 1024),
        (4096, 4096),
    ];
    for (length, memory) in table {
        let (client, server) = pair(&format!("of-{length}"), &Config::default());
        let mut request = client.open().unwrap();
        let data = vec![7; (length * KIB) as usize];
        request.send(&data).unwrap();
        let mut reply = server.accept_timeout(PATIENCE).unwrap();
        for _ in 0..20 {
            assert_eq!(reply.recv_timeout(PATIENCE).unwrap().unwrap().len(), data.len());
            reply.send(&data).unwrap();
            assert_eq!(request.recv_timeout(PATIENCE).unwrap().unwrap().len(), data.len());
            request.send(&data).unwrap();
        }
        for session in [client, server] {
            assert_eq!(session.stats().arena_high_water, memory * KIB, "{length} KiB");
        }
    }
}
