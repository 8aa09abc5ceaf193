//! Descriptors: receiving, accepting, and process descriptors. The kernel hands each of them out as a
//! bare number; here it becomes an owned value before anything else happens to it (M8).
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{FileStat, SFlag, fstat};

use super::Passed;
use super::reserve::{self, Lease};
use crate::error::OsError;

/// Most descriptors that one [`receive`] can deliver.
const MAX_RECEIVED: usize = 8;

/// Bytes of a control message's header, as the kernel writes it on 64-bit targets: length (8 bytes,
/// header included), level (4), type (4). The next header starts at a multiple of 8.
const CMSG_HEADER: usize = 16;
/// One message with [`MAX_RECEIVED`] descriptors.
const CONTROL: usize = CMSG_HEADER + 4 * MAX_RECEIVED;

/// Looks for a descriptor's number that is free, a millisecond apart, before it is given up.
const LOOKS: usize = 50;

/// What one [`receive`] delivered.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the buffer. 0: the other side has closed, or shut down for writing.
    pub bytes: usize,
    /// The descriptors, in the order in which they were sent.
    pub fds: Vec<Passed>,
    /// Why nothing was taken off the socket, if descriptors came that were not to be had.
    pub truncated: Option<Truncated>,
}

/// Why descriptors that were sent did not arrive. They stay in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncated {
    /// The sender passed more than `max_fds`.
    Surplus,
    /// This process could not take them, because it has as many open as it may have.
    NoRoom,
}

