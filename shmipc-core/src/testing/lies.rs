//! What a hostile peer says, so that it is believed for a while.

use super::Script;
use crate::handshake::Role;
use crate::layout::{FINAL_AT, Geometry, HEAD_AT, LEAVING_AT, RETURNED_AT, RING_AT, TAIL_AT};
use crate::notify::event::{Cursor, NEVER};
use crate::queue::{Flags, Kind};
use crate::session::StreamId;

/// Places that it uses.
const PLACES: usize = 4;

/// What it has said, to build upon.
#[derive(Debug)]
pub(super) struct Lies {
    geometry: Geometry,
    pub(super) tail: u64,
    head: u64,
    returned: u64,
    pub(super) events: [u64; 3],
    /// It leaves, and has said where.
    leaving: u64,
    last: u64,
    /// The last first word of a record, and where it was.
    header: u64,
    header_at: usize,
    /// Streams it has opened so far, by place.
    opened: [u32; PLACES],
}

impl Lies {
    pub(super) fn new(geometry: &Geometry) -> Self {
        let geometry = *geometry;
        Self {
            geometry,
            tail: 0,
            head: 0,
            returned: 0,
            events: [0; 3],
            leaving: 0,
            last: 0,
            header: 0,
            header_at: 0,
            opened: [0; PLACES],
        }
    }

    /// Remembers an answer, true or not.
    pub(super) fn said(&mut self, at: usize, answer: u64) {
        match at {
            TAIL_AT => self.tail = answer,
            HEAD_AT => self.head = answer,
            RETURNED_AT => self.returned = answer,
            LEAVING_AT => self.leaving = answer,
            FINAL_AT => self.last = answer,
            _ => {
                let cursor = Cursor::ALL.into_iter().find(|cursor| cursor.event_at() == at);
                cursor.inspect(|cursor| self.events[*cursor as usize] = answer);
            }
        }
    }

    /// An event word: mostly somewhere near our cursor, or never.
    pub(super) fn event(&self, script: &Script, ours: u64) -> u64 {
        match script.byte() {
            byte @ 0..=127 => ours.saturating_sub(8 * u64::from(byte)),
            byte @ 128..=191 => ours + u64::from(byte),
            192..=251 => NEVER,
            _ => script.word(),
        }
    }

    /// Its tail moves on by a few records.
    pub(super) fn tail(&self, script: &Script) -> u64 {
        match script.next() {
            None | Some(0..=31) => self.tail,
            Some(byte @ 32..=247) => self.tail.wrapping_add(16 * u64::from(byte % 64)),
            Some(_) => far_off(self.tail, script),
        }
    }

    /// Its head follows our tail.
    pub(super) fn head(&self, script: &Script, ours: u64) -> u64 {
        let lag = ours.saturating_sub(self.head);
        match script.next() {
            None | Some(0..=127) => self.head,
            Some(byte @ 128..=254) => self.head + lag * u64::from(byte - 127) / 127 / 16 * 16,
            Some(_) => far_off(self.head, script),
        }
    }

    /// Its return cursor moves on by an entry or two.
    pub(super) fn returned(&self, script: &Script) -> u64 {
        match script.next() {
            None | Some(0..=199) => self.returned,
            Some(byte @ 200..=253) => self.returned.wrapping_add(u64::from(byte % 2)),
            Some(_) => far_off(self.returned, script),
        }
    }

    /// It leaves, sooner or later.
    pub(super) fn leaving(&self, script: &Script) -> u64 {
        match script.next() {
            Some(255) => u64::from(script.one_in(4)),
            _ => self.leaving,
        }
    }

    /// Its final position is what it was, or one of our records.
    pub(super) fn last(&self, script: &Script, ours: u64) -> u64 {
        match script.next() {
            None | Some(0..=99) => self.last,
            Some(255) => far_off(self.last, script),
            Some(_) if self.last != 0 => self.last,
            Some(byte) => ours * u64::from(byte - 99) / 155 / 16 * 16 + 1,
        }
    }

    /// A word in the ring: what it may be depends on the words before it.
    pub(super) fn record(&mut self, script: &Script, at: usize) -> u64 {
        let kind = (self.header & 0xff) as u8;
        match at.wrapping_sub(self.header_at) {
            8 => self.stream(kind, script),
            16 if kind == Kind::Extent as u8 => {
                (u64::from(script.byte() / 120) + 1) | u64::from(script.byte() % 4) << 32
            }
            24 if kind == Kind::Extent as u8 => {
                let len =
                    1 + script.below(self.geometry.max_message.min(8192) as usize + 64) as u64;
                u64::from(script.byte() % 80) | len << 32
            }
            _ => {
                self.header_at = at;
                self.header = self.header(script);
                self.header
            }
        }
    }

