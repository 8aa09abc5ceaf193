//! What a client decides, without connecting or waiting: which session to use, when to connect, which
//! failed call to repeat. Time and randomness are arguments.
//!
//! * **K1** A call is repeated only if the server has certainly seen nothing of it ([`CallError::delivery`]),
//!   and if another session may do better ([`CallError::is_passing`]).
//! * **K2** One call at a time connects, for all; who gives up lets another one go on.
//! * **K3** Attempts to connect are a pause apart that grows from one to the next, until a call has
//!   succeeded. The first one is made at once.

mod backoff;
mod error;

pub use backoff::Backoff;
pub use error::CallError;

use std::time::Instant;

/// The session of a client, as far as there is one.
#[derive(Debug)]
pub struct Line<S> {
    session: Option<S>,
    /// Somebody connects (K2).
    connecting: bool,
    backoff: Backoff,
    /// No attempt before that (K3).
    not_before: Option<Instant>,
}

/// What a call does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<S> {
    /// Use this session.
    Use(S),
    /// Connect, and report by [`Line::connected`] or [`Line::failed`] in any case.
    Connect,
    /// Wait until somebody has reported.
    Follow,
    /// Wait until then.
    Pause(Instant),
}

impl<S: Clone> Default for Line<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone> Line<S> {
    /// Without a session.
    pub fn new() -> Self {
        Self { session: None, connecting: false, backoff: Backoff::default(), not_before: None }
    }

    /// What to do at `now`. A session that is not `usable` any more is forgotten; streams that are open on
    /// it go on.
    pub fn turn(&mut self, now: Instant, usable: impl FnOnce(&S) -> bool) -> Turn<S> {
        if let Some(session) = self.session.take().filter(usable) {
            self.session = Some(session.clone());
            return Turn::Use(session);
        }
        if self.connecting {
            return Turn::Follow;
        }
        match self.not_before.filter(|&then| then > now) {
            Some(then) => Turn::Pause(then),
            None => {
                self.connecting = true;
                Turn::Connect
            }
        }
    }

    /// Who had to connect has a session. `random` is any number.
    pub fn connected(&mut self, session: S, now: Instant, random: u64) {
        self.session = Some(session);
        self.failed(now, random);
    }

    /// Who had to connect could not, or has given up. `random` is any number.
    pub fn failed(&mut self, now: Instant, random: u64) {
        self.connecting = false;
        self.not_before = now.checked_add(self.backoff.next(random));
    }

    /// A call has succeeded.
    pub fn succeeded(&mut self) {
        self.backoff = Backoff::default();
        self.not_before = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_connects_and_the_others_follow() {
        let now = Instant::now();
        let mut line = Line::new();
        assert_eq!(line.turn(now, |_| true), Turn::Connect);
        assert_eq!(line.turn(now, |_| true), Turn::Follow);
        line.connected('a', now, 0);
        assert_eq!(line.turn(now, |_| true), Turn::Use('a'));
        assert_eq!(line.turn(now, |_| true), Turn::Use('a'), "kept");
    }

    #[test]
    fn a_session_that_is_over_is_replaced_after_a_pause() {
        let now = Instant::now();
        let mut line = Line::new();
        assert_eq!(line.turn(now, |_| true), Turn::Connect);
        line.connected('a', now, 0);
        let Turn::Pause(then) = line.turn(now, |_| false) else { panic!("no pause") };
        assert!(then > now);
        assert_eq!(line.turn(then, |_| true), Turn::Connect, "forgotten");
    }

    #[test]
    fn after_a_success_it_is_replaced_at_once() {
        let now = Instant::now();
        let mut line = Line::new();
        assert_eq!(line.turn(now, |_| true), Turn::Connect);
        line.connected('a', now, 0);
        line.succeeded();
        assert_eq!(line.turn(now, |_| false), Turn::Connect);
    }

    #[test]
    fn who_gives_up_lets_another_connect() {
        let now = Instant::now();
        let mut line = Line::<char>::new();
        assert_eq!(line.turn(now, |_| true), Turn::Connect);
        line.failed(now, u64::MAX);
        assert_eq!(line.turn(now + Duration::from_secs(9), |_| true), Turn::Connect);
    }
}
