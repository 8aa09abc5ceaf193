//! Who waits where: the pure state machine behind the gate.
//!
//! A [`WaitBook`] lives inside the gate, a process-local mutex of the session. Its methods neither
//! lock nor block nor enter the kernel: they note what a thread is about to do and answer what the
//! caller has to do, in the gate section (arming) or after it (kicks, tokens).
//!
//! ```text
//!               join            post: nobody inside
//!  (outside) ─────────▶ running ───────────────────▶ inside     kernel wait: bell, kick
//!      ▲                 ▲ │  ▲                        │
//!      │      leave      │ │  └──────── come_out ──────┘
//!      └─────────────────┘ │  ┌──────── come_out ──────┐
//!                          └──┴─────────────────────▶ follower   parked: token
//!                            post: somebody inside
//! ```
//!
//! A call that finds its result without waiting never appears here. One that waits does this, and
//! the letters are those of the tests in `notify/check`:
//!
//! ```text
//! W1  drive (try-lock)                        W5  news: gate { come_out }, drive (lock), W2
//! W2  result? take it, X                      W6  inside: kernel wait; follower: park
//! W3  gate { join once; post;                 W7  inside: read the socket; gate { come_out };
//!            Inside { arm: true }:                drive (lock), W2
//!              a := drained, arm tail at a }  W8  follower: gate { come_out }; drive (lock), W2
//! W4  news(tail, a)? own result there?        X   gate { leave }; set the token it names
//! ```
//!
//! Who delivers something does it first, then asks [`WaitBook::wake`] in a gate section (N3), then,
//! after the section, kicks or sets the token.

use slab::Slab;

/// The place of a waiting thread in a [`WaitBook`], valid until it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlaceId(pub(super) usize);

/// What a thread that has posted itself is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Post {
    /// It has the lead and will enter the kernel wait.
    Inside {
        /// Whether it has to arm the record word at `drained`, in this gate section, and to look at
        /// the tail after it. Otherwise a call is active that will arm instead (N8), and it looks at
        /// its own result only.
        arm: bool,
    },
    /// Somebody else has the lead; it looks at its own result and parks on its token.
    Follower,
}

/// How to wake a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Wake {
    /// Write to the session's kick: it is inside.
    Kick,
    /// Set its token: it is parked, or about to.
    Token,
    /// It is running, or gone, and will look before it sleeps.
    Nothing,
}

/// Where the waiting threads of a session are. `T` is whatever the caller needs to set a token.
#[derive(Clone, Debug)]
pub struct WaitBook<T> {
    // Visible to `notify::check`, which has to tell states apart.
    pub(super) places: Slab<Place<T>>,
    pub(super) inside: Option<PlaceId>,
    /// The follower that was parked last; the others are below it.
    pub(super) top: Option<PlaceId>,
    /// Places that are marked: woken, and neither waiting again nor gone yet.
    marked: usize,
    /// Calls that drain for all while somebody is inside (N8).
    pub(super) active: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Place<T> {
    pub(super) at: At,
    pub(super) marked: bool,
    token: T,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Running,
    Inside,
    /// Parked or about to be: an entry of a list, so that it can be taken out anywhere.
    Follower {
        above: Option<PlaceId>,
        below: Option<PlaceId>,
    },
}

impl<T> WaitBook<T> {
    /// Nobody waits.
    pub fn new() -> Self {
        Self { places: Slab::new(), inside: None, top: None, marked: 0, active: 0 }
    }

    /// Gives the calling thread a place, running. Once per call, before its first [`post`](Self::post).
    pub fn join(&mut self, token: T) -> PlaceId {
        PlaceId(self.places.insert(Place { at: At::Running, marked: false, token }))
    }

    /// The running thread `me` is going to wait (W3): inside, if nobody is.
    ///
    /// A thread that counts as active calls [`retire`](Self::retire) first.
    pub fn post(&mut self, me: PlaceId) -> Post {
        debug_assert_eq!(self.places[me.0].at, At::Running);
        self.unmark(me);
        if self.inside.is_none() {
            self.inside = Some(me);
            self.places[me.0].at = At::Inside;
            return Post::Inside { arm: self.active == 0 };
        }
        self.push(me);
        Post::Follower
    }

    /// The thread `me` is running again (W5, W7, W8). Its mark stays: it counts as on its way until
    /// it waits again or leaves.
    pub fn come_out(&mut self, me: PlaceId) {
        match self.places[me.0].at {
            At::Running => {}
            At::Inside => self.inside = None,
            At::Follower { above, below } => self.unlink(above, below),
        }
        self.places[me.0].at = At::Running;
    }

    /// How to wake `who`, for which something has been delivered (N3, N6).
    pub fn wake(&mut self, who: PlaceId) -> Wake {
        match self.places.get(who.0).map(|place| place.at) {
            Some(At::Inside) => Wake::Kick,
            Some(At::Follower { .. }) => {
                self.mark(who);
                Wake::Token
            }
            Some(At::Running) | None => Wake::Nothing,
        }
    }

