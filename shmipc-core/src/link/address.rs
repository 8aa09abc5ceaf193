//! Where a listener is found: a path, or an abstract name.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::UnixAddr;
use nix::sys::stat::Mode;

/// Most bytes of an abstract name in a socket address.
const MAX_NAME: usize = 107;
/// Most bytes of a path that the kernel takes anywhere.
const MAX_PATH: usize = 4095;
/// Where the descriptors of this process have names.
const OWN_FDS: &str = "/proc/self/fd";

/// A socket file or an abstract name. A path may be longer than the kernel's structure for addresses has room for (107
/// bytes): it is then named by a descriptor, which needs `/proc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket file.
    Path(PathBuf),
    /// A name in the abstract namespace, without the leading `@`.
    Abstract(Vec<u8>),
}

/// An address in the kernel's form, and the file that it leads through.
pub(super) struct Reach {
    pub(super) unix: UnixAddr,
    _file: Option<OwnedFd>,
}

/// A short path to an open file.
///
/// # Errors
/// `ENAMETOOLONG` without `/proc`.
pub(crate) fn path_of(file: BorrowedFd<'_>) -> nix::Result<PathBuf> {
    let path = Path::new(OWN_FDS).join(file.as_raw_fd().to_string());
    if std::fs::symlink_metadata(&path).is_ok() { Ok(path) } else { Err(Errno::ENAMETOOLONG) }
}

/// The address is empty, too long, or contains a zero byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

impl Address {
    /// Parses a path, or `@name` for an abstract name. (A file called `@name` is `./@name`.)
    ///
    /// # Errors
    /// [`BadAddress`] if it is empty, contains a zero byte, or is longer than 107 bytes as a name and 4,095 as a path.
    pub fn parse(address: impl AsRef<Path>) -> Result<Self, BadAddress> {
        let path = address.as_ref();
        let bytes = path.as_os_str().as_bytes();
        let name = bytes.strip_prefix(b"@");
        let length = name.unwrap_or(bytes).len();
        let longest = if name.is_some() { MAX_NAME } else { MAX_PATH };
        if length == 0 || length > longest || bytes.contains(&0) {
            return Err(BadAddress);
        }
        Ok(name.map_or_else(|| Self::Path(path.to_owned()), |name| Self::Abstract(name.to_owned())))
    }

    /// The kernel's form for `connect`.
    pub(super) fn reach(&self) -> nix::Result<Reach> {
        match (self.to_unix(), self) {
            (Err(Errno::ENAMETOOLONG), Self::Path(path)) => {
                let file = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
                let unix = UnixAddr::new(&path_of(file.as_fd())?)?;
                Ok(Reach { unix, _file: Some(file) })
            }
            (unix, _) => Ok(Reach { unix: unix?, _file: None }),
        }
    }

    /// The kernel's form.
    pub(crate) fn to_unix(&self) -> nix::Result<UnixAddr> {
        match self {
            Self::Path(path) => UnixAddr::new(path),
            Self::Abstract(name) => UnixAddr::new_abstract(name),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}
