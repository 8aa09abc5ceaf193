//! Unread messages that the peer wants its memory back of are moved to the heap in pieces: no call copies all of
//! them, whichever thread goes on reading and sending meanwhile.

mod raw;

use std::task::Poll;
use std::time::Instant;

use raw::pair_with;
use shmipc_core::config::Config;

const MIB: usize = 1 << 20;

#[test]
fn eviction_takes_several_calls_and_is_finished_before_a_sleep() {
    let config = Config::builder()
        .arena_max(32 << 20)
        .max_message(1 << 20)
        .unread_max(64 << 20)
        .stream_window(64 << 20)
        .build()
        .unwrap();
    let [client, server] = pair_with(&config);
    let (send, _back) = client.open().unwrap();
    let mut waiting = loop {
        // Segments are acknowledged, so that nothing but memory is lacking in the end.
        server.try_drive();
        client.try_drive();
        let mut reserving = send.reserve(MIB).unwrap();
        match reserving.poll(None) {
            Poll::Ready(reservation) => reservation.unwrap().commit().unwrap(),
            Poll::Pending => break reserving,
        }
    };
    // The peer has been asked to give memory back.
    assert_eq!(client.stats().memory_pleas, 1);
    server.drive();
    let evicted = server.stats().evicted;
    // By a call that passes by the chores too, twice what one turn moves.
    assert!((1..=8).contains(&evicted), "{evicted} messages of a MiB were moved by one call");
    let due = || server.driver().next_deadline().is_some_and(|due| due <= Instant::now());
    assert!(due(), "the rest is due at once");
    while due() {}
    assert!(server.stats().evicted > evicted, "what was left is a chore");
    assert!(matches!(waiting.poll(None), Poll::Ready(Ok(_))), "memory has come back");
}