    /// A record that fits before the tail.
    fn header(&self, script: &Script) -> u64 {
        let ring = u64::from(self.geometry.ring_bytes);
        let here = (self.header_at - RING_AT) as u64;
        let to_end = ring.saturating_sub(here);
        let room = (self.tail.wrapping_sub(here) & (ring - 1)).clamp(16, to_end.max(16));
        let byte = script.byte();
        let mute = self.opened == [0; PLACES];
        // To open a stream in a place that is in use is found out at once.
        let fresh = self.opened.contains(&0);
        let (kind, flags, value) = match byte {
            64..=75 | 80..=87 | 16..=47 if mute => (Kind::Open, Flags::OPEN, 0),
            0..=15 if fresh => (Kind::Open, Flags::OPEN, 0),
            16..=19 => (Kind::Window, Flags::none(), self.update(script)),
            20..=47 => (Kind::Stop, Flags::none(), 7),
            48..=49 => (Kind::SessionWindow, Flags::none(), 0),
            50..=55 => (Kind::Need, Flags::none(), 0),
            56..=63 => (Kind::Need, Flags::none(), 0),
            64..=71 => (Kind::Finish, Flags::none(), 0),
            72..=75 if fresh => (Kind::Finish, Flags::OPEN, 0),
            76..=79 if !mute => (Kind::Reset, Flags::none(), 7),
            80..=87 => (Kind::Stop, Flags::none(), 7),
            88..=91 if room == to_end => (Kind::Pad, Flags::none(), to_end.saturating_sub(16)),
            92..=249 => {
                let most = u64::from(self.geometry.inline_max).min(room - 16) as usize;
                let open = Flags::none().with_if(Flags::OPEN, mute || fresh && byte % 16 == 0);
                let flags =
                    open.with_if(Flags::FIN, byte % 16 == 1).with_if(Flags::MORE, byte % 16 == 2);
                match room >= 32 && byte % 4 == 3 {
                    true => (Kind::Extent, flags, 0),
                    false => (Kind::Inline, flags, script.below(most + 1) as u64),
                }
            }
            0..=15 | 72..=79 | 88..=91 => (Kind::Need, Flags::none(), 0),
            _ => return wild(script),
        };
        let flags = [Flags::OPEN, Flags::MORE, Flags::FIN]
            .iter()
            .enumerate()
            .fold(0, |bits, (bit, flag)| bits | u64::from(flags.contains(*flag)) << bit);
        kind as u64 | flags << 8 | value << 32
    }

    /// Credit of a stream, in units of 64 bytes: somewhat more than half of a window, or anything.
    fn update(&self, script: &Script) -> u64 {
        let window = u64::from(self.geometry.stream_window / 64);
        window + if script.one_in(4) { u64::from(script.byte()) } else { window / 2 + 1 }
    }

    /// The stream of a record.
    fn stream(&mut self, kind: u8, script: &Script) -> u64 {
        let byte = script.byte();
        if byte == 255 {
            return script.word();
        }
        if kind == Kind::SessionWindow as u8 {
            // Honest only if so much was sent.
            let more = if byte < 64 { script.byte() } else { 9 };
            return u64::from(self.geometry.unread_max) + 64 * u64::from(more);
        }
        let place = usize::from(byte) % PLACES;
        if self.header >> 8 & 1 == 1 {
            if byte > 250 {
                // Beyond what was agreed.
                let place = self.geometry.reader_streams + u32::from(byte - 251);
                return StreamId::new(Role::Server, place, 1).word();
            }
            let place = self.opened.iter().position(|uses| *uses == 0).unwrap_or(place);
            self.opened[place] += 1;
            return StreamId::new(Role::Server, place as u32, self.opened[place]).word();
        }
        if byte < 8 {
            return StreamId::new(Role::Client, place as u32, 1 + u32::from(byte / 6)).word();
        }
        // Mostly a stream that it has opened, if there is one.
        let open = (0..PLACES).map(|next| (place + next) % PLACES).find(|at| self.opened[*at] > 0);
        let place = open.filter(|_| byte < 252).unwrap_or(place);
        let late = u32::from(byte % 16 == 0);
        let generation = self.opened[place].saturating_sub(late).max(1);
        StreamId::new(Role::Server, place as u32, generation).word()
    }
}

/// The first word of a record that makes no sense, seldom enough for a session to go on for a while.
fn wild(script: &Script) -> u64 {
    match script.byte() {
        0..=7 => script.word(),
        8..=11 => Kind::Inline as u64 | u64::from(script.byte()) << 8,
        12..=15 => Kind::Open as u64 | 1 << 8,
        16..=19 => Kind::Inline as u64 | script.word() << 32,
        20..=47 => Kind::Inline as u64 | (script.below(512) as u64) << 32,
        48..=63 => Kind::Pad as u64 | (script.below(4) as u64) << 36,
        _ => Kind::Need as u64,
    }
}

/// A number far from where a cursor was, now and then.
fn far_off(from: u64, script: &Script) -> u64 {
    match script.byte() {
        0..=3 => from.wrapping_sub(16),
        4..=7 => from.wrapping_add(8),
        8..=11 => from.wrapping_add(1 << (script.byte() % 64)),
        12..=15 => script.word(),
        _ => from,
    }
}
