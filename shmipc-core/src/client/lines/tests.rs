use std::sync::{Arc, Weak};

use super::*;
use crate::config::PeerCred;
use crate::error::{HandshakeError, OsError, Refusal, SessionError};

const PEER: PeerCred = PeerCred::new(1, 2, 3);
const LEFT: Parting = Parting::PeerLeaves;
const LOST: Parting = Parting::Over(SessionError::PeerDied);

#[derive(Clone, Debug)]
struct Fake(Arc<char>);

impl Fake {
    fn new(name: char) -> Self {
        Self(Arc::new(name))
    }
}

impl PartialEq for Fake {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Line for Fake {
    type Weak = Weak<char>;

    fn downgrade(&self) -> Weak<char> {
        Arc::downgrade(&self.0)
    }

    fn is_gone(weak: &Weak<char>) -> bool {
        weak.strong_count() == 0
    }

    fn peer(&self) -> PeerCred {
        PEER
    }
}

/// Lines, and a clock.
struct Case {
    lines: Lines<Fake>,
    reader: Reader,
    now: Instant,
}

impl Case {
    fn new(sessions: usize) -> Self {
        let config = ClientConfig::builder().sessions(sessions).build().unwrap();
        let lines = Lines::new(&config);
        Self { reader: lines.reader(), lines, now: Instant::now() }
    }

    fn turn(&mut self) -> Turn<Fake> {
        self.lines.turn(self.now)
    }

    /// Whose session it is that a call gets.
    #[track_caller]
    fn used(&mut self) -> char {
        match self.turn() {
            Turn::Use(session, _) => *session.0,
            other => panic!("{other:?}"),
        }
    }

    /// A call connects and is answered.
    #[track_caller]
    fn connect(&mut self, name: char) -> u64 {
        assert_eq!(self.turn(), Turn::Connect);
        let number = self.connected(name);
        self.answer();
        number
    }

    #[track_caller]
    fn connected(&mut self, name: char) -> u64 {
        self.lines.connected(Fake::new(name), self.now, 0).unwrap()
    }

    fn answer(&mut self) {
        self.lines.begin().unwrap();
        self.lines.end(true);
    }

    fn events(&mut self) -> Vec<ClientEvent> {
        let next = || match self.lines.poll_event(&mut self.reader) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        };
        std::iter::from_fn(next).collect()
    }
}

#[test]
fn one_connects_and_the_others_follow() {
    let mut case = Case::new(1);
    assert_eq!(case.turn(), Turn::Connect);
    assert_eq!(case.turn(), Turn::Follow);
    let before = case.lines.changes();
    case.connected('a');
    assert_ne!(case.lines.changes(), before, "who follows is told");
    assert_eq!((case.used(), case.used()), ('a', 'a'));
}

#[test]
fn who_gives_up_lets_another_connect() {
    let mut case = Case::new(1);
    assert_eq!(case.turn(), Turn::Connect);
    let before = case.lines.changes();
    case.lines.failed(None, case.now, u64::MAX);
    assert_ne!(case.lines.changes(), before);
    let Turn::Pause(then) = case.turn() else { panic!("no pause") };
    assert!(then > case.now);
    case.now = then;
    assert_eq!(case.turn(), Turn::Connect);
}

#[test]
fn a_call_that_times_out_is_told_why_there_is_no_session() {
    let mut case = Case::new(1);
    assert_eq!(case.lines.explain(CallError::TimedOut), CallError::TimedOut);
    let error = OsError { call: "connect", code: nix::libc::ENOENT };
    let away = ConnectError::Unreachable { address: "/a".to_owned(), error };
    assert_eq!(case.turn(), Turn::Connect);
    case.lines.failed(Some(away.clone()), case.now, 0);
    assert!(matches!(case.turn(), Turn::Pause(_)), "it may come back");
    assert_eq!(case.lines.explain(CallError::TimedOut), CallError::Connect(away.clone()));
    case.now += Duration::from_secs(1);
    assert_eq!(case.turn(), Turn::Connect);
    case.lines.failed(None, case.now, 0);
    assert_eq!(
        case.lines.explain(CallError::TimedOut),
        CallError::Connect(away),
        "an attempt that was given up says nothing"
    );
    case.now += Duration::from_secs(1);
    case.connect('a');
    assert_eq!(case.lines.explain(CallError::TimedOut), CallError::TimedOut);
}

