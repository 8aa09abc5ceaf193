//! The socket of a session: what a wake reports, and the frames on it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::error::{PeerMisbehaved, SessionError};
use crate::link::{Receive, Woken};
use crate::mem::{self, AdoptError, Own};
use crate::session::{Effects, Rx};
use crate::steps::{self, Step};
use crate::wire::Frame;

use super::{FREE_RINGS, READS, Shared, SocketIn, lock};

impl Shared {
    /// What a kernel wait reported to the thread inside: reads the socket, notices a death.
    pub(in crate::handle) fn on_woken(&self, woken: Woken) {
        // One read is enough for what woke us: the wait set reports what is left (level).
        self.act_on(woken, 1, true);
    }

    /// The same for an event loop outside, which took the edges of the descriptor (V1). It watches the
    /// descriptor in its own way, perhaps edge-triggered: the socket is read until it is empty.
    pub(in crate::handle) fn on_taken(&self, woken: Woken) {
        self.act_on(woken, READS, false);
        // N10.
        if (woken.bell || woken.kick) && self.gate().another_asleep(None) {
            self.link.kick();
        }
    }

    fn act_on(&self, woken: Woken, reads: u32, inside: bool) {
        steps::reach(Step::Woken);
        if woken.socket || woken.peer_died {
            self.read_socket_and_act(if woken.peer_died { READS } else { reads }, inside);
        }
        if woken.peer_died {
            self.end_after_drain(SessionError::PeerDied);
        }
        if woken.writable {
            let mut effects = Effects::default();
            let _ = self.flush_frames(&mut effects);
            self.complete(effects, Ok(()));
        }
        if woken.bell {
            lock(&self.socket).bells += 1;
        }
    }

    /// Reads the socket until it is empty, or enough was read.
    pub(in crate::handle) fn look_at_socket(&self) {
        self.read_socket_and_act(READS, false);
    }

    /// Acts on frames that came with the last one of the handshake: the socket does not report them again.
    pub(in crate::handle) fn take_first_frames(&self) {
        self.read_socket_and_act(0, false);
    }

    /// `inside`: by the thread that comes back from the kernel wait, whose bell it is.
    pub(super) fn read_socket_and_act(&self, reads: u32, inside: bool) {
        let mut effects = Effects::default();
        let result = self.read_frames(reads, &mut self.rx(), &mut effects);
        effects.took_bell &= !inside;
        self.complete(effects, result);
        let closed = {
            let socket = lock(&self.socket);
            socket.ended.then_some(socket.closed_with)
        };
        if let Some(code) = closed {
            self.end_after_drain(code.map_or(SessionError::PeerDied, SessionError::ClosedByPeer));
        }
    }

    /// What the kernel would report to a thread that waits: the socket, and a death that a child of the
    /// peer which holds the socket open hides.
    pub(in crate::handle) fn glance(&self) {
        // In this order: what the dead has said goes before its death.
        let died = self.link.peer_died();
        self.look_at_socket();
        if died {
            self.end_after_drain(SessionError::PeerDied);
        }
        let _ = self.do_chores();
    }

    /// Looks at the socket, at most once a millisecond.
    pub(in crate::handle) fn glance_now_and_then(&self) {
        let now = self.began.elapsed().as_millis() as u64;
        if self.glanced.swap(now, Ordering::Relaxed) != now {
            self.glance();
        }
    }

