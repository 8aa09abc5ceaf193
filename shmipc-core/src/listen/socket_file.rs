//! Making, watching and removing the socket that clients find.
//!
//! ```text
//!   PATH.lock   which process may bind, replace and remove PATH (`lock_file`)
//!   PATH        the socket
//! ```
//!
//! | when | what |
//! |---|---|
//! | it is bound | the lock is taken; a file that is no socket, and a socket that answers, are left alone (A2); a dead socket is removed; the socket is bound under its final name |
//! | it is watched | once a minute inside of `accept`, by the server that accepts: a file or lock that is missing, or a dead socket in its place, is made again; a living server there ends this listener ([`ListenError::Replaced`]) |
//! | a day has passed | file and lock are touched, so that programs that remove old files keep them |
//! | it ends | file and lock are removed if they are still this server's (A4), unless another process goes on with the socket (`upgrade`, U7) |
//!
//! The kernel shows a socket in `/proc/net/unix` under the name that it was bound to, and programs such as
//! `systemd-tmpfiles` spare sockets whose path they find there. So the socket is bound to its final path, absolute
//! where that fits, and not renamed. Between the removal of a dead socket and `bind` there is no file for some
//! microseconds; clients that come then are refused, as they were by the dead socket.
//!
//! The mode is set on the socket before it is bound: `bind` makes the file with it, less the umask. Only what the umask
//! has taken away is added afterwards, by `fchmodat`, which follows no link; until `listen` no client can connect. A
//! file system that has its own mind about modes (virtiofs, 9p) is used as long as the file is no more open
//! than asked.
//!
//! An attacker who may write to the directory can do all that this module does. The directory is to be writable by
//! the server's user alone.

use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{Backlog, SockFlag, UnixAddr, bind, listen};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, utimensat};
use nix::sys::statfs::statfs;
use nix::sys::time::TimeSpec;

use super::ListenOptions;
use super::lock_file::{LockFile, Taken};
use crate::error::{ListenError, OsError};
use crate::link::{self, Address, PeerSocket};
use crate::log;
use crate::mem::{self, Home};
use crate::wire::Inode;

/// How often a server that accepts looks at its files.
pub(super) const LOOK: Duration = Duration::from_secs(60);
/// How often it touches them: well within the shortest time after which others remove files.
const TOUCH: Duration = Duration::from_secs(24 * 3600);

/// A socket that listens, and what is to be cleaned up after it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) socket: OwnedFd,
    pub(super) file: Option<SocketFile>,
}

/// The file of a listening socket. Dropping it removes the file, unless another process goes on with the socket.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// The inode that we made, or got.
    inode: Inode,
    /// Whose file it is.
    home: Home,
    /// It goes with us.
    removed: bool,
    touched: Instant,
    /// A1.
    lock: LockFile,
}

impl SocketFile {
    /// The file at `path` comes to us with its lock, and stays until it is [ours to remove](Self::remove)
    /// (`upgrade`, U7). The lock keeps others from replacing it; if somebody has done so
    /// nevertheless, the sockets that come along do not belong to the path.
    pub(super) fn inherit(path: &Path, inode: Inode, lock: OwnedFd) -> Result<Self, ListenError> {
        let found = fs::symlink_metadata(path).map(|meta| inode_of(&meta));
        if !found.is_ok_and(|found| found == inode) {
            return Err(ListenError::OtherPath { path: path.display().to_string() });
        }
        let path = absolute(path);
        let lock = LockFile::inherit(&path, lock)?;
        let mut file = Self::new(path, inode, lock, false);
        // The server before may have meant to do it today.
        file.touch(Instant::now());
        Ok(file)
    }

    fn new(path: PathBuf, inode: Inode, lock: LockFile, removed: bool) -> Self {
        Self { path, inode, home: Home::here(), removed, touched: Instant::now(), lock }
    }

    /// Which file it is.
    pub(super) fn inode(&self) -> Inode {
        self.inode
    }