#[test]
fn a_refusal_is_shared_by_all_who_wait_until_the_pause_is_over() {
    let mut case = Case::new(1);
    assert_eq!(case.turn(), Turn::Connect);
    assert_eq!(case.turn(), Turn::Follow);
    let refused =
        ConnectError::Handshake(HandshakeError::Refused(Refusal::Unauthorized { uid: 1 }));
    case.lines.failed(Some(refused.clone()), case.now, 0);
    assert_eq!(case.turn(), Turn::Failed(refused.clone()));
    assert_eq!(case.turn(), Turn::Failed(refused));
    case.now += Duration::from_millis(1);
    assert_eq!(case.turn(), Turn::Connect, "and then it is asked again");
    assert_eq!(case.turn(), Turn::Follow);
}

#[test]
fn attempts_are_a_pause_apart_until_one_was_worth_it() {
    let mut case = Case::new(1);
    let mut last = Duration::ZERO;
    for name in ['a', 'b', 'c'] {
        assert_eq!(case.turn(), Turn::Connect);
        let number = case.connected(name);
        assert!(case.lines.parted(number, LOST, case.now, 0).is_some());
        let Turn::Pause(then) = case.turn() else { panic!("no pause") };
        assert!(then - case.now > last, "pauses grow");
        last = then - case.now;
        case.now = then;
    }
    // A call was answered: at once.
    let number = case.connect('d');
    case.lines.parted(number, LOST, case.now, 0);
    assert_eq!(case.turn(), Turn::Connect);
    // The session has lasted: at once.
    let number = case.connected('e');
    case.now += Duration::from_millis(256);
    case.lines.parted(number, LOST, case.now, 0);
    assert_eq!(case.turn(), Turn::Connect);
}

#[test]
fn places_are_taken_in_turn() {
    let mut case = Case::new(3);
    case.connect('a');
    assert_eq!(case.turn(), Turn::Connect, "the second place");
    assert_eq!((case.used(), case.used()), ('a', 'a'), "while another one connects");
    case.connected('b');
    assert_eq!(case.used(), 'b');
    assert_eq!(case.used(), 'a', "the third place has to wait for its pause");
    case.answer();
    assert_eq!((case.used(), case.used()), ('a', 'b'));
    case.connect('c');
    let used: Vec<_> = (0..6).map(|_| case.used()).collect();
    assert_eq!(used, ['a', 'b', 'c', 'a', 'b', 'c']);
}

#[test]
fn a_place_whose_session_left_is_filled_by_the_next_call() {
    let mut case = Case::new(2);
    let (first, second) = (case.connect('a'), case.connect('b'));
    assert_eq!(case.lines.parted(first, LEFT, case.now, 0), Some(Fake::new('a')));
    assert_eq!(case.lines.parted(first, LEFT, case.now, 0), None, "once");
    assert_eq!(case.turn(), Turn::Connect, "at once");
    assert_eq!(case.used(), 'b', "meanwhile");
    let third = case.connected('c');
    assert_eq!([case.used(), case.used()], ['c', 'b']);
    let connected = |session| ClientEvent::Connected { session, peer: PEER };
    let migrating = ClientEvent::Migrating { session: first };
    let expected = [connected(first), connected(second), migrating, connected(third)];
    assert_eq!(case.events(), expected);
}

