//! Decoded frames.

use super::body::Body;
use super::header::Kind;
use super::hello::{Hello, MAX_NAME};
use super::upgrade::{Claim, Offer};
use crate::error::PeerMisbehaved;
use crate::mem::{Passed, Raw};

/// Presence bit of an Outbox: a process descriptor follows the segment.
pub(super) const PIDFD: u8 = 1;
/// Presence bit of an Outbox: an eventfd follows.
pub(super) const EVENTFD: u8 = 2;

/// A frame of the peer's with the descriptors it declared.
#[derive(Debug)]
pub enum Frame {
    /// Who the peer is.
    Hello(Box<Hello>),
    /// The peer refuses the handshake.
    Refuse(Refuse),
    /// Its segment 0, and what comes with it.
    Outbox(Outbox),
    /// It has mapped our segment 0 and is done with the handshake.
    Ready,
    /// It has rung.
    Bell,
    /// A new segment of its arena.
    AddSegment(AddSegment),
    /// It gives up the segment with this id.
    RetireSegment(Raw<u32>),
    /// It closes the session with this code of the application.
    Close(u32),
    /// A successor asks for the listener.
    Claim(Claim),
    /// A predecessor gives it.
    Offer(Box<Offer>),
    /// The predecessor has stopped accepting.
    Yield,
    /// The successor has begun.
    Serving,
    /// The successor needs its predecessor no longer.
    Release,
}

/// Why a handshake is refused, as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuse {
    /// The reason; [`crate::handshake`] has the list.
    pub reason: u32,
    /// A number that goes with the reason.
    pub number: u32,
    /// A text that goes with the reason, at most 255 bytes, without control characters.
    pub text: String,
}

/// The descriptors of an Outbox frame, not yet checked.
#[derive(Debug)]
pub struct Outbox {
    /// Segment 0.
    pub segment: Passed,
    /// The peer itself.
    pub pidfd: Option<Passed>,
    /// What the peer waits on, for us to write to.
    pub eventfd: Option<Passed>,
}

/// An announced segment of the peer's arena, not yet checked.
#[derive(Debug)]
pub struct AddSegment {
    /// Its id.
    pub id: Raw<u32>,
    /// Its size.
    pub bytes: Raw<u32>,
    /// Its region.
    pub class: SegmentClass,
    /// The memory.
    pub segment: Passed,
}

/// The region of an arena that a segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentClass {
    /// Several small extents.
    Small = 0,
    /// One large extent.
    Dedicated = 1,
}

impl Frame {
    /// Parses a body. `take` hands out the descriptors that came with the frame, one at a time (W2).
    pub(super) fn parse(
        kind: Kind,
        body: &[u8],
        take: impl FnMut() -> Option<Passed>,
    ) -> Result<Self, PeerMisbehaved> {
        let body = Body(body);
        let parsed = match kind {
            Kind::Hello => Hello::parse(body).map(|hello| Self::Hello(Box::new(hello))),
            Kind::Refuse => Refuse::parse(body).map(Self::Refuse),
            Kind::Outbox => return Outbox::parse(body, take).map(Self::Outbox),
            Kind::Ready => body.end().map(|()| Self::Ready),
            Kind::Bell => body.end().map(|()| Self::Bell),
            Kind::AddSegment => return AddSegment::parse(body, take).map(Self::AddSegment),
            Kind::RetireSegment => only_u32(body).map(|id| Self::RetireSegment(Raw::new(id))),
            Kind::Close => only_u32(body).map(Self::Close),
            Kind::Claim => return Claim::parse(body, take).map(Self::Claim),
            Kind::Offer => {
                return Offer::parse(body, take).map(|offer| Self::Offer(Box::new(offer)));
            }
            Kind::Yield => body.end().map(|()| Self::Yield),
            Kind::Serving => body.end().map(|()| Self::Serving),
            Kind::Release => body.end().map(|()| Self::Release),
        };
        parsed.ok_or(PeerMisbehaved::Frame)
    }
}

impl Refuse {
    fn parse(mut body: Body<'_>) -> Option<Self> {
        let (reason, number) = (body.u32()?, body.u32()?);
        Some(Self { reason, number, text: body.text(MAX_NAME)?.to_owned() })
    }
}

impl Outbox {
    fn parse(
        body: Body<'_>,
        mut take: impl FnMut() -> Option<Passed>,
    ) -> Result<Self, PeerMisbehaved> {
        let bits = Self::presence(body).ok_or(PeerMisbehaved::Frame)?;
        let mut next = || take().ok_or(PeerMisbehaved::Descriptors);
        let segment = next()?;
        let pidfd = (bits & PIDFD != 0).then(&mut next).transpose()?;
        let eventfd = (bits & EVENTFD != 0).then(&mut next).transpose()?;
        Ok(Self { segment, pidfd, eventfd })
    }

    fn presence(mut body: Body<'_>) -> Option<u8> {
        let bits = body.u8().filter(|bits| bits & !(PIDFD | EVENTFD) == 0)?;
        body.zeros::<3>()?;
        body.end()?;
        Some(bits)
    }
}

impl AddSegment {
    fn parse(
        body: Body<'_>,
        mut take: impl FnMut() -> Option<Passed>,
    ) -> Result<Self, PeerMisbehaved> {
        let (id, bytes, class) = Self::fields(body).ok_or(PeerMisbehaved::Frame)?;
        let segment = take().ok_or(PeerMisbehaved::Descriptors)?;
        Ok(Self { id: Raw::new(id), bytes: Raw::new(bytes), class, segment })
    }

    fn fields(mut body: Body<'_>) -> Option<(u32, u32, SegmentClass)> {
        let (id, bytes) = (body.u32()?, body.u32()?);
        let class = match body.u8()? {
            0 => SegmentClass::Small,
            1 => SegmentClass::Dedicated,
            _ => return None,
        };
        body.zeros::<3>()?;
        body.end()?;
        Some((id, bytes, class))
    }
}

fn only_u32(mut body: Body<'_>) -> Option<u32> {
    let number = body.u32()?;
    body.end()?;
    Some(number)
}
