//! Clients that have no descriptor left when they have to move to the next server.

use std::thread;
use std::time::{Duration, Instant};

use tests::child::Peer;
use tests::deadline::until;
use tests::follower;
use tests::generations::Place;
use tests::proc::{cpu_nanos, descriptors, is_asleep, limit_descriptors};

const GENERATION: &str = env!("CARGO_BIN_EXE_generation");
const FOLLOWER: &str = env!("CARGO_BIN_EXE_follower");

/// Long enough for a busy loop to show.
const A_WHILE: Duration = Duration::from_millis(300);

#[test]
fn a_client_in_threads() {
    moves_when_it_can("blocking", false);
}

#[test]
fn a_client_in_threads_that_waits_for_events() {
    moves_when_it_can("blocking", true);
}

#[test]
fn a_client_in_tasks() {
    moves_when_it_can("tokio", false);
}

#[test]
fn a_client_in_tasks_that_waits_for_events() {
    moves_when_it_can("tokio", true);
}

/// What it has open goes on, each call says why it fails, and nothing of it has happened.
fn moves_when_it_can(flavour: &str, watching: bool) {
    let place = Place::new(GENERATION);
    let mut first = place.server(&["tells"]);
    first.line("serving");
    let peer = follower::start(FOLLOWER, flavour, &place.path(), watching);
    let mut client = Caller { peer, calls: 0 };
    assert!(client.call("1"));
    assert_eq!(first.line("did call"), "1");
    client.open();
    until("it has nothing to do", || is_asleep(client.peer.pid()));
    limit_descriptors(client.peer.pid(), Some(0));
    let mut second = place.server(&["tells"]);
    second.line("serving");
    first.line("handed over");
    let held = descriptors(second.pid());
    for _ in 0..10 {
        assert!(!client.call("2"), "without a descriptor");
        client.goes_on();
    }
    does_nothing(&client.peer);
    // With some, it gets a bit further each time.
    let mut more = 1;
    limit_descriptors(client.peer.pid(), Some(more));
    while !client.call("2") {
        client.goes_on();
        more += 1;
        limit_descriptors(client.peer.pid(), Some(more));
    }
    assert!(more > 3, "a session costs descriptors");
    limit_descriptors(client.peer.pid(), None);
    assert!(client.call("2"));
    client.goes_on();
    client.end();
    assert!(first.said("did call").is_empty());
    client.peer.hang_up();
    until("the second one holds nothing of those that failed", || {
        descriptors(second.pid()) <= held
    });
    second.hang_up();
    let last = client.calls;
    assert_eq!(second.said("did call"), [(last - 1).to_string(), last.to_string()]);
}

/// A client with a stream.
struct Caller {
    peer: Peer,
    calls: u32,
}

impl Caller {
    /// Calls, and is answered by that server; or fails, and is told why, and that nothing was sent.
    #[track_caller]
    fn call(&mut self, generation: &str) -> bool {
        self.calls += 1;
        self.peer.say(&format!("call call {}", self.calls));
        loop {
            let line = self.peer.next_line();
            if let Some(by) = line.strip_prefix("reply ") {
                assert_eq!(by, generation);
                return true;
            } else if let Some(error) = line.strip_prefix("error ") {
                println!("{error}");
                assert!(error.starts_with("NotSent Connect("), "{error}");
                assert!(error.contains("Too many open files"), "{error}");
                assert!(!error.contains("is the server running?"), "{error}");
                return false;
            }
            assert!(line.starts_with("event "), "{line}");
        }
    }

    #[track_caller]
    fn open(&mut self) {
        self.peer.say("open");
        self.peer.line("opened");
        self.goes_on();
    }

    /// The stream is with the first server, still.
    #[track_caller]
    fn goes_on(&mut self) {
        self.peer.say("more");
        assert_eq!(self.peer.line("more"), "1");
    }

    #[track_caller]
    fn end(&mut self) {
        self.peer.say("end");
        self.peer.line("ended");
    }
}

/// Neither does it try again and again.
fn does_nothing(client: &Peer) {
    let (begin, before) = (Instant::now(), cpu_nanos(client.pid()));
    thread::sleep(A_WHILE);
    let (spent, span) = (cpu_nanos(client.pid()) - before, begin.elapsed().as_nanos());
    assert!(u128::from(spent) < span / 4, "{spent} of {span} ns");
}
