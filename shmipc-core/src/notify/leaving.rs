//! Going away: one side leaves, and each stream of the other is certainly served or certainly not.
//!
//! ```text
//!  leaver                                            opener
//!  ──────                                            ──────
//!  G1  leaving := 1                                  publish the first record of a stream, at p
//!      fence                 ◀──── one of the ────▶  fence
//!      load tail          two sees the other         load leaving
//!  G2  limit := tail                                   0: the stream will be served
//!  G3  publish final := limit, ring                    1: in doubt until final is there
//!      read on:                                      G5  p < final: served, as if nothing were
//!  G4    OPEN at p < limit: serve                        p ≥ final: never seen; repeat elsewhere
//!        OPEN at p ≥ limit: drop
//!        all else: as before
//! ```
//!
//! The opener needs no message and no round trip: an idle one learns of it when it opens, and whoever
//! dies on the way leaves words behind that say what they said before.
//!
//! | what | written by | under |
//! |---|---|---|
//! | the going-away word, 0 or 1 | the leaver, once | rx |
//! | `limit`, private | the leaver, once | rx |
//! | the final position (plus one; 0: not yet known) | the leaver, once, Release | rx |
//! | position of the first record of a stream, private | the opener | tx |
//! | the peer's final position as it was found, private | the opener | rx |
//!
//! # Invariants
//! * **G1** The leaver stores the word, makes a SeqCst fence, and only then takes the tail. The opener
//!   publishes, makes the fence of its ring check, and only then loads the word. So a stream whose
//!   opener does not see the word lies before the final position. This buys promptness; what is
//!   answered depends on positions alone.
//! * **G2** The tail is taken, and made the limit, in one section of the lock under which records are
//!   read, and before the other side can see it. It never changes.
//! * **G3** The final position is published at once, before anything more is served, and rung for
//!   unconditionally: no event word asks for it. Whoever takes that bell looks for the position.
//! * **G4** The limit concerns records that open a stream, and nothing else. Of streams below it
//!   everything is read at whatever position. A stream at or beyond it is never shown to the
//!   application; its generation counts as opened and finished, so that later records of it are late
//!   ones, of which memory and credit are handed back (`session`, C4).
//! * **G5** A stream whose first record lies at or beyond the final position has not been seen. This is
//!   answered when the position is found, and once more at the end of the session, a crash included,
//!   after everything that the leaver published has been read. A stream without such a proof and
//!   without a reply may or may not have been served.
//! * **G6** The final position is the peer's word, so it is checked: a position between two records, not
//!   beyond what we published, never another one, and not at or before a stream that the peer has
//!   answered.
//!
//! The tests of `notify/check` visit every interleaving of these steps, with the leaver killed at any of
//! them, and once with each rule weakened; `tests/loom_leaving.rs` covers weak memory.

use crate::error::PeerMisbehaved;
use crate::layout::{FINAL_AT, LEAVING_AT, RECORD_ALIGN};
use crate::mem::{Memory, MemoryMut, Raw};

/// Says that we leave (G1). To be followed by a load of the peer's tail, under the same lock.
pub fn announce<O: MemoryMut>(own: &O) {
    own.store64(LEAVING_AT, 1);
    // Partner: the fence in `Checks::fence`, after the first record of a stream was published.
    own.fence_seq_cst();
}

/// Where the leaver stops to take streams in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limit(Option<u64>);

impl Limit {
    /// From now on streams that open at `tail` or beyond are refused; publishes that (G2, G3).
    ///
    /// To be called once, in the section in which the tail was loaded, and to be rung for.
    pub fn fix<O: MemoryMut>(&mut self, own: &O, tail: u64) {
        debug_assert!(self.0.is_none());
        self.0 = Some(tail);
        own.publish64(FINAL_AT, tail + 1);
    }

    /// Whether we leave.
    pub fn is_fixed(self) -> bool {
        self.0.is_some()
    }

