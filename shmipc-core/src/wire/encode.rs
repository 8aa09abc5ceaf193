//! Writing frames.

use super::frame::{EVENTFD, PIDFD, Refuse, SegmentClass};
use super::header::{HEADER, Kind, MAGIC, VERSION};
use super::hello::MAX_NAME;

/// The frame that rings the socket bell.
pub const BELL: [u8; HEADER] = header(Kind::Bell, HEADER as u32);

/// The frame that ends a handshake.
pub fn ready() -> Vec<u8> {
    Writer::new(Kind::Ready).finish()
}

/// The frame that refuses a handshake. The text is cut at 255 bytes.
pub fn refuse(refuse: &Refuse) -> Vec<u8> {
    let mut frame = Writer::new(Kind::Refuse);
    frame.bytes(&refuse.reason.to_be_bytes());
    frame.bytes(&refuse.number.to_be_bytes());
    frame.text(&refuse.text, MAX_NAME);
    frame.finish()
}

/// The frame that carries our outbox. Its descriptors: segment 0, then the pidfd and the eventfd if
/// they are declared.
pub fn outbox(pidfd: bool, eventfd: bool) -> Vec<u8> {
    let mut frame = Writer::new(Kind::Outbox);
    let bits = if pidfd { PIDFD } else { 0 } | if eventfd { EVENTFD } else { 0 };
    frame.bytes(&[bits, 0, 0, 0]);
    frame.finish()
}

/// The frame that announces a segment of the arena. Its descriptor: the segment.
pub fn add_segment(id: u32, bytes: u32, class: SegmentClass) -> Vec<u8> {
    let mut frame = Writer::new(Kind::AddSegment);
    frame.bytes(&id.to_be_bytes());
    frame.bytes(&bytes.to_be_bytes());
    frame.bytes(&[class as u8, 0, 0, 0]);
    frame.finish()
}

/// The frame that retires a segment.
pub fn retire_segment(id: u32) -> Vec<u8> {
    let mut frame = Writer::new(Kind::RetireSegment);
    frame.bytes(&id.to_be_bytes());
    frame.finish()
}

/// The frame that ends a session, with the application's reason.
pub fn close(code: u32) -> Vec<u8> {
    let mut frame = Writer::new(Kind::Close);
    frame.bytes(&code.to_be_bytes());
    frame.finish()
}

const fn header(kind: Kind, length: u32) -> [u8; HEADER] {
    let [l0, l1, l2, l3] = length.to_be_bytes();
    let [m0, m1] = MAGIC.to_be_bytes();
    [l0, l1, l2, l3, m0, m1, VERSION, kind as u8]
}

/// A frame under construction; the header is filled in at the end.
pub(super) struct Writer {
    kind: Kind,
    frame: Vec<u8>,
}

impl Writer {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, frame: vec![0; HEADER] }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.frame.extend_from_slice(bytes);
    }

    /// A length of 2 bytes, and the text without control characters, cut after `max` bytes.
    pub(super) fn text(&mut self, text: &str, max: usize) {
        let mut clean: String = text.chars().filter(|c| !c.is_control()).collect();
        while clean.len() > max {
            clean.pop();
        }
        let len = u16::try_from(clean.len()).unwrap_or(0);
        self.bytes(&len.to_be_bytes());
        self.bytes(clean.as_bytes());
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.frame.len()).unwrap_or(u32::MAX);
        if let Some(place) = self.frame.first_chunk_mut() {
            *place = header(self.kind, length);
        }
        self.frame
    }
}
