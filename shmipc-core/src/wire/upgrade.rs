//! Frames between a server and its successor.

use std::time::Duration;

use super::MAX_NAME;
use super::body::Body;
use super::encode::Writer;
use super::header::Kind;
use crate::error::PeerMisbehaved;
use crate::mem::Passed;

/// Presence bits: a process descriptor follows; then the lock of the socket's path; then that of the
/// upgrade socket's.
const PIDFD: u8 = 1;
const LOCK: u8 = 2;
const UPGRADE_LOCK: u8 = 4;

/// What a successor says first.
///
/// ```text
///   8 version of the upgrade protocol     4 bytes
///  12 patience, milliseconds              4 bytes
///  16 application version                 4 bytes
///  20 presence bits, 3 zeros              a byte each
///  24 length of the application's name, name    2 bytes, then as many
/// ```
#[derive(Debug)]
pub struct Claim {
    /// Version of the upgrade protocol that it speaks.
    pub version: u32,
    /// How long it takes at most from the Offer to its Ready.
    pub patience: Duration,
    /// Version of its application protocol.
    pub app_version: u32,
    /// Name of its application protocol, at most [`MAX_NAME`] bytes.
    pub app_name: String,
    /// The successor itself.
    pub pidfd: Option<Passed>,
}

/// A socket file, so that its next owner knows it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inode {
    /// The device it lies on.
    pub device: u64,
    /// Its number there.
    pub number: u64,
}

/// What a predecessor gives away, not yet checked.
///
/// ```text
///   8 generation of the successor         8 bytes
///  16 socket file, upgrade socket file    device and number of each, 8 bytes each; zeros without a file
///  48 presence bits, 3 zeros              a byte each
/// ```
#[derive(Debug)]
pub struct Offer {
    /// The generation that the successor is.
    pub generation: u64,
    /// The file of the listening socket.
    pub file: Inode,
    /// The file of the upgrade socket.
    pub upgrade_file: Inode,
    /// The listening socket.
    pub listener: Passed,
    /// The upgrade socket, which listens too.
    pub upgrade: Passed,
    /// The predecessor itself.
    pub pidfd: Option<Passed>,
    /// The lock of the listening socket's path, if it has a file.
    pub lock: Option<Passed>,
    /// The lock of the upgrade socket's path, if it has a file.
    pub upgrade_lock: Option<Passed>,
}

impl Claim {
    pub(super) fn parse(
        body: Body<'_>,
        mut take: impl FnMut() -> Option<Passed>,
    ) -> Result<Self, PeerMisbehaved> {
        let (claim, bits) = Self::fields(body).ok_or(PeerMisbehaved::Frame)?;
        let mut next = || take().ok_or(PeerMisbehaved::Descriptors);
        let pidfd = (bits & PIDFD != 0).then(&mut next).transpose()?;
        Ok(Self { pidfd, ..claim })
    }

    /// Unknown bits count as not set (W4).
    fn fields(mut body: Body<'_>) -> Option<(Self, u8)> {
        let (version, patience, app_version) = (body.u32()?, body.u32()?, body.u32()?);
        let bits = body.u8()?;
        body.zeros::<3>()?;
        let app_name = body.text(MAX_NAME)?.to_owned();
        let patience = Duration::from_millis(patience.into());
        Some((Self { version, patience, app_version, app_name, pidfd: None }, bits))
    }

    /// The frame. Its descriptor: a pidfd, if that is declared.
    pub fn encode(&self, pidfd: bool) -> Vec<u8> {
        let patience = u32::try_from(self.patience.as_millis()).unwrap_or(u32::MAX);
        let mut frame = Writer::new(Kind::Claim);
        frame.bytes(&self.version.to_be_bytes());
        frame.bytes(&patience.to_be_bytes());
        frame.bytes(&self.app_version.to_be_bytes());
        frame.bytes(&[if pidfd { PIDFD } else { 0 }, 0, 0, 0]);
        frame.text(&self.app_name, MAX_NAME);
        frame.finish()
    }
}

impl Offer {
    pub(super) fn parse(
        body: Body<'_>,
        mut take: impl FnMut() -> Option<Passed>,
    ) -> Result<Self, PeerMisbehaved> {
        let (generation, [file, upgrade_file], bits) =
            Self::fields(body).ok_or(PeerMisbehaved::Frame)?;
        let mut next = || take().ok_or(PeerMisbehaved::Descriptors);
        let (listener, upgrade) = (next()?, next()?);
        let mut if_set = |bit| (bits & bit != 0).then(&mut next).transpose();
        let (pidfd, lock, upgrade_lock) = (if_set(PIDFD)?, if_set(LOCK)?, if_set(UPGRADE_LOCK)?);
        Ok(Self { generation, file, upgrade_file, listener, upgrade, pidfd, lock, upgrade_lock })
    }

    fn fields(mut body: Body<'_>) -> Option<(u64, [Inode; 2], u8)> {
        let generation = body.u64()?;
        let mut inode = || Some(Inode { device: body.u64()?, number: body.u64()? });
        let files = [inode()?, inode()?];
        let bits = body.u8().filter(|bits| bits & !(PIDFD | LOCK | UPGRADE_LOCK) == 0)?;
        body.zeros::<3>()?;
        body.end()?;
        Some((generation, files, bits))
    }
}

/// The frame that gives the sockets away. Its descriptors: listener, upgrade socket, then those that are
/// declared: pidfd, and the two locks.
pub fn offer(
    generation: u64,
    files: [Inode; 2],
    pidfd: bool,
    [lock, upgrade_lock]: [bool; 2],
) -> Vec<u8> {
    let bits = [(pidfd, PIDFD), (lock, LOCK), (upgrade_lock, UPGRADE_LOCK)];
    let bits = bits.iter().filter(|(set, _)| *set).fold(0, |bits, (_, bit)| bits | bit);
    let mut frame = Writer::new(Kind::Offer);
    frame.bytes(&generation.to_be_bytes());
    for file in files {
        frame.bytes(&file.device.to_be_bytes());
        frame.bytes(&file.number.to_be_bytes());
    }
    frame.bytes(&[bits, 0, 0, 0]);
    frame.finish()
}

/// The predecessor has stopped accepting: it is the successor's turn.
pub fn yield_() -> Vec<u8> {
    Writer::new(Kind::Yield).finish()
}

/// The successor has begun.
pub fn serving() -> Vec<u8> {
    Writer::new(Kind::Serving).finish()
}

/// The successor does not need its predecessor any longer.
pub fn release() -> Vec<u8> {
    Writer::new(Kind::Release).finish()
}
