//! How an upgradable listener comes to be: bound here, or taken over from a running server.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::epoll::Epoll;
use nix::sys::socket::{UnixAddr, getsockname, getsockopt, sockopt};
use nix::sys::stat::{fstat, stat};

use super::socket_file::{Bound, SocketFile, bind_address, has_ended, with_suffix};
use super::upgrades::{ANSWER, BEFORE, Upgrades, door_options, failed};
use super::{Acceptor, ListenOptions};
use crate::config::Config;
use crate::error::{ListenError, OsError, UpgradeRefusal};
use crate::link::{self, Address, PeerSocket};
use crate::mem::{self, Passed};
use crate::upgrade::{self, Failure, Heard, Incoming, Line, Message, Successor, message_of};
use crate::wire::{Claim, Frame, Offer};

/// Before another look at who has the path.
const PAUSE: Duration = Duration::from_millis(10);
/// A path may belong to somebody whose upgrade socket is not there: a server that starts, or one that has
/// just died. If that does not change, it is one that cannot be taken over from.
const IN_USE_FOR: Duration = Duration::from_secs(1);

/// An upgradable listener on its way. It has no thread: it works inside [`progress`](Self::progress).
///
/// `AsFd` is an epoll that is readable when `progress` has something to do.
#[derive(Debug)]
pub struct Binding {
    place: Place,
    upgrade: Address,
    options: ListenOptions,
    config: Config,
    ready_within: Duration,
    epoll: Epoll,
    /// To the running server.
    line: Option<Line>,
    state: Successor,
    /// This process.
    process: Option<OwnedFd>,
    retry_at: Option<Instant>,
    /// Since when the path belongs to somebody whom we cannot reach.
    in_use_since: Option<Instant>,
    give_up_at: Option<Instant>,
}

/// Where the listener is to be.
#[derive(Debug)]
enum Place {
    Address(Address),
    /// A listening socket that somebody else has made.
    Passed(Option<OwnedFd>),
}

impl Binding {
    /// A listener at `address`, a path or `@name`; its upgrade socket is where
    /// [`ListenOptions::upgrade_at`] says.
    ///
    /// The application may take `ready_within` from the end of [`progress`](Self::progress) until it is ready
    /// to accept, if there is a server before it.
    ///
    /// # Errors
    /// [`ListenError::BadPath`], or what the operating system says.
    pub fn new(
        address: impl AsRef<Path>,
        options: ListenOptions,
        config: Config,
        ready_within: Duration,
    ) -> Result<Self, ListenError> {
        let place = Place::Address(parse(address.as_ref())?);
        let beside = || with_suffix(address.as_ref(), ".upgrade");
        let upgrade = options.upgrade_at.clone().unwrap_or_else(beside);
        Self::start(place, &upgrade, options, config, ready_within)
    }