#[test]
fn an_idle_client_follows_at_a_random_time() {
    for (random, expected) in [(0, 0), (u64::MAX / 2, 25), (u64::MAX, 50)] {
        let mut case = Case::new(1);
        let number = case.connect('a');
        assert_eq!(case.lines.idle(case.now), Idle::Rest);
        case.lines.parted(number, LEFT, case.now, random);
        let due = match case.lines.idle(case.now) {
            Idle::Pause(due) => due,
            Idle::Connect => case.now,
            other => panic!("{other:?}"),
        };
        let after = (due - case.now).as_secs_f64() * 1e3;
        assert!((after - f64::from(expected)).abs() < 0.01, "{after} ms");
    }
}

#[test]
fn an_idle_client_gets_out_of_the_way_of_a_call() {
    let mut case = Case::new(1);
    let number = case.connect('a');
    case.lines.parted(number, LEFT, case.now, u64::MAX);
    let Idle::Pause(due) = case.lines.idle(case.now) else { panic!("at once") };
    assert_eq!(case.turn(), Turn::Connect, "a call does not wait");
    assert_eq!(case.lines.idle(due), Idle::Follow);
    case.connected('b');
    assert_eq!(case.lines.idle(due), Idle::Rest);
}

#[test]
fn an_idle_client_tries_once() {
    let mut case = Case::new(1);
    let number = case.connect('a');
    case.lines.parted(number, LEFT, case.now, 0);
    assert_eq!(case.lines.idle(case.now), Idle::Connect);
    assert_eq!(case.turn(), Turn::Follow);
    case.lines.failed(None, case.now, 0);
    assert_eq!(case.lines.idle(case.now + Duration::from_secs(9)), Idle::Rest);
    // And never for a session that was lost.
    case.now += Duration::from_secs(9);
    let number = case.connect('b');
    case.lines.parted(number, LOST, case.now, 0);
    assert_eq!(case.lines.idle(case.now + Duration::from_secs(9)), Idle::Rest);
}

#[test]
fn calls_that_have_begun_go_on_while_the_client_closes() {
    let mut case = Case::new(1);
    let number = case.connect('a');
    case.lines.begin().unwrap();
    case.lines.begin_closing();
    assert_eq!(case.lines.begin(), Err(CallError::Closed));
    case.lines.parted(number, LEFT, case.now, 0);
    assert_eq!(case.lines.idle(case.now), Idle::Rest, "nobody moves without a call");
    assert_eq!(case.turn(), Turn::Connect, "that call is repeated");
    case.connected('b');
    let before = case.lines.changes();
    case.lines.end(true);
    assert_eq!(case.lines.calls(), 0);
    assert_ne!(case.lines.changes(), before, "who closes is told");
    let (handles, open) = case.lines.close();
    assert_eq!(handles, [Fake::new('b')]);
    assert_eq!(open.iter().filter(|weak| weak.strong_count() > 0).count(), 1);
    drop(handles);
    assert!(open.iter().all(Fake::is_gone));
    assert_eq!(case.turn(), Turn::Closed);
    assert_eq!(case.events().len(), 3);
    assert_eq!(case.lines.poll_event(&mut case.reader), Poll::Ready(None));
}

#[test]
fn a_session_that_comes_too_late_is_given_back() {
    let mut case = Case::new(1);
    assert_eq!(case.turn(), Turn::Connect);
    case.lines.close();
    let session = Fake::new('a');
    assert_eq!(case.lines.connected(session.clone(), case.now, 0), Err(session));
    assert_eq!(case.events(), []);
}

/// Sessions that nobody keeps open are not remembered, however many there were.
#[test]
fn sessions_that_are_gone_are_forgotten() {
    let mut case = Case::new(1);
    let mut streams = Vec::new();
    for round in 0..200 {
        let number = case.connect('a');
        let left = case.lines.parted(number, LEFT, case.now, 0).unwrap();
        if round < 2 {
            streams.push(left);
        }
    }
    assert_eq!(case.lines.open.len(), 3, "two are kept open by their streams, and the last one");
}
