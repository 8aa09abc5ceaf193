//! Messages that are under way on one stream at the same time, and what becomes of each.

use shmipc_sync::Delivery;

use super::account::Outcome;
use super::message::{Name, request, signature};
use crate::client::Conversation;

/// Messages of a burst at most.
pub const MOST: usize = 8;

/// The contents of a burst of more than one message: all of them can be sent before a reply is taken, as half of
/// what a stream takes in that nobody reads (`stream_window`).
const ROOM: usize = 128 << 10;

/// Requests that follow each other on a stream.
#[derive(Clone, Debug)]
pub struct Burst(Vec<(Name, Vec<u8>)>);

/// What is known of a request: its reply, or whether the server has seen it.
pub type Fate = Result<Vec<u8>, Delivery>;

impl Burst {
    /// The first request, and those that follow, at most `depth` in all. `sizes` are theirs, for as long as they fit.
    pub fn new(first: Name, depth: usize, mut size: impl FnMut() -> usize) -> Self {
        let [client, stream, sequence] = first;
        let mut requests = Vec::new();
        let mut room = ROOM;
        for sequence in (sequence..).take(depth) {
            let size = size();
            if !requests.is_empty() && size > room {
                break;
            }
            room = room.saturating_sub(size);
            let name = [client, stream, sequence];
            requests.push((name, request(name, size)));
        }
        Self(requests)
    }

    /// How many they are.
    pub fn count(&self) -> u32 {
        self.0.len() as u32
    }

    /// The first request.
    pub fn first(&self) -> &[u8] {
        &self.0[0].1
    }

    /// Sends all of them, and then takes the replies, which are to come in the same order.
    pub fn exchange(&self, stream: &mut impl Conversation) -> Vec<Fate> {
        let mut unsent = None;
        let sent = self.0.iter().take_while(|(_, request)| {
            unsent = stream.put(request).err().map(|error| error.delivery());
            unsent.is_none()
        });
        let sent = sent.count();
        let mut fates: Vec<Fate> = Vec::new();
        for _ in 0..sent {
            fates.push(match fates.last() {
                // The stream is over.
                Some(Err(delivery)) => Err(*delivery),
                _ => reply_of(stream),
            });
        }
        fates.extend(unsent.map(Err));
        // The rest was not tried.
        fates.resize(self.0.len(), Err(Delivery::NotSent));
        fates
    }

    /// The same is known of all of them.
    pub fn all(&self, delivery: Delivery) -> Vec<Fate> {
        vec![Err(delivery); self.0.len()]
    }

    /// What is to be noted of them, and for those that were answered by whom. `begun`: the server has answered on
    /// this stream before.
    pub fn outcomes(&self, fates: &[Fate], begun: bool) -> Vec<(Name, Outcome, Option<u32>)> {
        let begun = begun || !is_unseen(fates);
        let outcomes = self.0.iter().zip(fates).map(|((name, request), fate)| match fate {
            Ok(reply) => match signature(reply, request) {
                Some(server) => (*name, Outcome::Answered, Some(server)),
                None => (*name, Outcome::Wrong, None),
            },
            // It has begun, so it is for the application to begin anew, if that makes sense.
            Err(Delivery::NotSent) if begun => (*name, Outcome::Broken, None),
            Err(delivery) => (*name, (*delivery).into(), None),
        });
        outcomes.collect()
    }
}

/// Whether the server has certainly seen nothing of it.
pub fn is_unseen(fates: &[Fate]) -> bool {
    fates.iter().all(|fate| *fate == Err(Delivery::NotSent))
}

fn reply_of(stream: &mut impl Conversation) -> Fate {
    stream.take().map_err(|error| error.delivery())?.ok_or(Delivery::Unknown)
}

impl From<Delivery> for Outcome {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::NotSent => Self::NotSent,
            Delivery::Refused => Self::Refused,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use shmipc_core::error::{RecvError, SendError, SessionError};

    use super::super::account::Sum;
    use super::super::message::{name, sign};
    use super::*;

