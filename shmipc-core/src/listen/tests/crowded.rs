//! A5: which connection makes way when all places are taken.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::Directory;
use super::accepting::{acceptor, client, greeting, refusal, stuck};
use crate::config::Config;
use crate::handshake::{Exchange, Progress};
use crate::listen::Acceptor;

const MILLISECOND: Duration = Duration::from_millis(1);

fn with_two_places(directory: &Directory) -> Acceptor {
    acceptor(directory, Config::builder().max_handshakes(100, 2).build().unwrap())
}

/// Works at the acceptor at that time.
fn at(acceptor: &Acceptor, time: Instant) {
    assert!(acceptor.try_accept(time).unwrap().is_none());
}

/// One client that has not been heard in time makes way for another one; which of `clients`, by what they hear.
fn makes_way(acceptor: &Acceptor, clients: [UnixStream; 2]) -> [bool; 2] {
    assert_eq!((acceptor.stats().in_progress, acceptor.stats().timed_out), (2, 1));
    clients.map(|client| {
        client.set_nonblocking(true).unwrap();
        let mut heard = [0; 4096];
        loop {
            match std::io::Read::read(&mut &client, &mut heard) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break false,
                Err(error) => panic!("{error}"),
            }
        }
    })
}

#[test]
fn the_connection_that_has_been_silent_for_longest_makes_way() {
    let directory = Directory::new();
    let acceptor = with_two_places(&directory);
    let begin = Instant::now();
    let first = stuck(&directory, &[]);
    at(&acceptor, begin);
    let second = stuck(&directory, &[]);
    at(&acceptor, begin + MILLISECOND);
    let _third = stuck(&directory, &[]);
    at(&acceptor, begin + 51 * MILLISECOND);
    assert_eq!(makes_way(&acceptor, [first, second]), [true, false]);
}

#[test]
fn a_connection_that_has_spoken_may_be_silent_for_longer() {
    let directory = Directory::new();
    let acceptor = with_two_places(&directory);
    let begin = Instant::now();
    let first = stuck(&directory, &greeting());
    at(&acceptor, begin);
    let second = stuck(&directory, &[]);
    at(&acceptor, begin + MILLISECOND);
    let _third = stuck(&directory, &[]);
    at(&acceptor, begin + 51 * MILLISECOND);
    assert_eq!(makes_way(&acceptor, [first, second]), [false, true]);
}

#[test]
fn a_connection_that_is_sent_away_is_told_to_come_again() {
    let directory = Directory::new();
    let acceptor = with_two_places(&directory);
    let begin = Instant::now();
    let first = stuck(&directory, &[]);
    let _second = stuck(&directory, &[]);
    at(&acceptor, begin);
    let _third = stuck(&directory, &[]);
    at(&acceptor, begin + 50 * MILLISECOND);
    assert_eq!(refusal(first).reason, 5);
}

/// As after the process was stopped for a while.
#[test]
fn a_connection_of_which_words_wait_is_heard_before_it_would_make_way() {
    let directory = Directory::new();
    let acceptor = with_two_places(&directory);
    let begin = Instant::now();
    let mut crowd = [stuck(&directory, &[]), stuck(&directory, &[])];
    at(&acceptor, begin);
    crowd.iter_mut().for_each(|client| client.write_all(&greeting()).unwrap());
    let third = stuck(&directory, &[]);
    at(&acceptor, begin + 200 * MILLISECOND);
    assert_eq!((acceptor.stats().in_progress, acceptor.stats().timed_out), (2, 0));
    assert_eq!(refusal(third).reason, 5);
}

/// A client that is told to come again must not have come to its end.
#[test]
fn a_connection_that_has_the_outbox_makes_way_only_after_a_second() {
    let directory = Directory::new();
    let acceptor = with_two_places(&directory);
    let begin = Instant::now();
    let crowd = [(); 2].map(|()| up_to_ready(&directory, &acceptor, begin));
    for (millis, timed_out) in [(999, 0), (1000, 1)] {
        let _third = stuck(&directory, &[]);
        at(&acceptor, begin + millis * MILLISECOND);
        assert_eq!(acceptor.stats().timed_out, timed_out);
    }
    drop(crowd);
}

/// A client that has sent its outbox, and does not look at the answer.
fn up_to_ready(directory: &Directory, acceptor: &Acceptor, now: Instant) -> Exchange {
    let mut client = client(directory);
    for _ in 0..2 {
        assert!(matches!(client.progress().unwrap(), Progress::Pending(_)));
        at(acceptor, now);
    }
    client
}

#[test]
fn sessions_are_counted_until_they_are_dropped() {
    let directory = Directory::new();
    for (all, per_uid) in [(2, 100), (100, 2)] {
        let config = Config::builder().max_sessions(all, per_uid).build().unwrap();
        let acceptor = acceptor(&directory, config);
        let first = super::accepting::one_session(&directory, &acceptor);
        let _second = super::accepting::one_session(&directory, &acceptor);
        let third = stuck(&directory, &greeting());
        at(&acceptor, Instant::now());
        assert_eq!(refusal(third).reason, 5);
        assert_eq!((acceptor.stats().sessions, acceptor.stats().busy), (2, 1));
        drop(first);
        assert_eq!(acceptor.stats().sessions, 1);
        let _third = super::accepting::one_session(&directory, &acceptor);
        assert_eq!(acceptor.stats().sessions, 2);
    }
}

#[test]
fn a_silent_connection_makes_way_if_sessions_are_lacking() {
    let directory = Directory::new();
    let acceptor = acceptor(&directory, Config::builder().max_sessions(2, 2).build().unwrap());
    let _session = super::accepting::one_session(&directory, &acceptor);
    let begin = Instant::now();
    let silent = stuck(&directory, &[]);
    at(&acceptor, begin);
    let _another = stuck(&directory, &greeting());
    at(&acceptor, begin + 60 * MILLISECOND);
    assert_eq!(refusal(silent).reason, 5);
    assert_eq!((acceptor.stats().sessions, acceptor.stats().in_progress), (1, 1));
}
