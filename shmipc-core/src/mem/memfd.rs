//! Segments: creating and sealing our own, checking and mapping the peer's.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use memmap2::{Advice, MmapOptions};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::fstat;
use nix::sys::statfs::{HUGETLBFS_MAGIC, fstatfs};
use nix::unistd::{Whence, lseek};

use super::own_files::{Own, OwnFile};
use super::{Memory, MemoryMut, OwnMapping, Passed, PeerMapping, fork};
use crate::error::{FileSizeLimit, OsError, PeerMisbehaved};

/// Why a segment of ours could not be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The kernel lacks the seal (Linux 5.1).
    #[error("this kernel lacks F_SEAL_FUTURE_WRITE; Linux 5.1 or newer is needed")]
    SealUnsupported,
    /// The file would be larger than this process may make one.
    #[error(transparent)]
    FileSize(#[from] FileSizeLimit),
    /// The operating system refused it, for lack of memory or descriptors.
    #[error(transparent)]
    Os(#[from] OsError),
}

/// Why a segment of the peer's could not be mapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// The file is not what a peer that keeps the rules sends.
    #[error(transparent)]
    Misbehaved(#[from] PeerMisbehaved),
    /// The operating system refused the mapping.
    #[error(transparent)]
    Os(#[from] OsError),
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SEAL
        | SealFlag::from_bits_retain(libc::F_SEAL_FUTURE_WRITE)
}

/// Checks that the kernel lets this process make a segment and map one of a peer. What has succeeded once is not asked
/// again; a shortage is no answer, since it may pass.
///
/// # Errors
/// [`CreateError::SealUnsupported`] on kernels before 5.1; [`CreateError::Os`] names the call that a system call
/// filter or a security module forbids.
pub fn probe() -> Result<(), CreateError> {
    static PROVED: OnceLock<()> = OnceLock::new();
    if PROVED.get().is_some() {
        return Ok(());
    }
    let probed =
        create(c"shmipc-probe", 4096).and_then(|(_, file)| match adopt(file.into(), 4096, &[]) {
            Err(AdoptError::Os(error)) => Err(CreateError::Os(error)),
            // What else may be wrong with a segment of ours the handshake names.
            _ => Ok(()),
        });
    match probed {
        Err(CreateError::Os(error)) if error.is_shortage() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            let _ = PROVED.set(());
            Ok(())
        }
    }
}

/// Creates a segment of `size` bytes: mapped, all pages present, sealed. Blocks while the kernel
/// clears the pages.
///
/// # Errors
/// [`CreateError::SealUnsupported`] on kernels before 5.1; [`CreateError::FileSize`] if `RLIMIT_FSIZE`
/// is less than `size`; [`CreateError::Os`] without memory, descriptors or address space.
pub fn create(name: &CStr, size: usize) -> Result<(Arc<OwnMapping>, OwnedFd), CreateError> {
    if !fork::is_supported() {
        return Err(OsError::new("madvise(MADV_WIPEONFORK)", Errno::EINVAL).into());
    }
    check_file_size(size as u64)?;
    let fd = memfd(name)?;
    let file = File::from(fd);
    file.set_len(size as u64).map_err(|e| OsError::from_io("ftruncate", &e))?;
    let map =
        MmapOptions::new().len(size).map_raw(&file).map_err(|e| OsError::from_io("mmap", &e))?;
    // Both only keep the mapping out of children and core dumps; without them all else holds.
    let _ = map.advise(Advice::DontFork);
    let _ = map.advise(Advice::DontDump);
    let stat = fstat(&file).map_err(|errno| OsError::new("fstat", errno))?;
    let mapping = OwnMapping::new(map, OwnFile::new(&stat));
    mapping.populate(&file)?;
    match fcntl(&file, FcntlArg::F_ADD_SEALS(seals())) {
        Ok(_) => Ok((Arc::new(mapping), file.into())),
        Err(Errno::EINVAL) => Err(CreateError::SealUnsupported),
        Err(errno) => Err(OsError::new("fcntl(F_ADD_SEALS)", errno).into()),
    }
}

/// A segment for extents. Its bytes are reached through an [`ExtentTable`](super::ExtentTable) only
/// (M5), which is why there is no way to copy the handle or to get at the mapping.
#[derive(Debug)]
pub struct ArenaSegment {
    pub(super) mapping: Arc<OwnMapping>,
}

/// As [`create`], for extents.
///
/// # Errors
/// As [`create`].
pub fn create_arena(name: &CStr, size: usize) -> Result<(ArenaSegment, OwnedFd), CreateError> {
    create(name, size).map(|(mapping, fd)| (ArenaSegment { mapping }, fd))
}

/// As [`create_arena`], with the view that the peer would have of it. What nobody uses any more is used again,
/// since a script makes many and the kernel would clear the pages of each.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn recycled_arena(size: usize) -> Result<(ArenaSegment, Arc<PeerMapping>), CreateError> {
    use std::sync::{Mutex, PoisonError};

    static MADE: Mutex<Vec<(Arc<OwnMapping>, Arc<PeerMapping>)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let unused = |(own, peer): &&(Arc<OwnMapping>, Arc<PeerMapping>)| {
        own.size() == size && Arc::strong_count(own) == 1 && Arc::strong_count(peer) == 1
    };
    let (own, peer) = match made.iter().find(unused) {
        Some((own, peer)) => (Arc::clone(own), Arc::clone(peer)),
        None => {
            let (own, file) = create(c"shmipc-test", size)?;
            let peer = adopt(file.into(), size, &[]).expect("a segment of ours");
            made.push((Arc::clone(&own), Arc::clone(&peer)));
            (own, peer)
        }
    };
    Ok((ArenaSegment { mapping: own }, peer))
}

