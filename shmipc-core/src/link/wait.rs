//! The one descriptor that a thread of a session sleeps on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::bell::{add_one, eventfd};
use crate::error::OsError;

const SOCKET: u64 = 0;
const PEER: u64 = 1;
const BELL: u64 = 2;
const KICK: u64 = 3;

/// What ended a wait. Nothing set: the time is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// The socket has frames, or its end.
    pub socket: bool,
    /// The socket can take a frame again; only if that was asked for.
    pub writable: bool,
    /// The peer's process has ended.
    pub peer_died: bool,
    /// The peer has rung the eventfd bell.
    pub bell: bool,
    /// A thread of this process has kicked.
    pub kick: bool,
}

impl Woken {
    /// True if the time was over before anything happened.
    pub fn timed_out(self) -> bool {
        self == Self::default()
    }
}

/// The descriptors of a [`WaitSet`] that watches nothing yet. They are made in the handshake, where a side that has
/// none left can still tell its peer.
#[derive(Debug)]
pub struct WaitParts {
    epoll: Epoll,
    kick: OwnedFd,
}

impl WaitParts {
    /// Makes an epoll and an eventfd.
    ///
    /// # Errors
    /// [`OsError`] without descriptors or memory.
    pub fn new() -> Result<Self, OsError> {
        Ok(Self { epoll: new_epoll()?, kick: eventfd()? })
    }
}

/// One epoll over everything that can end a sleep. See the module's picture.
#[derive(Debug)]
pub struct WaitSet {
    epoll: Epoll,
    kick: OwnedFd,
}

impl WaitSet {
    /// Watches a session's socket, the peer's pidfd and our eventfd, which must stay open for as long.
    ///
    /// # Errors
    /// [`OsError`] without memory, or if the user has too much to watch (`fs.epoll.max_user_watches`).
    pub fn new(
        parts: WaitParts,
        socket: BorrowedFd<'_>,
        peer: Option<BorrowedFd<'_>>,
        bell: Option<BorrowedFd<'_>>,
    ) -> Result<Self, OsError> {
        let WaitParts { epoll, kick } = parts;
        // K2.
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        watch(&epoll, socket, socket_events(false), SOCKET)?;
        if let Some(peer) = peer {
            watch(&epoll, peer, EpollFlags::EPOLLIN, PEER)?;
        }
        if let Some(bell) = bell {
            watch(&epoll, bell, edge, BELL)?;
        }
        watch(&epoll, kick.as_fd(), edge, KICK)?;
        Ok(Self { epoll, kick })
    }

    /// **Blocks** until something happens or `timeout` is over (`None`: never; rounded up to whole
    /// milliseconds). Signals do not end it.
    ///
    /// # Errors
    /// [`OsError`] if `epoll_wait` fails.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Woken, OsError> {
        let mut events = [EpollEvent::empty(); 4];
        let mut woken = Woken::default();
        let happened = epoll_wait(&self.epoll, &mut events, timeout)?;
        for event in events.iter().take(happened) {
            match event.data() {
                SOCKET => {
                    let flags = event.events();
                    woken.writable = flags.contains(EpollFlags::EPOLLOUT);
                    woken.socket = flags != EpollFlags::EPOLLOUT;
                }
                PEER => woken.peer_died = true,
                BELL => woken.bell = true,
                _ => woken.kick = true,
            }
        }
        Ok(woken)
    }

    /// Ends the wait of the thread inside, or the next one.
    pub fn kick(&self) {
        // An eventfd that never blocks takes every write; a full one has woken (K2).
        let _ = add_one(&self.kick);
    }

    /// Whether `socket`, the one given to [`new`](Self::new), also wakes when it can take a frame.
    ///
    /// # Errors
    /// [`OsError`] if `epoll_ctl` fails.
    pub fn watch_writable(&self, socket: BorrowedFd<'_>, on: bool) -> Result<(), OsError> {
        rewatch(&self.epoll, socket, socket_events(on), SOCKET)
    }
}

impl AsFd for WaitSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// What a connected socket is watched for.
fn socket_events(writable: bool) -> EpollFlags {
    let read = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
    if writable { read | EpollFlags::EPOLLOUT } else { read }
}

pub(crate) fn new_epoll() -> Result<Epoll, OsError> {
    Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
        .map_err(|errno| OsError::new("epoll_create1", errno))
}

pub(crate) fn watch(
    epoll: &Epoll,
    fd: BorrowedFd<'_>,
    events: EpollFlags,
    data: u64,
) -> Result<(), OsError> {
    epoll
        .add(fd, EpollEvent::new(events, data))
        .map_err(|errno| OsError::new("epoll_ctl(EPOLL_CTL_ADD)", errno))
}

pub(crate) fn rewatch(
    epoll: &Epoll,
    fd: BorrowedFd<'_>,
    events: EpollFlags,
    data: u64,
) -> Result<(), OsError> {
    epoll
        .modify(fd, &mut EpollEvent::new(events, data))
        .map_err(|errno| OsError::new("epoll_ctl(EPOLL_CTL_MOD)", errno))
}

/// `epoll_wait` that takes no notice of signals; how many events there were.
pub(crate) fn epoll_wait(
    epoll: &Epoll,
    events: &mut [EpollEvent],
    timeout: Option<Duration>,
) -> Result<usize, OsError> {
    through_signals("epoll_wait", timeout, |ms| {
        let ms = ms.map_or(EpollTimeout::NONE, |ms| ms.try_into().unwrap_or(EpollTimeout::MAX));
        epoll.wait(events, ms)
    })
}

/// **Blocks** until `fd` can be read or written, as far as asked for, has ended or failed, or the time
/// is over. True if something happened.
///
/// # Errors
/// [`OsError`] if `poll` fails.
pub fn wait_ready(
    fd: BorrowedFd<'_>,
    readable: bool,
    writable: bool,
    timeout: Option<Duration>,
) -> Result<bool, OsError> {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::POLLIN, readable);
    flags.set(PollFlags::POLLOUT, writable);
    let happened = through_signals("poll", timeout, |ms| {
        let ms = ms.map_or(PollTimeout::NONE, |ms| ms.try_into().unwrap_or(PollTimeout::MAX));
        poll(&mut [PollFd::new(fd, flags)], ms)
    })?;
    Ok(happened > 0)
}

/// Repeats `call`, which waits for so many milliseconds at most, until no signal interrupts it.
pub(super) fn through_signals<T>(
    name: &'static str,
    timeout: Option<Duration>,
    mut call: impl FnMut(Option<u32>) -> Result<T, Errno>,
) -> Result<T, OsError> {
    let mut left = timeout;
    let mut deadline = None;
    loop {
        let before = left.map(|_| Instant::now());
        match call(left.map(whole_millis)) {
            Err(Errno::EINTR) => {
                // The deadline counts from the first attempt.
                deadline = deadline.or_else(|| before?.checked_add(left?));
                left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            }
            Err(errno) => return Err(OsError::new(name, errno)),
            Ok(value) => return Ok(value),
        }
    }
}

/// Milliseconds, rounded up: a wait never ends early, and a short one is not a busy loop.
pub(super) fn whole_millis(duration: Duration) -> u32 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    u32::try_from(millis).unwrap_or(u32::MAX)
}
