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
//! An event loop that sleeps on the session's descriptor has no place; it is *outside*. It may be asleep
//! in its own kernel wait for many things, or busy with others, so it leads only while no thread wants
//! to (N10):
//!
//! ```text
//! V1  gate { come_back }: somebody inside? they drive, V3
//!     take the edges of the descriptor, read the socket; somebody inside now? kick, if any was taken
//! V2  drive (lock)                            V3  result? take it; else leave a waker
//! V4  gate { post_outside: true: a := drained, arm tail at a }; news(tail, a)? V1
//! V5  sleep: on the descriptor, and for its wakers
//! ```
//!
//! Who delivers something does it first, then asks [`WaitBook::wake`] in a gate section (N3), then,
//! after the section, kicks or sets the token.

use slab::Slab;

/// The place of a waiting thread in a [`WaitBook`], valid until it leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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

/// What a thread that leaves has to do for those who stay (N7, N10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pass {
    /// Nothing.
    Nothing,
    /// Set the token of this follower, so that it takes the lead.
    Token(PlaceId),
    /// Arm the record word at `drained`, in this gate section, look at the tail after it, and if there
    /// is news kick the event loop outside.
    Arm,
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
    /// An event loop sleeps on the session's descriptor, or is about to.
    pub(super) outside: bool,
    /// The follower that was parked last; the others are below it.
    pub(super) top: Option<PlaceId>,
    /// Places that are marked: woken, and neither waiting again nor gone yet.
    marked: usize,
    /// Calls that drain for all while somebody is inside or outside (N8).
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
        let (inside, outside, top) = (None, false, None);
        Self { places: Slab::new(), inside, outside, top, marked: 0, active: 0 }
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
    /// If it names a follower, that is the one that parked last, since its caches are warm and the
    /// others may sleep on.
    pub fn leave(&mut self, me: PlaceId) -> Pass {
        self.come_out(me);
        self.unmark(me);
        self.places.remove(me.0);
        if self.inside.is_some() || self.marked > 0 {
            return Pass::Nothing;
        }
        match self.top {
            Some(next) => {
                self.mark(next);
                Pass::Token(next)
            }
            None if self.outside && self.active == 0 => Pass::Arm,
            None => Pass::Nothing,
        }
    }

    /// An event loop is going to sleep outside (V4).
    ///
    /// If it returns true the caller arms the record word at `drained`, in this gate section, and looks
    /// at the tail after it. Otherwise somebody is inside, or active, who will do that when leaving.
    #[must_use]
    pub fn post_outside(&mut self) -> bool {
        self.outside = true;
        self.inside.is_none() && self.active == 0
    }

    /// The event loop is about to drive (V1). Returns whether nobody is inside; else what the descriptor
    /// has belongs to them, and they drive.
    #[must_use]
    pub fn come_back(&mut self) -> bool {
        self.outside = false;
        self.inside.is_none()
    }

    /// Whether a call that drives by itself ought to count as active (N8): somebody sleeps in the
    /// kernel, inside or outside.
    pub fn anybody_asleep(&self) -> bool {
        self.inside.is_some() || self.outside
    }

    /// Counts the calling thread, which is about to wait for a record by driving itself, as active,
    /// if somebody sleeps in the kernel (N8). Then, in this gate section, it disarms the record word.
    ///
    /// While somebody is active, records wake nobody: the active call drains them for all.
    #[must_use]
    pub fn activate(&mut self) -> bool {
        let somebody = self.anybody_asleep();
        self.active += usize::from(somebody);
        somebody
    }

    /// Ends what [`activate`](Self::activate) began: the thread leaves, or is going to post.
    ///
    /// If it returns true the caller arms the record word at `drained`, in this gate section, looks
    /// at the tail after it, and if there is news kicks the one inside or outside.
    #[must_use]
    pub fn retire(&mut self) -> bool {
        debug_assert!(self.active > 0);
        self.active -= 1;
        self.active == 0 && self.anybody_asleep()
    }

    /// Who is inside.
    pub fn inside(&self) -> Option<PlaceId> {
        self.inside
    }

    /// Whether somebody other than `me` sleeps in the kernel, who must be kicked if `me` took what was
    /// to wake them (N4).
    pub fn another_asleep(&self, me: Option<PlaceId>) -> bool {
        match self.inside {
            Some(inside) => me != Some(inside),
            None => self.outside,
        }
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
mod tests;