    /// The lock of its path.
    pub(super) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// Whether it is removed when it is dropped.
    pub(super) fn remove(&mut self, removed: bool) {
        self.removed = removed;
    }

    /// Looks whether clients find this socket at its path. A file that is gone, or a dead socket in its place, is
    /// replaced: then the socket that is returned takes the place of the one before, which no client reaches any more.
    ///
    /// # Errors
    /// [`ListenError::Replaced`] if another server listens there. What else goes wrong is logged, and tried again at the
    /// next look.
    pub fn look(
        &mut self,
        options: &ListenOptions,
        now: Instant,
    ) -> Result<Option<OwnedFd>, ListenError> {
        match self.repair(options, now) {
            Ok(made) => Ok(made),
            Err(ListenError::InUse { path }) => Err(ListenError::Replaced { path }),
            Err(error) => {
                let path = self.path.display().to_string();
                log::line(
                    move || tracing::warn!(path, %error, "the socket file is gone, and cannot be made again: no client can connect"),
                );
                Ok(None)
            }
        }
    }

    fn repair(
        &mut self,
        options: &ListenOptions,
        now: Instant,
    ) -> Result<Option<OwnedFd>, ListenError> {
        let in_place = match fs::symlink_metadata(&self.path) {
            Ok(meta) => inode_of(&meta) == self.inode,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // It cannot be seen from here, which says nothing about clients.
            Err(_) => true,
        };
        if !self.lock.is_in_place() {
            match LockFile::take_anew(&self.path) {
                Ok(taken) => self.lock = taken.lock,
                // One that is about to find this socket.
                Err(_) if in_place => {}
                Err(error) => return Err(error),
            }
        }
        if in_place {
            if now.saturating_duration_since(self.touched) >= TOUCH {
                self.touch(now);
            }
            return Ok(None);
        }
        clear(&self.path, false)?;
        let (socket, inode) = make(&self.path, options)?;
        let path = self.path.display().to_string();
        log::line(move || tracing::warn!(path, "the socket file was gone: it was made again"));
        (self.inode, self.touched) = (inode, now);
        Ok(Some(socket))
    }

    fn touch(&mut self, now: Instant) {
        self.touched = now;
        self.lock.touch();
        let flags = UtimensatFlags::NoFollowSymlink;
        let (here, time) = (nix::fcntl::AT_FDCWD, TimeSpec::UTIME_NOW);
        let _ = utimensat(here, &self.path, &time, &time, flags);
    }
}

/// Binds a listening socket of any protocol, by the rules that listeners of this library follow: one server for
/// each path, of which the file is removed when the returned [`SocketFile`] is dropped. The socket never blocks.
/// `address` is a path, or `@name` for an abstract name, which has no file. Where the kernel can refuse descriptors
/// (Linux 6.16), peers can pass none to its connections.
///
/// # Errors
/// [`ListenError::InUse`] if a living server listens there, [`ListenError::Occupied`] if the path is something
/// else than a socket, [`ListenError::ForeignLock`], [`ListenError::TooOpen`], [`ListenError::BadPath`],
/// [`ListenError::Path`], [`ListenError::Os`].
pub fn bind_unix(
    address: impl AsRef<Path>,
    options: &ListenOptions,
) -> Result<(UnixListener, Option<SocketFile>), ListenError> {
    let address = address.as_ref();
    let address = Address::parse(address)
        .map_err(|_| ListenError::BadPath { path: address.display().to_string() })?;
    let Bound { socket, file } = bind_address(&address, options)?;
    mem::pass_rights(socket.as_fd(), false);
    Ok((UnixListener::from(socket), file))
}