    /// Whether a stream whose first record lies at `position` is refused (G4).
    #[inline]
    pub fn refuses(self, position: u64) -> bool {
        self.0.is_some_and(|limit| position >= limit)
    }

    /// Whether we leave and have read every stream that will be served.
    pub fn is_reached(self, drained: u64) -> bool {
        self.refuses(drained)
    }
}

/// Whether the peer leaves. Takes no lock.
#[inline]
pub fn is_leaving<P: Memory>(peer: &P) -> bool {
    Raw::new(peer.load64(LEAVING_AT)) != 0
}

/// The peer's final position, once it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Final(Option<u64>);

impl Final {
    /// Looks whether the peer, which leaves, has said where. True when it is found; then every stream of
    /// ours gets its answer.
    ///
    /// `published` gives our own tail.
    ///
    /// # Errors
    /// [`PeerMisbehaved::FinalPosition`] for one that cannot be, or that is not what it was (G6).
    pub fn look<P: Memory>(
        &mut self,
        peer: &P,
        published: impl FnOnce() -> u64,
    ) -> Result<bool, PeerMisbehaved> {
        let word = Raw::new(peer.load64(FINAL_AT));
        let lie = PeerMisbehaved::FinalPosition;
        if let Some(known) = self.0 {
            return word.parse(|word| (word == known + 1).then_some(false), lie);
        }
        if word == 0 {
            return Ok(false);
        }
        peer.fence_acquire();
        let published = published();
        let possible = |word: u64| {
            let position = word - 1;
            let between = position.checked_rem(u64::from(RECORD_ALIGN)) == Some(0);
            (between && position <= published).then_some(position)
        };
        self.0 = Some(word.parse(possible, lie)?);
        Ok(true)
    }

    /// Whether the peer will never see a stream whose first record lies at `first` (G5).
    pub fn excludes(self, first: u64) -> bool {
        self.0.is_some_and(|position| first >= position)
    }

    /// Whether the position is known.
    pub fn is_known(self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::HeapMemory;

    fn found(found: &mut Final, peer: &HeapMemory) -> Result<bool, PeerMisbehaved> {
        found.look(peer, || 64)
    }

    #[test]
    fn streams_are_parted_at_the_limit() {
        let leaver = HeapMemory::new(4096, 4096);
        let (mut limit, mut opener) = (Limit::default(), Final::default());
        assert!(!is_leaving(&leaver) && !limit.refuses(u64::MAX) && !opener.excludes(u64::MAX));
        announce(&leaver);
        assert!(is_leaving(&leaver));
        assert_eq!(found(&mut opener, &leaver), Ok(false), "leaving, and has not said where");
        limit.fix(&leaver, 48);
        assert_eq!(found(&mut opener, &leaver), Ok(true));
        assert_eq!(found(&mut opener, &leaver), Ok(false), "nothing new");
        for first in [0, 32, 48, 64] {
            assert_eq!(limit.refuses(first), opener.excludes(first), "at {first}");
            assert_eq!(limit.refuses(first), first >= 48, "at {first}");
        }
        assert!(!limit.is_reached(32) && limit.is_reached(48));
    }

    #[test]
    fn lies_are_named() {
        let peer = HeapMemory::new(4096, 4096);
        for (word, possible) in [(1, true), (65, true), (66, false), (81, false), (17, true)] {
            peer.store64(FINAL_AT, word);
            let expected = if possible { Ok(true) } else { Err(PeerMisbehaved::FinalPosition) };
            assert_eq!(found(&mut Final::default(), &peer), expected, "{word}");
        }
        let mut opener = Final::default();
        assert_eq!(found(&mut opener, &peer), Ok(true));
        for word in [0, 33, u64::MAX] {
            peer.store64(FINAL_AT, word);
            assert_eq!(found(&mut opener, &peer), Err(PeerMisbehaved::FinalPosition), "{word}");
        }
    }
}
