//! Making and removing the socket that clients find.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{Backlog, SockFlag, UnixAddr, bind, listen};

use super::ListenOptions;
use crate::error::{ListenError, OsError};
use crate::link::{self, Address};
use crate::mem::Home;
use crate::wire::Inode;

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
    /// A1. Closing it gives the lock up, unless somebody else holds a duplicate.
    lock: File,
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
        Ok(Self { path, inode, home: Home::here(), removed: false, lock: File::from(lock) })
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
}

/// Binds a listening socket of any protocol, by the rules that listeners of this library follow: one server for
/// each path, of which the file is removed when the returned [`SocketFile`] is dropped. The socket never blocks.
/// `address` is a path, or `@name` for an abstract name, which has no file.
///
/// # Errors
/// [`ListenError::InUse`] if a living server listens there, [`ListenError::Occupied`] if the path is something
/// else than a socket, [`ListenError::BadPath`], [`ListenError::Path`], [`ListenError::Os`].
pub fn bind_unix(
    address: impl AsRef<Path>,
    options: &ListenOptions,
) -> Result<(UnixListener, Option<SocketFile>), ListenError> {
    let address = address.as_ref();
    let address = Address::parse(address)
        .map_err(|_| ListenError::BadPath { path: address.display().to_string() })?;
    let Bound { socket, file } = bind_address(&address, options)?;
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
    let failed = |error| ListenError::Path { path: path.display().to_string(), error };
    let lock = take_lock(path)?;
    check_replaceable(path)?;
    let temporary = with_suffix(path, ".new");
    // Left behind by a holder of the lock that died between bind and rename (A1).
    if is_socket(&temporary) {
        let _ = fs::remove_file(&temporary);
    }
    let socket = link::new_socket(SockFlag::SOCK_NONBLOCK)?;
    bind_here(&socket, &temporary).map_err(failed)?;
    let finished = (|| {
        fs::set_permissions(&temporary, Permissions::from_mode(options.mode))
            .map_err(|error| OsError::from_io("chmod", &error))?;
        start_listening(&socket, options)?;
        let meta =
            fs::symlink_metadata(&temporary).map_err(|error| OsError::from_io("stat", &error))?;
        // A3.
        fs::rename(&temporary, path).map_err(|error| OsError::from_io("rename", &error))?;
        Ok::<_, OsError>(inode_of(&meta))
    })();
    match finished {
        Ok(inode) => {
            let path = absolute(path);
            let file = SocketFile { path, inode, home: Home::here(), removed: true, lock };
            Ok(Bound { socket, file: Some(file) })
        }
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            Err(failed(error))
        }
    }
}

/// A1.
fn take_lock(path: &Path) -> Result<File, ListenError> {
    let name = with_suffix(path, ".lock");
    let failed = |error| ListenError::Path { path: name.display().to_string(), error };
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(&name)
        .map_err(|error| failed(OsError::from_io("open", &error)))?;
    // Not `nix::fcntl::Flock`, which unlocks when dropped: that would take the lock from a process that
    // holds a duplicate, such as a successor or our own parent.
    #[allow(deprecated)]
    let locked = nix::fcntl::flock(lock.as_raw_fd(), nix::fcntl::FlockArg::LockExclusiveNonblock);
    match locked {
        Ok(()) => Ok(lock),
        Err(Errno::EWOULDBLOCK) => Err(in_use(path)),
        Err(errno) => Err(failed(OsError::new("flock", errno))),
    }
}

/// A2.
fn check_replaceable(path: &Path) -> Result<(), ListenError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OsError::from_io("stat", &error).into()),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(ListenError::Occupied { path: path.display().to_string() });
        }
        Ok(_) => {}
    }
    match link::try_connect(&Address::Path(path.to_owned())).map_err(|error| error.code) {
        Err(libc::ECONNREFUSED | libc::ENOENT) => Ok(()),
        Ok(_) | Err(libc::EAGAIN | libc::EPROTOTYPE) => Err(in_use(path)),
        Err(code) => Err(OsError { call: "connect", code }.into()),
    }
}

/// Binds a path that may be a little longer than an address can be.
fn bind_here(socket: &OwnedFd, path: &Path) -> Result<(), OsError> {
    let failed = |errno| OsError::new("bind", errno);
    let bound = match (UnixAddr::new(path), path.parent(), path.file_name()) {
        (Err(Errno::ENAMETOOLONG), Some(directory), Some(name)) => {
            let directory = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
                .open(if directory == Path::new("") { Path::new(".") } else { directory })
                .map_err(|error| OsError::from_io("open(directory)", &error))?;
            let short = format!("/proc/self/fd/{}", directory.as_raw_fd());
            UnixAddr::new(&Path::new(&short).join(name)).map(|addr| bind(socket.as_raw_fd(), &addr))
        }
        (addr, ..) => addr.map(|addr| bind(socket.as_raw_fd(), &addr)),
    };
    bound.and_then(|bound| bound).map_err(failed)
}

/// Also if the process changes its directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn inode_of(meta: &fs::Metadata) -> Inode {
    Inode { device: meta.dev(), number: meta.ino() }
}

/// Makes a bound socket listen, or one that listens already listen in our name: peers see who did that last.
pub(super) fn start_listening(socket: &OwnedFd, options: &ListenOptions) -> Result<(), OsError> {
    let backlog = Backlog::new(options.backlog).unwrap_or(Backlog::MAXCONN);
    listen(socket, backlog).map_err(|errno| OsError::new("listen", errno))
}

fn in_use(path: &Path) -> ListenError {
    ListenError::InUse { path: path.display().to_string() }
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
    /// A4. Nobody else can replace the path in between, since we hold the lock. A forked child leaves
    /// it to its parent.
    fn drop(&mut self) {
        if !self.removed || self.home.is_foreign() {
            return;
        }
        let found = fs::symlink_metadata(&self.path).map(|meta| inode_of(&meta));
        if found.is_ok_and(|found| found == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
