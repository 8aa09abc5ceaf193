//! Descriptors: receiving, accepting, and process descriptors. The kernel hands each of them out as a
//! bare number; here it becomes an owned value before anything else happens to it (M8).
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{FileStat, SFlag, fstat};

use crate::error::OsError;

/// Most descriptors that one [`receive`] can deliver.
pub const MAX_RECEIVED: usize = 16;

/// Bytes of a control message's header, as the kernel writes it on 64-bit targets: length (8 bytes,
/// header included), level (4), type (4). The next header starts at a multiple of 8.
const CMSG_HEADER: usize = 16;
/// One message with [`MAX_RECEIVED`] descriptors, and one that may stand beside it on a socket that
/// somebody else prepared: `SCM_PIDFD`, `SCM_CREDENTIALS`, or a short security label.
const CONTROL: usize = CMSG_HEADER + 4 * MAX_RECEIVED + 256;

/// What one [`receive`] delivered.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the buffer. 0: the other side has closed, or shut down for writing.
    pub bytes: usize,
    /// The descriptors, in the order in which they were sent.
    pub fds: Vec<OwnedFd>,
    /// Whether there were more, and why they are gone.
    pub truncated: Option<Truncated>,
}

/// Why descriptors that were sent did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncated {
    /// The sender passed more than `max_fds`; the surplus was closed.
    Surplus,
    /// This process could not take them, because it has as many open as it may have.
    NoRoom,
}

/// Control data, aligned for its headers.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Receives bytes and up to `max_fds` descriptors from a Unix socket, without blocking.
///
/// Every descriptor that the kernel installed is owned by the result or closed; all are close-on-exec.
///
/// # Errors
/// `EAGAIN` if nothing is there, else what `recvmsg` says.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    max_fds: usize,
) -> Result<Received, Errno> {
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: `msghdr` consists of numbers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let bytes = loop {
        // SAFETY: `message` points to `part` and `control`, which are live and writable for the lengths
        // given; so is `buffer`, to which `part` points.
        let n = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        match Errno::result(n) {
            Ok(n) => break usize::try_from(n).unwrap_or(0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    };
    let used = (message.msg_controllen as usize).min(CONTROL);
    let mut fds = own_descriptors(control.0.get(..used).unwrap_or_default());
    let truncated = if fds.len() > max_fds {
        Some(Truncated::Surplus)
    } else if message.msg_flags & libc::MSG_CTRUNC == 0 {
        None
    } else if fds.len() < MAX_RECEIVED {
        Some(Truncated::NoRoom)
    } else {
        Some(Truncated::Surplus)
    };
    fds.truncate(max_fds);
    Ok(Received { bytes, fds, truncated })
}

/// Owns every descriptor in the control data of a message that was just received. The one that
/// `SO_PASSPIDFD` adds (a listener that was passed to us may have it set) is closed.
fn own_descriptors(mut control: &[u8]) -> Vec<OwnedFd> {
    const SCM_PIDFD: i32 = 4;
    let mut owned = Vec::new();
    while let Some((len, level, kind)) = cmsg_header(control) {
        if level == libc::SOL_SOCKET && (kind == libc::SCM_RIGHTS || kind == SCM_PIDFD) {
            let data = control.get(CMSG_HEADER..len).unwrap_or_default();
            for number in data.chunks_exact(4) {
                let number = number.try_into().map_or(-1, i32::from_ne_bytes);
                if number >= 0 {
                    // SAFETY: M8: the kernel has just installed this descriptor for us, and this is
                    // the only place that learns its number.
                    let fd = unsafe { OwnedFd::from_raw_fd(number) };
                    (kind == libc::SCM_RIGHTS).then(|| owned.push(fd));
                }
            }
        }
        control = control.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    owned
}

/// Length (header included), level and type of the first control message.
fn cmsg_header(control: &[u8]) -> Option<(usize, i32, i32)> {
    let (len, rest) = control.split_first_chunk::<8>()?;
    let (level, rest) = rest.split_first_chunk::<4>()?;
    let (kind, _) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u64::from_ne_bytes(*len)).ok()?;
    let whole = len >= CMSG_HEADER && len <= control.len();
    whole.then(|| (len, i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind)))
}

/// Accepts a connection, without blocking if the listener does not; the new socket never blocks and
/// is close-on-exec.
///
/// # Errors
/// What `accept4` says.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let none = std::ptr::null_mut();
    // SAFETY: with a null address the kernel writes nothing.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), none, std::ptr::null_mut(), flags) };
    let fd = Errno::result(fd)?;
    // SAFETY: M8: a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns the supplementary groups that the process at the other end had when it connected, or called `listen`. None
/// if the kernel cannot say (before Linux 4.13), or they are more than 65,536, the most that it lets a process have.
pub fn peer_groups(socket: BorrowedFd<'_>) -> Vec<u32> {
    const MOST: usize = 1 << 16;
    let mut groups = vec![0u32; 32];
    loop {
        let room = groups.len().saturating_mul(size_of::<u32>());
        let mut bytes = libc::socklen_t::try_from(room).unwrap_or(0);
        let fd = socket.as_raw_fd();
        let to = groups.as_mut_ptr().cast();
        // SAFETY: `groups` is writable for `bytes` bytes, and any bits are numbers.
        let done = unsafe {
            libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERGROUPS, to, &raw mut bytes)
        };
        let count = bytes as usize / size_of::<u32>();
        match Errno::result(done) {
            Ok(_) => {
                groups.truncate(count);
                return groups;
            }
            // The kernel says how many there are.
            Err(Errno::ERANGE) if count > groups.len() && count <= MOST => groups.resize(count, 0),
            Err(_) => return Vec::new(),
        }
    }
}

/// A process descriptor of this process; `None` on a kernel without them (before Linux 5.3) or where
/// a system call filter forbids them. The peer then learns of our death by end of file alone, which
/// a forked child that still holds the socket delays.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn pidfd_of_self() -> Result<Option<OwnedFd>, OsError> {
    match pidfd_of(nix::unistd::getpid().as_raw()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => Ok(None),
        Err(errno) => Err(OsError::new("pidfd_open", errno)),
    }
}

/// Whether a process has ended, reaped or not. `false` where that is not known: process 0, which stands for those of
/// other pid namespaces, or a kernel without process descriptors (before Linux 5.3).
pub fn has_ended(pid: i32) -> bool {
    match pidfd_of(pid) {
        Ok(process) => {
            let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        }
        Err(errno) => errno == Errno::ESRCH,
    }
}

fn pidfd_of(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes two numbers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = i32::try_from(fd).unwrap_or(-1);
    // SAFETY: M8: a new descriptor (never -1) that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether a descriptor is a process descriptor.
///
/// Asks the kernel to check a signal without sending one: `EBADF` means that the descriptor is of
/// another kind. Every other answer means yes, also that the process has ended (`ESRCH`), is not ours
/// to signal (`EPERM`), or lives in a pid namespace that we cannot see (`EINVAL`). Needs no `/proc`.
/// Directories are refused apart, since the call also takes those of `/proc/PID`.
pub fn is_pidfd(fd: &OwnedFd) -> bool {
    let kind = |stat: FileStat| stat.st_mode & SFlag::S_IFMT.bits();
    let directory = fstat(fd).is_ok_and(|stat| kind(stat) == SFlag::S_IFDIR.bits());
    let (fd, info) = (fd.as_fd().as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: numbers and a null pointer; signal 0 is never delivered.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, 0, info, 0) };
    !directory && Errno::result(answer) != Err(Errno::EBADF)
}
