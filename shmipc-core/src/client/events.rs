//! What happens to a client's sessions, for who wants to know.

use std::collections::VecDeque;

use crate::config::PeerCred;
use crate::error::SessionError;

/// So many events are kept for readers.
const KEPT: usize = 256;

/// Something that happened to a session of a client. Sessions are numbered from 1 in the order in which
/// they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// There is a new session.
    Connected {
        /// Its number.
        session: u64,
        /// The server, as the kernel says.
        peer: PeerCred,
    },
    /// The server leaves: streams that are open on the session go on, new ones go to another one.
    Migrating {
        /// The session's number.
        session: u64,
    },
    /// The session is over, and its server had not left.
    Lost {
        /// The session's number.
        session: u64,
        /// Why.
        error: SessionError,
    },
    /// So many events were not read in time and are gone.
    Missed(u64),
}

/// How far somebody has read.
#[derive(Debug)]
pub struct Reader {
    next: u64,
}

/// The latest events (K7).
#[derive(Debug, Default)]
pub(super) struct Log {
    events: VecDeque<ClientEvent>,
    /// How many there were before these.
    before: u64,
}

impl Log {
    pub(super) fn push(&mut self, event: ClientEvent) {
        if self.events.len() == KEPT {
            self.events.pop_front();
            self.before += 1;
        }
        self.events.push_back(event);
    }

    /// Reads what comes from now on.
    pub(super) fn reader(&self) -> Reader {
        Reader { next: self.before + self.events.len() as u64 }
    }

    pub(super) fn next(&self, reader: &mut Reader) -> Option<ClientEvent> {
        if reader.next < self.before {
            let missed = self.before - reader.next;
            reader.next = self.before;
            return Some(ClientEvent::Missed(missed));
        }
        let event = *self.events.get((reader.next - self.before) as usize)?;
        reader.next += 1;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_is_told_everything_since_it_came() {
        let mut log = Log::default();
        let mut early = log.reader();
        log.push(ClientEvent::Migrating { session: 1 });
        let mut late = log.reader();
        log.push(ClientEvent::Migrating { session: 2 });
        assert_eq!(log.next(&mut early), Some(ClientEvent::Migrating { session: 1 }));
        for reader in [&mut early, &mut late] {
            assert_eq!(log.next(reader), Some(ClientEvent::Migrating { session: 2 }));
            assert_eq!(log.next(reader), None);
        }
    }

    #[test]
    fn who_is_behind_is_told_how_many_it_missed() {
        let mut log = Log::default();
        let mut reader = log.reader();
        let kept = KEPT as u64;
        for session in 1..=kept + 3 {
            log.push(ClientEvent::Migrating { session });
        }
        assert_eq!(log.events.len(), KEPT, "bounded");
        assert_eq!(log.next(&mut reader), Some(ClientEvent::Missed(3)));
        for session in 4..=kept + 3 {
            assert_eq!(log.next(&mut reader), Some(ClientEvent::Migrating { session }));
        }
        assert_eq!(log.next(&mut reader), None);
    }
}