    /// Removes `me`, wherever it is: with a result, at a deadline, after an error, in a panic (X).
    ///
    /// Returns the follower whose token the caller has to set so that somebody takes the lead (N7):
    /// the one that parked last, since its caches are warm and the others may sleep on.
    #[must_use]
    pub fn leave(&mut self, me: PlaceId) -> Option<PlaceId> {
        self.come_out(me);
        self.unmark(me);
        self.places.remove(me.0);
        if self.inside.is_some() || self.marked > 0 {
            return None;
        }
        let next = self.top?;
        self.mark(next);
        Some(next)
    }

    /// Counts the calling thread, which is about to wait for a record by driving itself, as active,
    /// if somebody is inside (N8). Then, in this gate section, it disarms the record word.
    ///
    /// While somebody is active, records wake nobody: the active call drains them for all.
    #[must_use]
    pub fn activate(&mut self) -> bool {
        let somebody = self.inside.is_some();
        self.active += usize::from(somebody);
        somebody
    }

    /// Ends what [`activate`](Self::activate) began: the thread leaves, or is going to post.
    ///
    /// If it returns true the caller arms the record word at `drained`, in this gate section, looks
    /// at the tail after it, and if there is news kicks the one inside.
    #[must_use]
    pub fn retire(&mut self) -> bool {
        debug_assert!(self.active > 0);
        self.active -= 1;
        self.active == 0 && self.inside.is_some()
    }

    /// Who is inside.
    pub fn inside(&self) -> Option<PlaceId> {
        self.inside
    }

    /// Whether somebody other than `me` is inside, who must be kicked if `me` took a bell byte (N4).
    pub fn another_inside(&self, me: Option<PlaceId>) -> bool {
        self.inside.is_some() && self.inside != me
    }

    /// What [`join`](Self::join) was given.
    pub fn token(&self, who: PlaceId) -> &T {
        &self.places[who.0].token
    }

    /// Threads that have a place.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no thread has a place.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn mark(&mut self, who: PlaceId) {
        self.marked += usize::from(!self.places[who.0].marked);
        self.places[who.0].marked = true;
    }

    fn unmark(&mut self, who: PlaceId) {
        self.marked -= usize::from(self.places[who.0].marked);
        self.places[who.0].marked = false;
    }

    fn push(&mut self, me: PlaceId) {
        let below = self.top.replace(me);
        self.places[me.0].at = At::Follower { above: None, below };
        if let Some(At::Follower { above, .. }) = below.map(|id| &mut self.places[id.0].at) {
            *above = Some(me);
        }
    }

    fn unlink(&mut self, upper: Option<PlaceId>, lower: Option<PlaceId>) {
        match upper.map(|id| &mut self.places[id.0].at) {
            Some(At::Follower { below, .. }) => *below = lower,
            _ => self.top = lower,
        }
        if let Some(At::Follower { above, .. }) = lower.map(|id| &mut self.places[id.0].at) {
            *above = upper;
        }
    }
}

impl<T> Default for WaitBook<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_leads_and_the_others_follow() {
        let mut book = WaitBook::new();
        let (l, f) = (book.join('l'), book.join('f'));
        assert_eq!(book.post(l), Post::Inside { arm: true });
        assert_eq!(book.post(f), Post::Follower);
        assert_eq!((book.wake(l), book.wake(f)), (Wake::Kick, Wake::Token));
        book.come_out(l);
        assert_eq!(book.wake(l), Wake::Nothing);
        assert_eq!(book.leave(l), None, "f is marked: it is on its way");
        assert_eq!(book.wake(l), Wake::Nothing, "gone");
        book.come_out(f);
        assert_eq!(book.post(f), Post::Inside { arm: true });
        assert_eq!(book.leave(f), None);
        assert!(book.is_empty());
    }

    #[test]
    fn leaving_wakes_one_follower_at_a_time() {
        let mut book = WaitBook::new();
        let ids = ['a', 'b', 'c', 'd'].map(|name| book.join(name));
        let [a, b, c, d] = ids;
        for id in ids {
            let _ = book.post(id);
        }
        book.come_out(c);
        assert_eq!(book.post(c), Post::Follower, "now on top, above d and b");
        assert_eq!(book.leave(a), Some(c));
        assert_eq!(*book.token(c), 'c');
        assert_eq!(book.leave(d), None, "c is on its way");
        book.come_out(c);
        assert_eq!(book.leave(c), Some(b));
        assert_eq!(book.leave(b), None);
    }

    #[test]
    fn the_last_active_call_arms_for_the_one_inside() {
        let mut book = WaitBook::new();
        assert!(!book.activate(), "nobody is inside");
        let (l, f) = (book.join(()), book.join(()));
        let _ = book.post(l);
        assert!(book.activate() && book.activate());
        book.come_out(l);
        assert_eq!(book.post(f), Post::Inside { arm: false });
        assert!(!book.retire(), "another is active");
        assert!(book.retire());
        assert!(book.another_inside(Some(l)) && book.another_inside(None));
        assert!(!book.another_inside(Some(f)));
        assert!(book.activate());
        book.come_out(f);
        assert!(!book.retire(), "whoever goes inside next arms itself");
        assert_eq!(book.inside(), None);
    }
}