/// Binds an address and listens.
pub(super) fn bind_address(
    address: &Address,
    options: &ListenOptions,
) -> Result<Bound, ListenError> {
    match address {
        Address::Abstract(_) => {
            let socket = link::new_socket(SockFlag::SOCK_NONBLOCK)?;
            let unix = address.to_unix().map_err(|errno| OsError::new("bind", errno))?;
            match bind(socket.as_raw_fd(), &unix) {
                Ok(()) => {}
                Err(Errno::EADDRINUSE) => {
                    return Err(ListenError::InUse { path: address.to_string() });
                }
                Err(errno) => return Err(OsError::new("bind", errno).into()),
            }
            start_listening(&socket, options)?;
            Ok(Bound { socket, file: None })
        }
        Address::Path(path) => bind_path(path, options),
    }
}

fn bind_path(path: &Path, options: &ListenOptions) -> Result<Bound, ListenError> {
    let Taken { lock, orphaned } = LockFile::take(path)?;
    let bound = clear(path, orphaned).and_then(|()| make(path, options));
    match bound {
        Ok((socket, inode)) => {
            let path = absolute(path);
            let file = SocketFile::new(path, inode, lock, true);
            Ok(Bound { socket, file: Some(file) })
        }
        Err(error) => {
            lock.remove();
            Err(error)
        }
    }
}

/// A2: removes a socket that no process serves. `orphaned`: it may answer, from a forked child of a server that has ended.
fn clear(path: &Path, orphaned: bool) -> Result<(), ListenError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OsError::from_io("stat", &error).into()),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(ListenError::Occupied { path: path.display().to_string() });
        }
        Ok(_) => {}
    }
    match link::try_connect(&Address::Path(path.to_owned())).map_err(|error| error.code) {
        Err(libc::ECONNREFUSED | libc::ENOENT) => {}
        Ok(socket) if orphaned && has_ended(&socket) => {}
        Ok(_) | Err(libc::EAGAIN | libc::EPROTOTYPE) => return Err(in_use(path)),
        Err(code) => return Err(OsError { call: "connect", code }.into()),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(path, OsError::from_io("unlink", &error)))
        }
        _ => Ok(()),
    }
}

/// Whether the process that listens at the other end has ended.
pub(super) fn has_ended(connected: &PeerSocket) -> bool {
    link::peer_cred(connected.as_fd()).is_ok_and(|cred| mem::has_ended(cred.pid))
}

