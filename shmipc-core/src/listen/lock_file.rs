//! The lock that decides between two servers at one path.
//!
//! ```text
//!   flock(PATH.lock)       exclusive; of the open file, so it travels to a successor, and a forked child has it too
//!   fcntl(PATH.lock) read  shared; of the process, so every server that may serve at the path has one, and a forked
//!                          child has none
//! ```
//!
//! # Rules
//! * A lock counts only while `PATH.lock` leads to the locked file. The process that gets the lock looks again, and starts over if
//!   the file was removed or replaced meanwhile. So the file may be removed by its holder at the end, and by
//!   anything else at any time.
//! * The file may belong to another user, and need not be writable: it is opened without `O_CREAT` first, since
//!   `fs.protected_regular` forbids that flag on files of others, and for reading alone if need be.
//! * A file that is locked, but by no process that may serve (no `fcntl` lock, and the process that listens on the socket
//!   has ended), was left to a forked child. It is replaced. The replacement is made under an exclusive `fcntl`
//!   lock, so that of two servers that find the same file one does it.
//! * `fcntl` locks go when the process closes any descriptor of the file, so a process that listens at the path does not
//!   open the file again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::stat::{Mode, fchmod, futimens};
use nix::sys::time::TimeSpec;

use super::socket_file::{in_use, inode_of, with_suffix};
use crate::error::{ListenError, OsError};
use crate::link::{self, Address};
use crate::log;
use crate::mem;
use crate::wire::Inode;

/// How often the file may be removed by others while it is being taken.
const ATTEMPTS: usize = 16;

/// The lock of a path. Dropping it gives the lock up, unless another process holds a duplicate.
#[derive(Debug)]
pub(super) struct LockFile {
    path: PathBuf,
    file: File,
    inode: Inode,
}

/// A lock that was taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) lock: LockFile,
    /// The server before has ended, and a forked child of it still holds its socket.
    pub(super) orphaned: bool,
}

impl LockFile {
    /// Takes the lock of the socket at `socket`.
    pub(super) fn take(socket: &Path) -> Result<Taken, ListenError> {
        if listener_of(socket) == Some(nix::unistd::getpid().as_raw()) {
            return Err(in_use(socket));
        }
        Self::take_anew(socket)
    }

    /// The same for a server that listens there, of which the lock file was removed.
    pub(super) fn take_anew(socket: &Path) -> Result<Taken, ListenError> {
        let path = with_suffix(socket, ".lock");
        let mut orphaned = false;
        for _ in 0..ATTEMPTS {
            let Some(file) = open(&path)? else { continue };
            let meta = file.metadata().map_err(|error| failed(&path, "fstat", &error))?;
            if !meta.is_file() {
                return Err(ListenError::Occupied { path: path.display().to_string() });
            }
            let inode = inode_of(&meta);
            if !lock(&file, &path)? {
                if !is_orphaned(&file, socket) {
                    return Err(in_use(socket));
                }
                if is_at(&path, inode) {
                    let _ = fs::remove_file(&path);
                    let path = path.display().to_string();
                    log::line(move || {
                        tracing::warn!(
                            path,
                            "the server before has ended, and a forked child of it holds its lock: it is replaced"
                        )
                    });
                }
                orphaned = true;
                continue;
            }
            if is_at(&path, inode) {
                return Ok(Taken { lock: Self::hold(path, file, inode), orphaned });
            }
        }
        Err(in_use(socket))
    }

    /// The lock of the socket at `socket`, which the server before has passed on.
    pub(super) fn inherit(socket: &Path, lock: OwnedFd) -> Result<Self, OsError> {
        let file = File::from(lock);
        let meta = file.metadata().map_err(|error| OsError::from_io("fstat", &error))?;
        Ok(Self::hold(with_suffix(socket, ".lock"), file, inode_of(&meta)))
    }

