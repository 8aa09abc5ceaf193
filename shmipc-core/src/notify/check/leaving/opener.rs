//! The side that opens streams.

use super::{Case, Ended, Record, STREAMS, State, Violation, Weakening, position};
use crate::notify::leaving::{Final, is_leaving};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum At {
    #[default]
    Publish,
    /// Looks at the word: only who sends its body afterwards depends on it.
    Look,
    /// Of a twin: has looked before it publishes.
    PublishLate,
    Body,
    Finish,
    Drive,
    /// Has driven; nobody knows yet that it is going to sleep.
    Post,
    Sleep,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Replied,
    NotSent,
    Unknown,
}

#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Thread {
    pub(super) at: At,
    /// Position of its first record.
    first: Option<u64>,
    /// It waits for the verdict before it sends its body.
    in_doubt: bool,
    answer: Option<Answer>,
}

#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Opener {
    pub(super) threads: [Thread; STREAMS],
    last: Final,
    /// It knows that the session is over.
    over: bool,
    /// Records published on the old stream.
    old: u8,
}

impl Opener {
    pub(super) fn is_done(&self, thread: usize) -> bool {
        self.threads[thread].at == At::Done
    }
}

impl Case {
    /// What is wrong with the answer that a stream got.
    pub(super) fn judge_answer(&self, s: &State, stream: usize) -> Option<Violation> {
        match s.opener.threads[stream].answer? {
            Answer::NotSent if s.leaver.has_served(stream) => Some(Violation::NotSentButServed),
            Answer::Unknown if s.ended != Ended::Killed => Some(Violation::Unknown),
            _ => None,
        }
    }

    /// The thread that opens stream `t` takes a step.
    pub(super) fn open(&self, s: &mut State, t: usize) -> bool {
        let sends_later = t == 0;
        let at = s.opener.threads[t].at;
        let next = match at {
            At::Done => return false,
            // Nothing is published once it is known that nobody will see it.
            At::Publish | At::PublishLate if s.opener.over || s.opener.last.is_known() => At::Done,
            At::Publish if sends_later && self.is(Weakening::WordLoadedBeforePublishing) => {
                s.opener.threads[t].in_doubt = is_leaving(&s.words());
                At::PublishLate
            }
            At::Publish | At::PublishLate => {
                s.opener.threads[t].first = Some(position(s.published));
                s.publish(if sends_later { Record::Open(t) } else { Record::OpenAndBody(t) });
                match (at, sends_later) {
                    (At::PublishLate, _) => self.body_unless_in_doubt(s, t),
                    (_, true) => At::Look,
                    (_, false) => At::Finish,
                }
            }
            At::Look => {
                s.opener.threads[t].in_doubt = is_leaving(&s.words());
                self.body_unless_in_doubt(s, t)
            }
            At::Body => {
                s.opener.threads[t].in_doubt = false;
                if !s.opener.over && s.opener.threads[t].answer.is_none() {
                    s.publish(Record::Body(t));
                }
                At::Drive
            }
            At::Finish => {
                if !s.opener.over && s.opener.threads[t].answer != Some(Answer::NotSent) {
                    s.publish(Record::Finish(t));
                }
                At::Drive
            }
            At::Drive => {
                self.drive(s);
                self.after_driving(s, t)
            }
            At::Post => At::Sleep,
            At::Sleep if self.wakes(s, t) => {
                (s.bell, s.kick) = (false, false);
                At::Drive
            }
            At::Sleep => return false,
        };
        s.opener.threads[t].at = next;
        true
    }

    fn body_unless_in_doubt(&self, s: &State, t: usize) -> At {
        if s.opener.threads[t].in_doubt { At::Drive } else { At::Body }
    }

    fn after_driving(&self, s: &State, t: usize) -> At {
        let thread = &s.opener.threads[t];
        match thread.answer {
            Some(_) => At::Done,
            None if thread.in_doubt && s.opener.last.is_known() => At::Body,
            None => At::Post,
        }
    }

    /// A ring, a record, the end, or what another thread has found.
    fn wakes(&self, s: &State, t: usize) -> bool {
        let unread = |t: usize| s.replies[t] && s.opener.threads[t].answer.is_none();
        s.bell
            || s.kick
            || (0..STREAMS).any(unread)
            || (s.ended != Ended::No && !s.opener.over)
            || self.after_driving(s, t) != At::Post
    }

    /// Reads what the leaver has published, then looks for the final position. If the session has
    /// ended, everybody gets the answer that there is.
    fn drive(&self, s: &mut State) {
        let ended = s.ended != Ended::No;
        for t in 0..STREAMS {
            if s.replies[t] {
                s.opener.threads[t].answer.get_or_insert(Answer::Replied);
            }
        }
        self.look_for_final(s);
        if ended {
            s.opener.over = true;
            for thread in s.opener.threads.iter_mut().filter(|thread| thread.first.is_some()) {
                thread.answer.get_or_insert(Answer::Unknown);
            }
        }
    }

    pub(super) fn look_for_final(&self, s: &mut State) {
        let words = s.words();
        if is_leaving(&words) {
            let published = position(s.published);
            match s.opener.last.look(&words, || published) {
                Ok(true) => self.tell(s),
                Ok(false) => {}
                Err(_) => s.accused = true,
            }
        }
    }

    fn tell(&self, s: &mut State) {
        let last = s.opener.last;
        for thread in &mut s.opener.threads {
            if thread.first.is_some_and(|first| last.excludes(first)) {
                s.accused |= thread.answer.replace(Answer::NotSent) == Some(Answer::Replied);
            }
        }
    }

    /// The old stream goes on, to its end.
    pub(super) fn send_on_the_old(&self, s: &mut State) -> bool {
        if s.opener.old == self.old || s.opener.over {
            return false;
        }
        s.publish(if s.opener.old + 1 < self.old { Record::Old } else { Record::OldEnd });
        s.opener.old += 1;
        true
    }
}