/// Makes a socket at a free path, which listens.
fn make(path: &Path, options: &ListenOptions) -> Result<(OwnedFd, Inode), ListenError> {
    let socket = link::new_socket(SockFlag::SOCK_NONBLOCK)?;
    // What it cannot do is done afterwards.
    let _ = fchmod(&socket, Mode::from_bits_truncate(options.mode));
    bind_at(&socket, path).map_err(|error| match error.code {
        // A server that takes no lock was quicker.
        libc::EADDRINUSE => in_use(path),
        _ => failed(path, error),
    })?;
    let finished = (|| {
        let look = || {
            fs::symlink_metadata(path)
                .map_err(|error| failed(path, OsError::from_io("stat", &error)))
        };
        give_to_group(path, options)?;
        let meta = look()?;
        if meta.mode() & 0o7777 != options.mode {
            let mode = Mode::from_bits_truncate(options.mode);
            let here = nix::fcntl::AT_FDCWD;
            let changed = fchmodat(here, path, mode, FchmodatFlags::NoFollowSymlink);
            judge_mode(path, look()?.mode() & 0o7777, options.mode, changed)?;
        }
        start_listening(&socket, options)?;
        Ok::<_, ListenError>(inode_of(&meta))
    })();
    match finished {
        Ok(inode) => Ok((socket, inode)),
        Err(error) => {
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

fn give_to_group(path: &Path, options: &ListenOptions) -> Result<(), ListenError> {
    let Some(gid) = options.group else { return Ok(()) };
    std::os::unix::fs::lchown(path, None, Some(gid)).map_err(|error| {
        let (path, error) = (path.display().to_string(), OsError::from_io("chown", &error));
        ListenError::Group { path, gid, error }
    })
}

/// What a file system that does not do as asked means: a file that is more open is not used.
pub(super) fn judge_mode(
    path: &Path,
    mode: u32,
    asked: u32,
    changed: Result<(), Errno>,
) -> Result<(), ListenError> {
    if mode & !asked != 0 {
        return Err(ListenError::TooOpen {
            path: path.display().to_string(),
            mode,
            asked,
            file_system: file_system(path),
        });
    }
    if mode != asked {
        let path = path.display().to_string();
        log::line(move || {
            tracing::warn!(
                path,
                ?changed,
                "the socket file has mode {mode:o}, not {asked:o}: not all who should may be able to connect"
            )
        });
    }
    Ok(())
}

/// The kind of file system that a path is on.
fn file_system(path: &Path) -> String {
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    let kind = statfs(directory.unwrap_or(Path::new("."))).map(|stat| stat.filesystem_type().0);
    match kind.map(|kind| kind as u64) {
        Ok(0x6573_5546) => "FUSE or virtiofs".into(),
        Ok(0x0102_1997) => "9p".into(),
        Ok(0x6969) => "NFS".into(),
        Ok(kind) => format!("type {kind:#x}"),
        Err(_) => "of unknown type".into(),
    }
}

/// Binds a path of any length, to the absolute one if it fits into an address.
fn bind_at(socket: &OwnedFd, path: &Path) -> Result<(), OsError> {
    let to = |path: &Path| match UnixAddr::new(path) {
        Ok(address) => bind(socket.as_raw_fd(), &address).map(|()| true),
        Err(Errno::ENAMETOOLONG) => Ok(false),
        Err(errno) => Err(errno),
    };
    let failed = |errno| OsError::new("bind", errno);
    let absolute = absolute(path);
    match to(&absolute) {
        Ok(true) => return Ok(()),
        // The way from the root may be closed to this user.
        Err(Errno::EACCES) if path.is_relative() => {}
        Ok(false) => {}
        Err(errno) => return Err(failed(errno)),
    }
    if to(path).map_err(failed)? {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(failed(Errno::ENAMETOOLONG));
    };
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(parent)
        .map_err(|error| OsError::from_io("open(directory)", &error))?;
    let short = link::path_of(directory.as_fd()).map_err(failed)?;
    if to(&short.join(name)).map_err(failed)? {
        return Ok(());
    }
    // The last part alone is too long: the one case of another name, which is in the way of no other one.
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let other = short.join(format!(".shmipc-{:016x}", hasher.finish()));
    if is_socket(&other) {
        let _ = fs::remove_file(&other);
    }
    if !to(&other).map_err(failed)? {
        return Err(failed(Errno::ENAMETOOLONG));
    }
    fs::rename(&other, path).map_err(|error| {
        let _ = fs::remove_file(&other);
        OsError::from_io("rename", &error)
    })
}

/// Also if the process changes its directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

pub(super) fn inode_of(meta: &fs::Metadata) -> Inode {
    Inode { device: meta.dev(), number: meta.ino() }
}

/// Makes a bound socket listen, or one that listens already listen in our name: peers see who did that last.
pub(super) fn start_listening(socket: &OwnedFd, options: &ListenOptions) -> Result<(), OsError> {
    let backlog = Backlog::new(options.backlog).unwrap_or(Backlog::MAXCONN);
    listen(socket, backlog).map_err(|errno| OsError::new("listen", errno))
}

pub(super) fn in_use(path: &Path) -> ListenError {
    ListenError::InUse { path: path.display().to_string() }
}

fn failed(path: &Path, error: OsError) -> ListenError {
    ListenError::Path { path: path.display().to_string(), error }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Drop for SocketFile {
    /// A4. No other server can replace the path in between, since this one holds the lock. A forked child leaves
    /// it to its parent.
    fn drop(&mut self) {
        if !self.removed || self.home.is_foreign() {
            return;
        }
        let found = fs::symlink_metadata(&self.path).map(|meta| inode_of(&meta));
        if found.is_ok_and(|found| found == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
        self.lock.remove();
    }
}