    fn hold(path: PathBuf, file: File, inode: Inode) -> Self {
        // Without it, a server that comes later may take this one for a forked child, but only when this process has
        // ended or does not listen.
        let _ = set_lock(&file, libc::F_RDLCK);
        // Also if the process changes its directory.
        let path = std::path::absolute(&path).unwrap_or(path);
        Self { path, file, inode }
    }

    /// Whether the path of the lock still leads to it.
    pub(super) fn is_in_place(&self) -> bool {
        is_at(&self.path, self.inode)
    }

    /// Makes the file look used, to programs that remove old files.
    pub(super) fn touch(&self) {
        let _ = futimens(&self.file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW);
    }

    /// Removes the file. No other process can take the lock between this and the drop.
    pub(super) fn remove(&self) {
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens the file, or makes it. `None` if another process was quicker.
fn open(path: &Path) -> Result<Option<File>, ListenError> {
    // Not to follow a link, nor to wait for the other end of a fifo.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    let opened = match options.clone().write(true).open(path) {
        // `flock` needs no right to write.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.open(path),
        opened => opened,
    };
    let error = match opened {
        Ok(file) => return Ok(Some(file)),
        Err(error) => error,
    };
    match error.raw_os_error() {
        Some(libc::ENOENT) => {}
        Some(libc::ELOOP) => {
            return Err(ListenError::Occupied { path: path.display().to_string() });
        }
        Some(libc::EACCES | libc::EPERM) => {
            let owner = fs::symlink_metadata(path).map(|meta| meta.uid());
            return Err(match owner {
                Ok(uid) => ListenError::ForeignLock { path: path.display().to_string(), uid },
                Err(_) => failed(path, "open", &error),
            });
        }
        _ => return Err(failed(path, "open", &error)),
    }
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            // Whatever the umask has left of it.
            let _ = fchmod(&file, Mode::S_IRUSR | Mode::S_IWUSR);
            Ok(Some(file))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(failed(path, "open", &error)),
    }
}

/// `false` if it is locked.
fn lock(file: &File, path: &Path) -> Result<bool, ListenError> {
    // Not `nix::fcntl::Flock`, which unlocks when dropped: that would take the lock from a process that
    // holds a duplicate, such as a successor or our own parent.
    #[allow(deprecated)]
    let locked = nix::fcntl::flock(file.as_raw_fd(), nix::fcntl::FlockArg::LockExclusiveNonblock);
    match locked {
        Ok(()) => Ok(true),
        Err(Errno::EWOULDBLOCK) => Ok(false),
        // What is left is the look at the socket, before and after it is bound.
        Err(Errno::ENOLCK | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EINVAL) => {
            let path = path.display().to_string();
            log::line(move || {
                tracing::warn!(
                    path,
                    "this file system has no locks: two servers that start here at the same time are not kept apart"
                )
            });
            Ok(true)
        }
        Err(errno) => Err(failed(path, "flock", &errno.into())),
    }
}

/// Whether the lock is held by no process that may serve, but by a forked child of one. Everything that is not known
/// for certain counts as no. If it is so, other servers are kept from finding the same until `file` is closed.
fn is_orphaned(file: &File, socket: &Path) -> bool {
    listener_of(socket).is_some_and(mem::has_ended) && set_lock(file, libc::F_WRLCK).is_ok()
}

/// The process that was the last to call `listen` on the socket, as far as it can be known.
fn listener_of(socket: &Path) -> Option<i32> {
    let connected = link::try_connect(&Address::Path(socket.to_owned())).ok()?;
    link::peer_cred(connected.as_fd()).ok().map(|cred| cred.pid)
}

fn set_lock(file: &File, kind: i32) -> Result<(), Errno> {
    // All of the file.
    let lock = libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_SETLK(&lock)).map(drop)
}

fn is_at(path: &Path, inode: Inode) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| inode_of(&meta) == inode)
}

fn failed(path: &Path, call: &'static str, error: &io::Error) -> ListenError {
    ListenError::Path { path: path.display().to_string(), error: OsError::from_io(call, error) }
}

impl AsFd for LockFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
