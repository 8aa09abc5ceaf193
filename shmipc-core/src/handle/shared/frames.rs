//! What we tell the peer about our segments: frames on their way to the socket, in the order of the
//! segments' ids.
//!
//! A frame is queued in the section of the sending half that decides about its segment, so the order
//! on the socket is that of the ids, whoever creates them. Nobody waits for a peer that does not read
//! its socket: what did not fit is sent when the wait set says so, or by whoever looks next.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use crate::link::Sent;
use crate::session::Effects;
use crate::steps::{self, Step};

use super::{Shared, lock};

/// Frames not yet handed to the socket.
#[derive(Debug, Default)]
pub(super) struct Frames {
    queue: VecDeque<Frame>,
    /// The wait set reports when the socket can take one.
    watching: bool,
}

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) segment: Option<OwnedFd>,
    /// The segment that records may name once the frame is on the socket.
    pub(super) announces: Option<u32>,
}

/// How it stands with the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::handle) enum Backlog {
    /// Everything is on the socket.
    None,
    /// The rest waits for the socket, which the wait set watches.
    Socket,
    /// The rest waits for the kernel, which says nothing: look again after a while.
    Kernel,
}

impl Shared {
    /// Queues a frame. In a section of the sending half.
    pub(super) fn queue_frame(&self, frame: Frame) {
        lock(&self.frames).queue.push_back(frame);
    }

    /// Hands queued frames to the socket, as far as it takes them. Never blocks.
    pub(in crate::handle) fn flush_frames(&self, effects: &mut Effects) -> Backlog {
        let mut announced = Vec::new();
        let sent = self.send_frames(&mut announced);
        if !announced.is_empty() {
            let mut tx = self.tx();
            announced.into_iter().for_each(|id| tx.arena.announced(id));
            steps::reach(Step::SegmentLive);
            tx.settle_or_end(effects);
        }
        sent.unwrap_or_else(|error| {
            self.end(error.into());
            Backlog::None
        })
    }

    fn send_frames(&self, announced: &mut Vec<u32>) -> Result<Backlog, crate::error::OsError> {
        let mut frames = lock(&self.frames);
        let mut backlog = Backlog::None;
        while let (Some(frame), Backlog::None) = (frames.queue.front(), backlog) {
            let segment = frame.segment.as_ref().map(AsFd::as_fd);
            match self.link.send_frame(&frame.bytes, segment.as_slice())? {
                Sent::Whole => {
                    announced.extend(frame.announces);
                    frames.queue.pop_front();
                }
                // Who waits for the segment learns from the wait set that the peer is gone.
                Sent::Gone => drop(frames.queue.pop_front()),
                Sent::Full => backlog = Backlog::Socket,
                Sent::Later => backlog = Backlog::Kernel,
            }
        }
        let watch = backlog == Backlog::Socket;
        if watch != frames.watching {
            self.link.watch_writable(watch)?;
            frames.watching = watch;
        }
        Ok(backlog)
    }

    /// Whether frames wait.
    pub(super) fn has_frames(&self) -> bool {
        !lock(&self.frames).queue.is_empty()
    }
}
