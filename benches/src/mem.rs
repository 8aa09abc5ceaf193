//! The shared mapping of the controls, descriptors that came over a socket or are message queues, samples that
//! are written in place, and the promise to trust the peer: all that is `unsafe` in this package.
//!
//! A [`Mapping`] is cut once into disjoint [`Region`]s. Within a process the borrow of a region
//! orders what happens to it. Between the processes this program orders it itself, since both run
//! it:
//!
//! * **M1** The two sides cut the mapping alike, and no two regions overlap.
//! * **M2** While a process holds a slice of bytes, neither side accesses a word in it.
//! * **M3** While one side holds a slice, the other neither writes what it covers nor, if the slice
//!   is mutable, reads it: a side touches bytes only between an Acquire load of the word that
//!   hands them over and its own Release store that hands them back.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
#[cfg(feature = "peers")]
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

#[cfg(feature = "peers")]
use ::iceoryx2::{
    prelude::ipc, request_mut::RequestMut, request_mut_uninit::RequestMutUninit,
    response_mut::ResponseMut, response_mut_uninit::ResponseMutUninit, sample_mut::SampleMut,
    sample_mut_uninit::SampleMutUninit,
};
use memmap2::{MmapOptions, MmapRaw};
use nix::mqueue::MqdT;
use nix::sys::memfd::{MFdFlags, memfd_create};
use shmipc_sync::PeerTrust;

#[cfg(feature = "peers")]
use crate::payload::Payload;

/// Where regions start: a page, so that neighbours share no line and no prefetch.
const PAGE: usize = 4096;

/// Memory that driver and peer both map read-write.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: Arc<MmapRaw>,
}

impl Mapping {
    /// Creates shared memory for regions of these lengths, and the descriptor for the peer.
    pub(crate) fn create(lens: &[usize]) -> io::Result<(Self, OwnedFd)> {
        let fd = memfd_create(c"ipcbench", MFdFlags::MFD_CLOEXEC)?;
        let file = File::from(fd);
        file.set_len(total(lens) as u64)?;
        Ok((Self::attach(&file, lens)?, file.into()))
    }

    /// Maps what the driver created with the same lengths.
    pub(crate) fn join(fd: OwnedFd, lens: &[usize]) -> io::Result<Self> {
        Self::attach(&File::from(fd), lens)
    }

    fn attach(file: &File, lens: &[usize]) -> io::Result<Self> {
        let map = MmapOptions::new().len(total(lens)).populate().map_raw(file)?;
        Ok(Self { map: Arc::new(map) })
    }

    /// Cuts the mapping into regions of the lengths it was made for.
    pub(crate) fn cut<const N: usize>(self, lens: [usize; N]) -> [Region; N] {
        assert!(total(&lens) <= self.map.len());
        let mut start = 0;
        lens.map(|len| {
            let region = Region { map: Arc::clone(&self.map), start, len };
            start += len.next_multiple_of(PAGE);
            region
        })
    }
}

fn total(lens: &[usize]) -> usize {
    lens.iter().map(|len| len.next_multiple_of(PAGE)).sum()
}

/// A part of a [`Mapping`] that nothing else of this process refers to.
#[derive(Debug)]
pub(crate) struct Region {
    map: Arc<MmapRaw>,
    start: usize,
    len: usize,
}