    /// What a server does that it should not.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Flaw {
        None,
        /// Two replies come in the wrong order.
        SwapsReplies,
        /// Two requests are acted on in the wrong order.
        SwapsRequests,
        LosesAReply,
        LosesARequest,
        ActsTwice,
        RepliesTwice,
        /// It dies when it has acted on half of them.
        Dies,
        /// It dies before it has seen anything, and requests fail to be sent from the third on.
        DiesEarly,
    }

    /// A stream with such a server on the other end.
    struct Flawed {
        flaw: Flaw,
        requests: Vec<Vec<u8>>,
        replies: Option<VecDeque<Vec<u8>>>,
        done: Vec<Name>,
    }

    impl Flawed {
        fn serve(&mut self) -> VecDeque<Vec<u8>> {
            let mut requests = self.requests.clone();
            match self.flaw {
                Flaw::SwapsRequests => requests.swap(2, 3),
                Flaw::LosesARequest => drop(requests.remove(2)),
                Flaw::Dies => requests.truncate(2),
                Flaw::DiesEarly => requests.clear(),
                _ => {}
            }
            self.done.extend(requests.iter().map(|request| name(request).unwrap()));
            if self.flaw == Flaw::ActsTwice {
                self.done.push(self.done[2]);
            }
            requests.iter_mut().for_each(|request| sign(request, 7));
            match self.flaw {
                Flaw::SwapsReplies => requests.swap(2, 3),
                Flaw::LosesAReply => drop(requests.remove(2)),
                Flaw::RepliesTwice => requests.insert(2, requests[2].clone()),
                _ => {}
            }
            requests.into()
        }
    }

    impl Conversation for Flawed {
        fn put(&mut self, message: &[u8]) -> Result<(), SendError> {
            if self.flaw == Flaw::DiesEarly && self.requests.len() == 2 {
                return Err(SessionError::PeerDied.into());
            }
            self.requests.push(message.to_vec());
            Ok(())
        }

        fn take(&mut self) -> Result<Option<Vec<u8>>, RecvError> {
            if self.replies.is_none() {
                self.replies = Some(self.serve());
            }
            match self.replies.as_mut().and_then(VecDeque::pop_front) {
                None if matches!(self.flaw, Flaw::Dies | Flaw::DiesEarly) => {
                    Err(SessionError::PeerDied.into())
                }
                reply => Ok(reply),
            }
        }

        /// There is no room beyond the burst.
        fn fill(&mut self, _: usize) {}

        fn finish(&mut self) {}
    }

    fn account(flaw: Flaw) -> Sum {
        let mut stream = Flawed { flaw, requests: Vec::new(), replies: None, done: Vec::new() };
        let burst = Burst::new([1, 1, 0], 5, || 100);
        assert_eq!(burst.count(), 5);
        let fates = burst.exchange(&mut stream);
        let outcomes = burst.outcomes(&fates, false);
        let outcomes: Vec<_> = outcomes
            .iter()
            .map(|&([client, stream, sequence], outcome, _)| {
                [client, stream, sequence, outcome as u32]
            })
            .collect();
        Sum::count(&stream.done, &outcomes)
    }

    /// Whatever a server does to messages that are under way together shows.
    #[test]
    fn flaws_show() {
        let none = Sum::default();
        for (flaw, expected) in [
            (Flaw::None, Sum { good: 5, ..none }),
            (Flaw::SwapsReplies, Sum { good: 3, reordered: 2, ..none }),
            // Their replies are swapped too.
            (Flaw::SwapsRequests, Sum { good: 3, reordered: 4, ..none }),
            // The one after it comes in its place, and so on; the last one never comes.
            (Flaw::LosesAReply, Sum { good: 2, reordered: 2, unknown: 1, ..none }),
            (Flaw::LosesARequest, Sum { good: 2, lost: 1, reordered: 2, unknown: 1, ..none }),
            (Flaw::ActsTwice, Sum { good: 4, duplicated: 1, ..none }),
            (Flaw::RepliesTwice, Sum { good: 3, reordered: 2, ..none }),
            (Flaw::Dies, Sum { good: 2, unknown: 3, ..none }),
            (Flaw::DiesEarly, Sum { unknown: 2, broken: 3, ..none }),
        ] {
            let sum = account(flaw);
            assert_eq!(sum, expected, "{flaw:?}");
            assert_eq!(sum.is_perfect(), flaw == Flaw::None, "{flaw:?}");
            let honest = [Flaw::None, Flaw::Dies].contains(&flaw);
            assert_eq!(sum.is_honest(), honest, "{flaw:?}");
        }
    }

    #[test]
    fn large_messages_are_alone() {
        let mut sizes = [100, ROOM - 100, 1].into_iter();
        assert_eq!(Burst::new([1, 1, 0], MOST, || sizes.next().unwrap()).count(), 2);
        assert_eq!(Burst::new([1, 1, 0], MOST, || ROOM + 1).count(), 1);
        assert_eq!(Burst::new([1, 1, 0], 1, || 100).count(), 1);
    }
}
