//! A thread that waits: leader inside the kernel wait, or follower parked (steps W3 to X of
//! [`crate::notify::wait`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Instant;

use crossbeam_utils::sync::Parker;

use crate::error::SessionError;
use crate::notify::event::{self, Cursor};
use crate::notify::wait::{Pass, PlaceId, Post, Wake};
use crate::steps::{self, Step};

use super::shared::Shared;
use super::spin::{ask_for_cpus, cpus, show_cpu};

/// A thread's place among those that wait in a session; leaves it on drop, also in a panic (X).
///
/// ```text
/// let waiting = session.wait_here();
/// loop {
///     if let Ready(result) = poll(waiting.waker()) { return result }
///     if !waiting.sleep(deadline) { return timed out }
/// }
/// ```
pub struct Waiting<'a> {
    shared: &'a Arc<Shared>,
    me: PlaceId,
    parker: Parker,
    told: Arc<Told>,
    waker: Waker,
}

/// The waker of a waiting thread.
struct Told {
    shared: Arc<Shared>,
    me: PlaceId,
    /// Something was delivered since the thread last looked.
    flag: AtomicBool,
}

impl std::task::Wake for Told {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    /// D3: what was delivered is in its place; now the gate says where the thread is.
    fn wake_by_ref(self: &Arc<Self>) {
        if self.shared.is_foreign() {
            return;
        }
        self.flag.store(true, Ordering::Release);
        let gate = self.shared.gate();
        let crowded = gate.len() >= cpus();
        let action = gate_wake(gate, self.me);
        if crowded && !matches!(action, Action::Nothing) {
            self.shared.woken.fetch_add(1, Ordering::Relaxed);
        }
        match action {
            Action::Kick => self.shared.link.kick(),
            Action::Token(unparker) => unparker.unpark(),
            Action::Nothing => {}
        }
    }
}

enum Action {
    Kick,
    Token(crossbeam_utils::sync::Unparker),
    Nothing,
}

fn gate_wake(
    mut gate: std::sync::MutexGuard<
        '_,
        crate::notify::wait::WaitBook<crossbeam_utils::sync::Unparker>,
    >,
    who: PlaceId,
) -> Action {
    match gate.wake(who) {
        Wake::Kick => Action::Kick,
        Wake::Token => Action::Token(gate.token(who).clone()),
        Wake::Nothing => Action::Nothing,
    }
}

impl<'a> Waiting<'a> {
    /// Takes a place, running.
    pub(super) fn new(shared: &'a Arc<Shared>) -> Self {
        let parker = Parker::new();
        let me = match shared.is_foreign() {
            false => shared.gate().join(parker.unparker().clone()),
            // Nothing is done with it.
            true => PlaceId::default(),
        };
        let told = Arc::new(Told { shared: Arc::clone(shared), me, flag: AtomicBool::new(false) });
        let waker = Waker::from(Arc::clone(&told));
        Self { shared, me, parker, told, waker }
    }

    /// What wakes this thread, to be given to `poll_*` before each [`sleep`](Self::sleep).
    pub fn waker(&self) -> &Waker {
        // Whatever is delivered from here on is seen by the look in `sleep`.
        self.told.flag.store(false, Ordering::Release);
        &self.waker
    }

    /// **Blocks** until something was delivered, may have been, or `deadline` is over; false in the
    /// last case. The thread inside drives for all when it comes out. Returns at once in a forked child.
    pub fn sleep(&self, deadline: Option<Instant>) -> bool {
        if self.shared.is_foreign() {
            return true;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            // Whoever polls by short waits may never be inside: the end must not be hidden from them.
            self.shared.glance_now_and_then();
            return false;
        }
        show_cpu(self.shared);
        let (posted, armed) = self.post();
        // The fence is in there; the flag was set before its waker looks for us at the gate.
        let news = news_since(self.shared, armed);
        if !news && !self.told.flag.load(Ordering::Acquire) {
            let began = Instant::now();
            match posted {
                Post::Inside { .. } => self.wait_inside(deadline),
                Post::Follower => match deadline {
                    Some(deadline) => self.parker.park_deadline(deadline),
                    None => self.parker.park(),
                },
            }
            let woken = Instant::now();
            self.shared.spin.on_woken(woken.saturating_duration_since(began));
            ask_for_cpus(woken);
        }
        {
            let mut gate = self.shared.gate();
            gate.come_out(self.me);
            self.shared.somebody_asleep.store(gate.anybody_asleep(), Ordering::Relaxed);
        }
        self.shared.drive();
        true
    }

    /// W3: takes the lead and arms, or follows.
    fn post(&self) -> (Post, Option<u64>) {
        let mut gate = self.shared.gate();
        let posted = gate.post(self.me);
        self.shared.somebody_asleep.store(true, Ordering::Relaxed);
        let armed = posted == Post::Inside { arm: true };
        (posted, armed.then(|| arm_at_drained(self.shared)))
    }

    /// W6 and W7. If the kernel refuses to wait, the session cannot go on.
    fn wait_inside(&self, deadline: Option<Instant>) {
        self.shared.sleeps.fetch_add(1, Ordering::Relaxed);
        let until = deadline.into_iter().chain(self.shared.do_chores()).min();
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        match self.shared.link.wait(timeout) {
            Ok(woken) => self.shared.on_woken(woken),
            Err(error) => self.shared.end(SessionError::Os(error)),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.shared.is_foreign() {
            return;
        }
        let (mut next, mut armed) = (None, None);
        {
            let mut gate = self.shared.gate();
            match gate.leave(self.me) {
                Pass::Nothing => {}
                Pass::Token(follower) => next = Some(gate.token(follower).clone()),
                Pass::Arm => armed = Some(arm_at_drained(self.shared)),
            }
        }
        if let Some(unparker) = next {
            unparker.unpark();
        }
        kick_if_news(self.shared, armed);
        self.shared.leave_no_ring_owed();
    }
}

impl std::fmt::Debug for Waiting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("place", &self.me).finish_non_exhaustive()
    }
}

/// A call that drives while another thread is inside: as long as it is active, records need not wake
/// the one inside (notify, N8).
pub(super) struct Active<'a> {
    shared: &'a Shared,
}

impl<'a> Active<'a> {
    /// Becomes active if somebody is inside.
    pub(super) fn begin(shared: &'a Shared) -> Option<Self> {
        if !shared.somebody_asleep.load(Ordering::Relaxed) || shared.is_foreign() {
            return None;
        }
        let mut gate = shared.gate();
        gate.activate().then(|| {
            event::disarm(&shared.own, Cursor::Tail);
            Self { shared }
        })
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        if self.shared.is_foreign() {
            return;
        }
        let armed = {
            let mut gate = self.shared.gate();
            gate.retire().then(|| arm_at_drained(self.shared))
        };
        kick_if_news(self.shared, armed);
    }
}

/// Gate held: arms the record word at the position drained, which is to be compared with after it.
pub(super) fn arm_at_drained(shared: &Shared) -> u64 {
    let at = shared.progress.drained();
    event::arm(&shared.own, Cursor::Tail, at);
    steps::reach(Step::Armed);
    at
}

/// Whether the peer has published anything since the word was armed, if it was (N2).
pub(super) fn news_since(shared: &Shared, armed: Option<u64>) -> bool {
    armed.is_some_and(|at| event::news(&shared.own, &shared.peer, Cursor::Tail, at))
}

/// The look of one who armed for somebody asleep (N8, N10).
fn kick_if_news(shared: &Shared, armed: Option<u64>) {
    if news_since(shared, armed) {
        shared.link.kick();
    }
}
