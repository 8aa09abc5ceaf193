//! Payload memory that is committed upfront: there from the beginning, never given back, and its lack is noticed
//! by who connects. Payload memory on demand: its lack is noticed by who reserves, and by nobody else.
//!
//! Limits are those of the whole process, so this file holds a single test.

use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use shmipc_sync::{Commit, Config, ConnectError, HandshakeError, SendError};
use tests::deadline::within;
use tests::meeting::{exchange, meet};

const ARENA: u32 = 64 << 20;

fn upfront() -> Config {
    let builder = Config::builder().arena_max(ARENA).commit(Commit::Upfront);
    builder.idle_memory_timeout(Duration::ZERO).build().unwrap()
}

#[test]
fn committed_upfront() {
    within("sessions that commit upfront", || {
        let all = all_of_it_is_there();
        only_on_the_side_that_asks(all);
        a_lack_of_memory();
        a_lack_of_memory_later();
        let (client, server) = meet(upfront(), upfront());
        exchange(&client.unwrap(), &server.unwrap());
    });
}

/// Before anything is sent; it stays, and no more comes.
fn all_of_it_is_there() -> u32 {
    let (client, server) = meet(upfront(), Config::default());
    let (client, server) = (client.unwrap(), server.unwrap());
    let all = client.stats().arena_bytes;
    assert!(all > ARENA / 2 + ARENA / 4, "{all} bytes");
    assert_eq!(server.stats().arena_bytes, 0);
    exchange(&client, &server);
    // Waiting is when idle memory is given back.
    assert!(client.closed_timeout(Duration::from_millis(20)).is_none());
    assert_eq!((client.stats().arena_bytes, client.stats().arena_high_water), (all, all));
    all
}

fn only_on_the_side_that_asks(all: u32) {
    let (client, server) = meet(Config::default(), upfront());
    let (client, server) = (client.unwrap(), server.unwrap());
    assert_eq!((client.stats().arena_bytes, server.stats().arena_bytes), (0, all));
    exchange(&client, &server);
}

/// There is too little for an arena, and enough for everything else.
fn a_lack_of_memory() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
    setrlimit(Resource::RLIMIT_AS, address_space() + u64::from(ARENA / 2), hard).unwrap();
    let (refused, _) = meet(upfront(), Config::default());
    let (on_demand, accepted) = meet(Config::default(), Config::default());
    let (lonely, dropped) = meet(Config::default(), upfront());
    setrlimit(Resource::RLIMIT_AS, soft, hard).unwrap();
    let error = refused.unwrap_err();
    match &error {
        ConnectError::Handshake(HandshakeError::NotCommitted { needs, error }) => {
            assert_eq!((*needs, error.code), (ARENA.into(), Errno::ENOMEM as i32));
        }
        other => panic!("{other:?}"),
    }
    assert!(error.to_string().contains("arena_max"), "{error}");
    exchange(&on_demand.unwrap(), &accepted.unwrap());
    // A server without memory for a client drops it.
    assert!(dropped.is_none());
    lonely.unwrap().closed();
}

/// Large messages fail by name, small ones go on, and when there is memory again all do.
fn a_lack_of_memory_later() {
    let (client, server) = meet(Config::default(), Config::default());
    let (client, server) = (client.unwrap(), server.unwrap());
    let mut stream = client.open().unwrap();
    let mut taken = {
        stream.send(b"hello").unwrap();
        server.accept().unwrap()
    };
    let large = vec![7; 4 << 20];
    let (soft, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
    setrlimit(Resource::RLIMIT_AS, address_space() + (1 << 20), hard).unwrap();
    let lacking = stream.send(&large);
    let going_on = stream.send(b"small");
    setrlimit(Resource::RLIMIT_AS, soft, hard).unwrap();
    match lacking {
        Err(SendError::NoMemory(error)) => assert_eq!(error.code, Errno::ENOMEM as i32),
        other => panic!("{other:?}"),
    }
    going_on.unwrap();
    stream.send(&large).unwrap();
    stream.finish().unwrap();
    let mut lengths = Vec::new();
    while let Some(message) = taken.recv().unwrap() {
        lengths.push(message.len());
    }
    assert_eq!(lengths, [5, 5, 4 << 20]);
}

/// Bytes of address space that this process uses.
fn address_space() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}
