//! Whether a peer could write our sealed memory by way of `/dev/udmabuf`.
//!
//! Kernels before 6.13, and stable releases from before December 2024, let the opener of that device make
//! a writable buffer of a memfd that is sealed by `F_SEAL_FUTURE_WRITE`.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::libc;

use super::create;

/// `_IOW('u', 0x42, struct udmabuf_create)`.
const UDMABUF_CREATE: u64 = 0x4018_7542;

/// `struct udmabuf_create`.
#[repr(C)]
struct Create {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

/// Whether the device of this system writes what is sealed, and users other than root may open it, as far
/// as this process can see. Asked once.
pub(crate) fn is_sealed_memory_writable() -> bool {
    static WRITABLE: OnceLock<bool> = OnceLock::new();
    *WRITABLE.get_or_init(|| {
        let Ok(device) = open() else { return false };
        // An access list shows in the bits of the group.
        let others = device.metadata().is_ok_and(|meta| meta.mode() & 0o066 != 0);
        others && make_buffer(&device).is_ok()
    })
}

fn open() -> io::Result<File> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOFOLLOW;
    OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/udmabuf")
}

/// Makes a buffer of memory that is sealed as ours is, which a kernel that keeps the seal refuses.
fn make_buffer(device: &File) -> Result<OwnedFd, Errno> {
    let (_mapping, memfd) = create(c"shmipc-probe", 4096).map_err(|_| Errno::ENOMEM)?;
    let memfd = u32::try_from(memfd.as_raw_fd()).unwrap_or(u32::MAX);
    let order = Create { memfd, flags: 1, offset: 0, size: 4096 };
    // SAFETY: the device reads one structure, to which the pointer leads.
    let fd = unsafe { libc::ioctl(device.as_raw_fd(), UDMABUF_CREATE as _, &raw const order) };
    let fd = Errno::result(fd)?;
    // SAFETY: M8: a new descriptor that nothing else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_refuses_a_segment_or_sessions_are_refused() {
        let device = match open() {
            Ok(device) => device,
            Err(error) => return eprintln!("skipped: /dev/udmabuf cannot be opened ({error})"),
        };
        let others = device.metadata().unwrap().mode() & 0o066 != 0;
        let writable = make_buffer(&device).is_ok();
        assert_eq!(is_sealed_memory_writable(), writable && others);
    }
}
