//! Where a listener is found: a path, or an abstract name.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::socket::UnixAddr;

/// Most bytes of a path or an abstract name in a socket address.
const MAX: usize = 107;

/// A socket address that fits the kernel's structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket file.
    Path(PathBuf),
    /// A name in the abstract namespace, without the leading `@`.
    Abstract(Vec<u8>),
}

/// The address is empty, too long, or contains a zero byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

impl Address {
    /// Parses a path, or `@name` for an abstract name. (A file called `@name` is `./@name`.)
    ///
    /// # Errors
    /// [`BadAddress`] if it is empty, longer than 107 bytes or contains a zero byte.
    pub fn parse(address: impl AsRef<Path>) -> Result<Self, BadAddress> {
        let path = address.as_ref();
        let bytes = path.as_os_str().as_bytes();
        let name = bytes.strip_prefix(b"@");
        let length = name.unwrap_or(bytes).len();
        if length == 0 || length > MAX || bytes.contains(&0) {
            return Err(BadAddress);
        }
        Ok(name.map_or_else(|| Self::Path(path.to_owned()), |name| Self::Abstract(name.to_owned())))
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