impl Region {
    /// The word `offset` bytes into the region.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset < self.len && self.len - offset >= 8);
        // SAFETY: in bounds of the mapping, which `self` keeps alive.
        let address = unsafe { self.map.as_mut_ptr().add(self.start + offset) };
        // SAFETY: aligned, since regions start at pages; nobody holds it as bytes (M2).
        unsafe { AtomicU64::from_ptr(address.cast()) }
    }

    /// The word of 32 bits `offset` bytes into the region, as a futex is.
    #[inline]
    pub(crate) fn half_word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset < self.len && self.len - offset >= 4);
        // SAFETY: in bounds of the mapping, which `self` keeps alive.
        let address = unsafe { self.map.as_mut_ptr().add(self.start + offset) };
        // SAFETY: aligned, since regions start at pages; nobody holds it as bytes (M2).
        unsafe { AtomicU32::from_ptr(address.cast()) }
    }

    /// The words of `range`.
    #[inline]
    pub(crate) fn words(&self, range: Range<usize>) -> &[AtomicU64] {
        assert!(range.start <= range.end && range.end <= self.len);
        assert!(range.start.is_multiple_of(8) && range.end.is_multiple_of(8));
        // SAFETY: in bounds of the mapping, which `self` keeps alive.
        let address = unsafe { self.map.as_ptr().add(self.start + range.start) };
        // SAFETY: aligned, since regions start at pages; nobody holds them as bytes (M2).
        unsafe { std::slice::from_raw_parts(address.cast(), range.len() / 8) }
    }

    /// The bytes of `range`, of which it is this side's turn to read.
    #[inline]
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds of the mapping, which `self` keeps alive.
        let address = unsafe { self.map.as_ptr().add(self.start + range.start) };
        // SAFETY: initialised (a memfd starts as zeroes); nobody writes it now (M1, M2, M3).
        unsafe { std::slice::from_raw_parts(address, range.len()) }
    }

    /// The bytes of `range`, of which it is this side's turn to write.
    #[inline]
    pub(crate) fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds of the mapping, which `self` keeps alive.
        let address = unsafe { self.map.as_mut_ptr().add(self.start + range.start) };
        // SAFETY: initialised; `&mut self` and M1 exclude this process, M3 excludes the other.
        unsafe { std::slice::from_raw_parts_mut(address, range.len()) }
    }
}

/// Takes possession of descriptors that arrived with a control message.
pub(crate) fn own_received(fds: &[RawFd]) -> Vec<OwnedFd> {
    // SAFETY: the kernel has just made these descriptors for us, and nothing else knows of them.
    fds.iter().map(|&fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

/// The message queue that `fd` is, for as long as `fd` is open.
pub(crate) fn queue_of(fd: &OwnedFd) -> MqdT {
    // SAFETY: it is a descriptor of a message queue, and a queue does not close what it refers to.
    unsafe { MqdT::from_raw_fd(fd.as_raw_fd()) }
}

/// Message `seq` in a sample of iceoryx2.
#[cfg(feature = "peers")]
pub(crate) fn filled_sample(
    payload: Payload,
    mut sample: SampleMutUninit<ipc::Service, [MaybeUninit<u8>], ()>,
    seq: u64,
) -> SampleMut<ipc::Service, [u8], ()> {
    payload.fill_new(sample.payload_mut(), seq);
    // SAFETY: all of it has just been written.
    unsafe { sample.assume_init() }
}

/// Message `seq` in a request of iceoryx2.
#[cfg(feature = "peers")]
pub(crate) fn filled_request(
    payload: Payload,
    mut request: RequestMutUninit<ipc::Service, [MaybeUninit<u8>], (), [u8], ()>,
    seq: u64,
) -> RequestMut<ipc::Service, [u8], (), [u8], ()> {
    payload.fill_new(request.payload_mut(), seq);
    // SAFETY: all of it has just been written.
    unsafe { request.assume_init() }
}

/// Message `seq` in a response of iceoryx2.
#[cfg(feature = "peers")]
pub(crate) fn filled_response(
    payload: Payload,
    mut response: ResponseMutUninit<ipc::Service, [MaybeUninit<u8>], ()>,
    seq: u64,
) -> ResponseMut<ipc::Service, [u8], ()> {
    payload.fill_new(response.payload_mut(), seq);
    // SAFETY: all of it has just been written.
    unsafe { response.assume_init() }
}

/// The promise that shmipc wants before it reads in place.
pub(crate) fn trust_the_peer() -> PeerTrust {
    // SAFETY: the peer of every session of this program is this program, which writes through
    // shmipc only.
    unsafe { PeerTrust::promise() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn two_mappings_of_one_memory_share_bytes_and_words() {
        let lens = [64, 10_000];
        let (mine, fd) = Mapping::create(&lens).unwrap();
        let theirs = Mapping::join(fd, &lens).unwrap();
        let [word, mut bytes] = mine.cut(lens);
        let [their_word, their_bytes] = theirs.cut(lens);
        word.word(8).store(7, Relaxed);
        bytes.bytes_mut(9_000..9_003).copy_from_slice(b"abc");
        assert_eq!(their_word.word(8).load(Relaxed), 7);
        assert_eq!(their_bytes.bytes(8_999..9_004), b"\0abc\0");
        assert_eq!(their_word.word(0).load(Relaxed), 0);
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn a_range_beyond_the_region_panics() {
        let (mapping, _fd) = Mapping::create(&[64]).unwrap();
        let [region] = mapping.cut([64]);
        region.bytes(60..65);
    }
}