/// Control data, aligned for its headers.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Receives bytes and up to `max_fds` descriptors (8 at most) from a Unix socket that
/// was prepared by `prepare_socket`, without blocking.
///
/// Every descriptor that the kernel installed is owned by the result; all are close-on-exec.
///
/// What `recvmsg` does not deliver of what it takes off a socket, the kernel closes in the calling
/// thread: descriptors for which the buffer is too small or the process has no number left. So the
/// socket is looked into first, and nothing is taken off it before all that belongs to it is ours (M9).
/// A look shows the next descriptors in the socket, however many bytes come before them; taking the bytes off shows
/// whether they belong to these.
///
/// # Errors
/// `EAGAIN` if nothing is there, else what `recvmsg` says.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    max_fds: usize,
) -> Result<Received, Errno> {
    let mut control = Control([0; CONTROL]);
    let (bytes, used, cut) = receive_into(socket, buffer, &mut control, 0, libc::MSG_PEEK)?;
    debug_assert_eq!(used, 0);
    let buffer = buffer.get_mut(..bytes).unwrap_or_default();
    if bytes == 0 || !cut {
        let _ = take(socket, buffer)?;
        return Ok(Received { bytes, fds: Vec::new(), truncated: None });
    }
    let max_fds = max_fds.min(MAX_RECEIVED);
    let room = if max_fds == 0 { 0 } else { CMSG_HEADER + 4 * max_fds };
    let truncated = |truncated| Received { bytes: 0, fds: Vec::new(), truncated: Some(truncated) };
    if room == 0 {
        return Ok(truncated(Truncated::Surplus));
    }
    for look in 1.. {
        let lease = reserve::lease();
        let flags = libc::MSG_PEEK | libc::MSG_CMSG_CLOEXEC;
        let (_, used, cut) = receive_into(socket, buffer, &mut control, room, flags)?;
        let fds = own_descriptors(control.0.get(..used).unwrap_or_default(), lease);
        if !cut {
            let fds = if take(socket, buffer)? { fds } else { Vec::new() };
            return Ok(Received { bytes, fds, truncated: None });
        }
        if fds.len() == max_fds {
            return Ok(truncated(Truncated::Surplus));
        }
        if look == LOOKS {
            break;
        }
        // Another session may have the reserve. Its descriptor is soon mapped and closed.
        drop(fds);
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(truncated(Truncated::NoRoom))
}

/// One `recvmsg` with so much of the control buffer: bytes, how much of the control buffer was used, and
/// whether more control data was there.
fn receive_into(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    control: &mut Control,
    room: usize,
    flags: i32,
) -> Result<(usize, usize, bool), Errno> {
    let room = room.min(CONTROL);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: `msghdr` consists of numbers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if room > 0 {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = room as _;
    }
    loop {
        // SAFETY: `message` points to `part` and `control`, which are live and writable for the lengths
        // given; so is `buffer`, to which `part` points.
        let n = unsafe {
            libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags | libc::MSG_DONTWAIT)
        };
        match Errno::result(n) {
            Ok(n) => {
                let cut = message.msg_flags & libc::MSG_CTRUNC != 0;
                let used = (message.msg_controllen as usize).min(room);
                return Ok((usize::try_from(n).unwrap_or(0), used, cut));
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Takes the bytes off the socket that were looked at, and says whether descriptors came with them. The kernel drops
/// its references to these, which are not the last (M9).
fn take(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<bool, Errno> {
    let mut nothing = Control([0; CONTROL]);
    let (mut done, mut had_descriptors) = (0, false);
    while let Some(left) = bytes.get_mut(done..).filter(|left| !left.is_empty()) {
        // Without room for descriptors the kernel only says that there were some.
        let (count, _, cut) = receive_into(socket, left, &mut nothing, 0, 0)?;
        had_descriptors |= cut;
        if count == 0 {
            break;
        }
        done += count;
    }
    Ok(had_descriptors)
}

/// Prepares a socket to a peer for [`receive`]: whatever comes on it is in the order of its bytes, and
/// descriptors are the only thing that comes beside them. A byte out of band would be dropped by the
/// kernel in the thread that reads past it, with its descriptors.
pub(crate) fn prepare_socket(socket: BorrowedFd<'_>) {
    set_option(socket, libc::SO_OOBINLINE, 1);
    for option in [libc::SO_PASSCRED, libc::SO_PASSSEC, libc::SO_PASSPIDFD] {
        set_option(socket, option, 0);
    }
}

/// Whether the kernel lets a peer pass descriptors to a socket at all, where it knows how to refuse them
/// (Linux 6.16). A listening socket gives its setting to the connections that it gets.
pub(crate) fn pass_rights(socket: BorrowedFd<'_>, on: bool) {
    const SO_PASSRIGHTS: i32 = 83;
    set_option(socket, SO_PASSRIGHTS, on.into());
}

/// A kernel that does not know the option does without.
fn set_option(socket: BorrowedFd<'_>, option: i32, value: i32) {
    let (fd, size) = (socket.as_raw_fd(), size_of::<i32>() as libc::socklen_t);
    // SAFETY: all these options are an integer, to which the pointer leads.
    let _ =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const value).cast(), size) };
}

/// Owns every descriptor in the control data of a message that was just looked at.
fn own_descriptors(mut control: &[u8], mut lease: Option<Lease>) -> Vec<Passed> {
    let mut owned = Vec::new();
    while let Some((len, level, kind)) = cmsg_header(control) {
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            let data = control.get(CMSG_HEADER..len).unwrap_or_default();
            for number in data.chunks_exact(4) {
                let number = number.try_into().map_or(-1, i32::from_ne_bytes);
                if number >= 0 {
                    // SAFETY: M8: the kernel has just installed this descriptor for us, and this is
                    // the only place that learns its number.
                    let fd = unsafe { OwnedFd::from_raw_fd(number) };
                    owned.push(Passed::new(fd, lease.take()));
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
    // SAFETY: M8: a new descriptor (never -1) that no other code knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether a descriptor is a process descriptor.
///
/// Asks the kernel to check a signal without sending one: `EBADF` means that the descriptor is of
/// another kind. Every other answer means yes, also that the process has ended (`ESRCH`), is not ours
/// to signal (`EPERM`), or lives in a pid namespace that we cannot see (`EINVAL`). Needs no `/proc`.
/// Directories are refused apart, since the call also takes those of `/proc/PID`. They are asked last:
/// `fstat` of another file may block.
pub(super) fn is_pidfd(fd: BorrowedFd<'_>) -> bool {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: numbers and a null pointer; signal 0 is never delivered.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), 0, info, 0) };
    let kind = |stat: FileStat| stat.st_mode & SFlag::S_IFMT.bits();
    let directory = || fstat(fd).is_ok_and(|stat| kind(stat) == SFlag::S_IFDIR.bits());
    Errno::result(answer) != Err(Errno::EBADF) && !directory()
}