    /// A listener that somebody else has made, such as systemd, with an upgrade socket at `upgrade`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_listener(
        listener: UnixListener,
        upgrade: impl AsRef<Path>,
        options: ListenOptions,
        config: Config,
        ready_within: Duration,
    ) -> Result<Self, ListenError> {
        let socket = OwnedFd::from(listener);
        link::set_nonblocking(socket.as_fd())?;
        let place = Place::Passed(Some(socket));
        Self::start(place, upgrade.as_ref(), options, config, ready_within)
    }

    fn start(
        place: Place,
        upgrade: &Path,
        options: ListenOptions,
        config: Config,
        ready_within: Duration,
    ) -> Result<Self, ListenError> {
        if nix::unistd::getpid().as_raw() == 1 {
            tracing::warn!(
                "this server is process 1 of its pid namespace: when it ends after an upgrade, the kernel kills its successor in the same namespace; start it below an init, or start successors in containers of their own"
            );
        }
        Ok(Self {
            place,
            upgrade: parse(upgrade)?,
            options,
            config,
            ready_within,
            epoll: link::new_epoll()?,
            line: None,
            state: Successor::Claiming,
            process: mem::pidfd_of_self()?,
            retry_at: None,
            in_use_since: None,
            give_up_at: None,
        })
    }

    /// Does everything that can be done now. Never blocks. `None`: to be called again when the descriptor
    /// becomes readable, or at [`next_deadline`](Self::next_deadline).
    ///
    /// The acceptor of a listener that was taken over accepts after [`Acceptor::try_ready`], or the first
    /// [`Acceptor::try_accept`].
    ///
    /// # Errors
    /// As [`Acceptor::bind`]; [`ListenError::UpgradeRefused`] and the like if the running server does not let
    /// us take over. After an error it is to be dropped.
    pub fn progress(&mut self, now: Instant) -> Result<Option<Acceptor>, ListenError> {
        let give_up_at = self.give_up_at.or_else(|| now.checked_add(ANSWER.saturating_mul(2)));
        self.give_up_at = give_up_at;
        let late = give_up_at.is_some_and(|at| now >= at);
        if self.retry_at.take_if(|at| now >= *at).is_none() && self.retry_at.is_some() {
            return Ok(None);
        }
        if self.line.is_none() {
            match link::try_connect(&self.upgrade).map_err(|error| (error.code, error)) {
                Ok(socket) if !has_ended(&socket) => self.claim(socket)?,
                Ok(_) | Err((libc::ENOENT | libc::ECONNREFUSED, _)) => match self.bind() {
                    Err(ListenError::InUse { .. }) if self.may_pass(now) => {
                        return Ok(self.pause(now));
                    }
                    bound => return bound.map(Some),
                },
                Err((libc::EAGAIN, _)) if !late => return Ok(self.pause(now)),
                Err((libc::EAGAIN, _)) => return Err(ListenError::UpgradeTimedOut),
                Err((code, error)) => return Err(self.unreachable(code, error)),
            }
        }
        let offer = self.listen(late)?;
        match (self.state, offer) {
            (Successor::Holding, Some(offer)) => self.take(*offer).map(Some),
            (Successor::Failed(Failure::Gone), _) if !late => {
                self.hang_up();
                Ok(self.pause(now))
            }
            (Successor::Failed(failure), _) => Err(failed(failure)),
            _ => Ok(None),
        }
    }

    /// When [`progress`](Self::progress) is to be called even if the descriptor is not readable.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.retry_at.or(self.give_up_at)
    }

    /// **Blocks** until the listener is there, ours or taken over.
    ///
    /// # Errors
    /// As [`progress`](Self::progress).
    pub fn complete(mut self) -> Result<Acceptor, ListenError> {
        loop {
            if let Some(acceptor) = self.progress(Instant::now())? {
                return Ok(acceptor);
            }
            let next = self.next_deadline();
            let left = next.map(|next| next.saturating_duration_since(Instant::now()));
            link::wait_ready(self.as_fd(), true, false, left)?;
        }
    }

    fn pause(&mut self, now: Instant) -> Option<Acceptor> {
        self.retry_at = now.checked_add(PAUSE);
        None
    }

    fn may_pass(&mut self, now: Instant) -> bool {
        now.saturating_duration_since(*self.in_use_since.get_or_insert(now)) < IN_USE_FOR
    }

    /// There is no server that could hand over. The upgrade socket comes first: whoever holds its lock is the
    /// one that others take over from.
    fn bind(&mut self) -> Result<Acceptor, ListenError> {
        let door = bind_address(&self.upgrade, &door_options())?;
        let bound = match &mut self.place {
            Place::Address(address) => bind_address(address, &self.options)?,
            Place::Passed(socket) => {
                Bound { socket: socket.take().ok_or(ListenError::Closed)?, file: None }
            }
        };
        let (options, config) = (self.options.clone(), self.config.clone());
        let authorizer = options.upgrade_authorizer.clone();
        Acceptor::with_upgrades(bound, options, config, |epoll| {
            Upgrades::first(door, epoll, authorizer).map(Some)
        })
    }

    // --- taking over ------------------------------------------------------------------------------

    fn claim(&mut self, socket: PeerSocket) -> Result<(), ListenError> {
        let mut line = Line::new(socket, &self.epoll, BEFORE)?;
        let cred = line.cred()?;
        if !self.options.upgrade_authorizer.admits(cred) {
            return Err(ListenError::ForeignServer { uid: cred.uid });
        }
        let claim = Claim {
            version: upgrade::VERSION,
            patience: self.ready_within,
            app_version: self.config.app_version,
            app_name: self.config.app_name.clone(),
            pidfd: None,
        };
        let fds: Vec<_> = self.process.iter().map(AsFd::as_fd).collect();
        line.post(Message::Claim(Ok(())));
        // It is the first thing on a new connection: there is room for it, or nobody to read it.
        let _ = line.send_next(|_| (claim.encode(!fds.is_empty()), fds))?;
        self.line = Some(line);
        self.state = Successor::Claiming;
        self.in_use_since = None;
        Ok(())
    }

    /// Hears what the running server says.
    fn listen(&mut self, late: bool) -> Result<Option<Box<Offer>>, ListenError> {
        let Some(line) = &mut self.line else { return Ok(None) };
        let incoming = line.receive().map_err(|error| match error {
            link::LinkError::Os(error) => ListenError::Os(error),
            link::LinkError::Misbehaved(_) => failed(Failure::Refused(UpgradeRefusal::Nonsense)),
        })?;
        let heard = match &incoming {
            Incoming::Frame(frame) => {
                message_of(frame, |_| Ok(())).map_or(Heard::Broken, Heard::Message)
            }
            Incoming::End => Heard::Gone,
            Incoming::Nothing if late => Heard::Late,
            Incoming::Nothing => return Ok(None),
        };
        // Hanging up, the one thing that it may want done, comes by itself.
        self.state.hear(heard);
        match incoming {
            Incoming::Frame(Frame::Offer(offer)) => Ok(Some(offer)),
            _ => Ok(None),
        }
    }

    /// The sockets are ours to use, if they are what we were to listen on.
    fn take(&mut self, offer: Offer) -> Result<Acceptor, ListenError> {
        let Some(mut line) = self.line.take() else { return Err(ListenError::Closed) };
        let nonsense = |_| failed(Failure::Refused(UpgradeRefusal::Nonsense));
        let pidfd = offer.pidfd.map(Passed::into_pidfd).transpose().map_err(nonsense)?;
        line.meet(pidfd, &self.epoll)?;
        if !listens(&offer.listener) || !listens(&offer.upgrade) {
            return Err(self.other_path());
        }
        let bound = Bound {
            file: match (&self.place, offer.lock) {
                (Place::Address(Address::Path(path)), Some(lock)) => {
                    Some(SocketFile::inherit(path, offer.file, lock.into_trusted())?)
                }
                // Of a path without a lock the file is somebody else's, such as systemd's.
                (_, None) => None,
                _ => return Err(self.other_path()),
            },
            socket: offer.listener.into_trusted(),
        };
        let door = Bound {
            file: match (&self.upgrade, offer.upgrade_lock) {
                (Address::Path(path), Some(lock)) => {
                    Some(SocketFile::inherit(path, offer.upgrade_file, lock.into_trusted())?)
                }
                (Address::Abstract(_), None) => None,
                _ => return Err(self.other_path()),
            },
            socket: offer.upgrade.into_trusted(),
        };
        if !self.is_right(&bound.socket, bound.file.is_some()) {
            return Err(self.other_path());
        }
        let (options, config) = (self.options.clone(), self.config.clone());
        let authorizer = options.upgrade_authorizer.clone();
        Acceptor::with_upgrades(bound, options, config, |epoll| {
            Upgrades::following(door, epoll, offer.generation, line, authorizer).map(Some)
        })
    }

    /// Whether this is the socket that we were to listen on.
    fn is_right(&self, socket: &OwnedFd, has_file: bool) -> bool {
        let bound = || getsockname::<UnixAddr>(socket.as_raw_fd()).ok();
        match &self.place {
            // The inode of ours has told.
            Place::Address(Address::Path(_)) if has_file => true,
            Place::Address(Address::Path(path)) => {
                bound().is_some_and(|bound| bound.path().is_some_and(|bound| is_same(bound, path)))
            }
            Place::Address(Address::Abstract(name)) => {
                bound().is_some_and(|bound| bound.as_abstract() == Some(name))
            }
            Place::Passed(passed) => {
                let inode = |fd: &OwnedFd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).ok();
                passed.as_ref().is_some_and(|passed| inode(passed) == inode(socket))
            }
        }
    }

    fn other_path(&self) -> ListenError {
        let path = match &self.place {
            Place::Address(address) => address.to_string(),
            Place::Passed(_) => "the socket that was passed".into(),
        };
        ListenError::OtherPath { path }
    }

    /// Why the upgrade socket cannot be reached. Its mode lets in its owner only, so the error names the owner.
    fn unreachable(&self, code: i32, error: OsError) -> ListenError {
        let Address::Path(path) = &self.upgrade else { return error.into() };
        match std::fs::symlink_metadata(path) {
            Ok(meta) if code == libc::EACCES => ListenError::ForeignServer { uid: meta.uid() },
            _ => error.into(),
        }
    }

    fn hang_up(&mut self) {
        if let Some(line) = self.line.take() {
            line.hang_up(&self.epoll);
        }
    }
}

/// Whether two paths lead to the same file, as /run and /var/run do.
fn is_same(one: &Path, other: &Path) -> bool {
    let inode = |path| stat(path).map(|stat| (stat.st_dev, stat.st_ino)).ok();
    inode(one).is_some_and(|one| inode(other) == Some(one))
}

fn listens(socket: &Passed) -> bool {
    getsockopt(socket, sockopt::AcceptConn).unwrap_or(false)
}

fn parse(address: &Path) -> Result<Address, ListenError> {
    Address::parse(address)
        .map_err(|_| ListenError::BadPath { path: address.display().to_string() })
}

impl AsFd for Binding {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}