/// A sealable memfd that can never be executed, where the kernel knows how (Linux 6.3).
fn memfd(name: &CStr) -> Result<OwnedFd, OsError> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let noexec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    match memfd_create(name, flags | noexec) {
        Err(Errno::EINVAL) => memfd_create(name, flags),
        other => other,
    }
    .map_err(|errno| OsError::new("memfd_create", errno))
}

/// Compares the limit for files with `size`: the kernel kills a process that exceeds it (SIGXFSZ).
fn check_file_size(size: u64) -> Result<(), CreateError> {
    let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE)
        .map_err(|errno| OsError::new("getrlimit(RLIMIT_FSIZE)", errno))?;
    match limit < size {
        true => Err(FileSizeLimit { needs: size, limit }.into()),
        false => Ok(()),
    }
}

impl OwnMapping {
    /// Makes every page of `file`, which is mapped here, present: the owner pays for the pages, and no
    /// reader meets a hole (M7).
    fn populate(&self, file: &File) -> Result<(), OsError> {
        match self.advise_populate() {
            // Linux before 5.14 does not know the advice.
            Ok(()) | Err(libc::EINVAL) => {}
            // The kernel says EFAULT for a page that it cannot get: a full cgroup, or poisoned memory.
            Err(libc::EFAULT) => return Err(OsError { call: POPULATE, code: libc::ENOMEM }),
            Err(code) => return Err(OsError { call: POPULATE, code }),
        }
        // Success is no proof: qemu's user emulation grants the advice and does nothing.
        match first_hole(file)? == self.size() as u64 {
            true => Ok(()),
            false => self.touch(file),
        }
    }

    /// Makes every page present by a store to each, before any other process has the file.
    fn touch(&self, file: &File) -> Result<(), OsError> {
        // Reserves the pages. Without it, a store to a page that the kernel cannot get kills (SIGBUS).
        fallocate(file, FallocateFlags::empty(), 0, self.size() as libc::off_t)
            .map_err(|errno| OsError::new("fallocate", errno))?;
        // Pages are a multiple of 4096 bytes on every machine.
        (0..self.size()).step_by(4096).for_each(|page| self.store64(page, 0));
        match first_hole(file)? == self.size() as u64 {
            true => Ok(()),
            false => Err(OsError { call: HOLE, code: libc::ENODATA }),
        }
    }