    pub(super) fn on_frame(
        &self,
        frame: Frame,
        socket: &mut SocketIn,
        rx: &mut Rx,
        effects: &mut Effects,
    ) -> Result<(), PeerMisbehaved> {
        match frame {
            Frame::Bell => {
                effects.took_bell = true;
                socket.bells += 1;
                // Each arming may be answered by one ring of each publishing thread: those of sleepers,
                // and those of reservations, which may be waited for awake.
                let allowed =
                    |armings: u64| FREE_RINGS.saturating_add(armings.saturating_mul(1024));
                let sleeps = self.sleeps.load(Ordering::Relaxed);
                if socket.bells > allowed(sleeps)
                    && socket.bells > allowed(sleeps + self.tx().armings)
                {
                    return Err(PeerMisbehaved::BellFlood);
                }
            }
            Frame::Close(code) => socket.closed_with = Some(code),
            Frame::AddSegment(add) => {
                let expected =
                    rx.last_segment.checked_add(1).ok_or(PeerMisbehaved::SegmentLimits)?;
                let (live, bytes) = rx.segments();
                let room = (self.incoming.arena_max as usize).saturating_sub(bytes);
                let most = self.incoming.max_segments() as usize;
                let id = add
                    .id
                    .parse(|id| (id == expected).then_some(id), PeerMisbehaved::SegmentLimits)?;
                let fits = |size: u32| {
                    let size = size as usize;
                    (size >= 4096 && size % 4096 == 0 && size <= room && live < most)
                        .then_some(size)
                };
                let size = add.bytes.parse(fits, PeerMisbehaved::SegmentLimits)?;
                socket.segments.count(size, Instant::now())?;
                let files: Vec<_> = lock(&self.own_files).values().copied().collect();
                let own = if self.peer_is_elsewhere { Own::Process } else { Own::These(&files) };
                let mapping = match mem::adopt(add.segment, size, own) {
                    Ok(mapping) => mapping,
                    Err(AdoptError::Misbehaved(misdeed)) => return Err(misdeed),
                    Err(AdoptError::Os(error)) => {
                        socket.failed = Some(error);
                        return Ok(());
                    }
                };
                rx.add_segment(id, mapping, add.class);
                self.note_segments(rx.segments().1, true);
                steps::reach(Step::SegmentMapped);
                let mut returns = lock(&self.returns);
                returns.by_segment.insert(id, 0);
                effects.returned = Some(returns.writer.segment(id));
            }
            Frame::RetireSegment(id) => {
                let mut returns = lock(&self.returns);
                let id = id.parse(
                    |id| returns.by_segment.contains_key(&id).then_some(id),
                    PeerMisbehaved::UnknownSegment,
                )?;
                if returns.by_segment.remove(&id) != Some(0) {
                    return Err(PeerMisbehaved::RetiredWhileLent);
                }
                rx.remove_segment(id)?;
                self.note_segments(rx.segments().1, false);
            }
            // Of the handshake, or of an upgrade.
            _ => return Err(PeerMisbehaved::Frame),
        }
        Ok(())
    }

    /// Acts on the frames that have been read.
    fn take_frames(
        &self,
        socket: &mut SocketIn,
        rx: &mut Rx,
        effects: &mut Effects,
    ) -> Result<(), PeerMisbehaved> {
        while socket.failed.is_none() {
            let Some(frame) = socket.decoder.next_frame()? else { break };
            self.on_frame(frame, socket, rx, effects)?;
        }
        Ok(())
    }

    /// Reads the socket so many times at most, and acts on the frames.
    pub(super) fn read_frames(
        &self,
        reads: u32,
        rx: &mut Rx,
        effects: &mut Effects,
    ) -> Result<(), PeerMisbehaved> {
        let mut guard = lock(&self.socket);
        let socket = &mut *guard;
        // With the last frame of the handshake others may have come.
        self.take_frames(socket, rx, effects)?;
        for _ in 0..reads {
            if socket.ended || socket.failed.is_some() {
                break;
            }
            match self.link.receive(&mut socket.decoder) {
                Ok(Receive::Bytes) => self.take_frames(socket, rx, effects)?,
                Ok(Receive::Empty) => break,
                Ok(Receive::End) => socket.ended = true,
                Err(crate::link::LinkError::Misbehaved(misdeed)) => return Err(misdeed),
                Err(crate::link::LinkError::Os(error)) => {
                    effects.log.later(move || {
                        tracing::warn!(%error, "reading the session's socket failed");
                    });
                    socket.failed = Some(error);
                }
            }
        }
        effects.failed = socket.failed;
        Ok(())
    }
}