    fn advise_populate(&self) -> Result<(), i32> {
        let start = self.range_ptr(0, self.size());
        // SAFETY: M1: the range is this mapping; populating it changes no byte.
        match unsafe { libc::madvise(start.cast(), self.size(), libc::MADV_POPULATE_WRITE) } {
            0 => Ok(()),
            _ => Err(Errno::last_raw()),
        }
    }
}

/// The call that makes pages present, in errors.
const POPULATE: &str = "madvise(MADV_POPULATE_WRITE)";
/// The call that finds absent pages, in errors.
const HOLE: &str = "lseek(SEEK_HOLE)";

/// Checks a segment that the peer passed and maps it read-only.
///
/// `own` are segments of ours, for refusing our own file handed back.
///
/// # Errors
/// [`AdoptError::Misbehaved`] names what is wrong with the file; [`AdoptError::Os`] if mapping it
/// fails.
pub fn adopt<'a>(
    fd: Passed,
    size: usize,
    own: impl Into<Own<'a>>,
) -> Result<Arc<PeerMapping>, AdoptError> {
    let have = match fcntl(&fd, FcntlArg::F_GET_SEALS) {
        Ok(have) => have,
        // A filter of ours; the peer has no part in it.
        Err(errno @ (Errno::EPERM | Errno::EACCES | Errno::ENOSYS)) => {
            return Err(OsError::new("fcntl(F_GET_SEALS)", errno).into());
        }
        Err(_) => return Err(PeerMisbehaved::NotSealed.into()),
    };
    if !SealFlag::from_bits_retain(have).contains(seals()) {
        return Err(PeerMisbehaved::NotSealed.into());
    }
    let stat = fstat(&fd).map_err(|errno| OsError::new("fstat", errno))?;
    let ours = own.into().contains(&stat);
    // Pages of a hugetlb file can be lacking even if they are no holes.
    let huge = fstatfs(&fd).map_err(|errno| OsError::new("fstatfs", errno))?.filesystem_type();
    if stat.st_size != i64::try_from(size).unwrap_or(-1) || ours || huge == HUGETLBFS_MAGIC {
        return Err(PeerMisbehaved::WrongMemory.into());
    }
    if first_hole(&fd)? != size as u64 {
        return Err(PeerMisbehaved::SegmentNotPresent.into());
    }
    let map = MmapOptions::new()
        .len(size)
        .map_raw_read_only(fd.as_fd().as_raw_fd())
        .map_err(|e| OsError::from_io("mmap", &e))?;
    let _ = map.advise(Advice::DontFork);
    let _ = map.advise(Advice::DontDump);
    // Memory of the size that was announced: closing it does not block (M9).
    fd.close();
    Ok(Arc::new(PeerMapping::new(map)))
}

/// Returns the offset of the first absent page of a file, or its size if every page is present (M7).
fn first_hole(file: impl AsFd) -> Result<u64, OsError> {
    lseek(file, 0, Whence::SeekHole)
        .map(i64::unsigned_abs)
        .map_err(|errno| OsError::new(HOLE, errno))
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};

    use super::*;

    /// Whoever holds the descriptor can read, and nothing else.
    #[test]
    fn a_sealed_segment_can_only_be_read() {
        let (own, fd) = create(c"shmipc-test", 8192).unwrap();
        own.store64(4096, 7);
        let peer = adopt(fd.try_clone().unwrap().into(), 8192, &[]).unwrap();
        assert_eq!(peer.load64(4096), 7);

        let mut file = File::from(fd);
        let denied = |error: std::io::Error| assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        denied(MmapOptions::new().len(8192).map_raw(&file).unwrap_err());
        denied(file.write_all(b"mine now").unwrap_err());
        denied(file.set_len(4096).unwrap_err());
        denied(file.set_len(16384).unwrap_err());
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        assert_eq!(fallocate(&file, punch, 0, 4096), Err(Errno::EPERM));
        assert!(fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).is_err());

        own.store64(4096, 8);
        assert_eq!(peer.load64(4096), 8, "the owner still writes");
    }
}
