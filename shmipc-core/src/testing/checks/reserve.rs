//! The control reserve (Q2): in the worst case that two honest sides can reach, a control record still
//! finds room, and with a smaller reserve it does not.
//!
//! The ring is real; the streams are reduced to what they owe (flow.md §6). The reader drains, and
//! publishes its head only when Q4 says so.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::error::PeerMisbehaved;
use crate::layout::Geometry;
use crate::queue::{Flags, Header, Kind, RecordReader, RecordWriter};
use crate::testing::side::Own;
use crate::testing::{Script, WatchedMemory, outbox, small_limits, symmetric};

/// What the writer owes on one place, in the use of it that is current.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Where its terminal ends, once it is sent.
    terminal: Option<u64>,
    stopped: bool,
    /// Where the last window update ends.
    update: u64,
    /// Where the last control record ends.
    last: u64,
}

/// Whose streams a place is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opener {
    Writer,
    Reader,
}

struct Model {
    writer: RecordWriter<Own, Own>,
    reader: RecordReader<Own, Own>,
    /// By opener.
    places: [Vec<Place>; 2],
    session_updates: Vec<u64>,
    need: u64,
    /// Payload lengths of what is granted.
    held: Vec<u32>,
    /// Up to where the reader has acted on records.
    acted: u64,
    /// Twin: a place of the writer's is used again before the head has passed.
    reuse_at_once: bool,
}

type Put = Result<(), PeerMisbehaved>;

impl Model {
    /// `limits` is what the writer goes by, if not by the geometry.
    fn new(geometry: &Geometry, limits: &Geometry) -> Self {
        let memory = || Arc::new(WatchedMemory::new(outbox(geometry, geometry)));
        let (ring, head) = (memory(), memory());
        let places = |count: u32| vec![Place::default(); count as usize];
        Self {
            writer: RecordWriter::new(Arc::clone(&ring), Arc::clone(&head), limits),
            reader: RecordReader::new(head, ring, geometry),
            places: [places(geometry.writer_streams), places(geometry.reader_streams)],
            session_updates: Vec::new(),
            need: 0,
            held: Vec::new(),
            acted: 0,
            reuse_at_once: false,
        }
    }

    fn control(&mut self, kind: Kind) -> Result<u64, PeerMisbehaved> {
        self.writer.put_control(Header::control(kind, 0, 0))?;
        self.writer.publish();
        Ok(self.writer.written())
    }

    // What honest sides may do; what they may not do now does nothing.

    fn update(&mut self, opener: Opener, at: usize) -> Put {
        let place = self.places[opener as usize][at];
        if !place.stopped && place.update <= self.acted {
            let end = self.control(Kind::Window)?;
            let place = &mut self.places[opener as usize][at];
            (place.update, place.last) = (end, end);
        }
        Ok(())
    }

    fn stop(&mut self, opener: Opener, at: usize) -> Put {
        if !self.places[opener as usize][at].stopped {
            let end = self.control(Kind::Stop)?;
            let place = &mut self.places[opener as usize][at];
            (place.stopped, place.last) = (true, end);
        }
        Ok(())
    }

    fn terminal(&mut self, opener: Opener, at: usize) -> Put {
        if self.places[opener as usize][at].terminal.is_none() {
            let end = self.control(Kind::Finish)?;
            let place = &mut self.places[opener as usize][at];
            (place.terminal, place.last) = (Some(end), end);
        }
        Ok(())
    }

    /// The next stream in a place. The reader's own terminal is there whenever it likes.
    fn reuse(&mut self, opener: Opener, at: usize) -> Put {
        let place = self.places[opener as usize][at];
        let free = match (opener, place.terminal) {
            (_, None) => false,
            (Opener::Writer, Some(_)) => {
                self.reuse_at_once || self.writer.load_head()? >= place.last
            }
            (Opener::Reader, Some(terminal)) => terminal <= self.acted,
        };
        if free {
            self.places[opener as usize][at] = Place::default();
        }
        Ok(())
    }

    fn session_update(&mut self) -> Put {
        self.session_updates.retain(|end| *end > self.acted);
        if self.session_updates.len() < 8 {
            let end = self.control(Kind::SessionWindow)?;
            self.session_updates.push(end);
        }
        Ok(())
    }

    fn need(&mut self) -> Put {
        if self.need <= self.acted {
            self.need = self.control(Kind::Need)?;
        }
        Ok(())
    }

    /// Grants a record with so many bytes of payload, if the ring has room for data.
    fn grant(&mut self, len: u32) -> Result<bool, PeerMisbehaved> {
        let granted = self.writer.grant(16 + u64::from(len).next_multiple_of(16))?;
        self.held.extend(granted.then_some(len));
        Ok(granted)
    }

    fn commit(&mut self) {
        if let Some(len) = self.held.pop() {
            let header = Header { kind: Kind::Inline, flags: Flags::none(), value: len, stream: 0 };
            self.writer.put(header, &vec![0; len as usize]);
            self.writer.publish();
        }
    }

    fn begin_batch(&mut self) {
        self.reader.load_tail().expect("an honest tail");
    }

    /// Acts on one more record of the batch. False at its end.
    fn drain_one(&mut self) -> bool {
        let record = self.reader.next_record().expect("an honest record");
        self.acted = match record {
            Some(record) => record.position + record.header.size(),
            None => self.reader.drained(),
        };
        record.is_some()
    }

    fn drain_all(&mut self) {
        self.begin_batch();
        while self.drain_one() {}
        self.reader.end_batch();
    }

    /// The worst that can be owed at one time, the ring being at `offset` when it begins.
    fn worst(&mut self, offset: u64) -> Put {
        let (ours, theirs) = (0..self.places[0].len(), 0..self.places[1].len());
        while self.writer.written() < offset {
            self.session_update()?;
            self.drain_all();
        }
        // The reader knows of all our terminals, and can use its places again when it likes.
        theirs.clone().try_for_each(|at| self.terminal(Opener::Reader, at))?;
        self.drain_all();
        // Nothing is in flight, and data is granted up to the limit.
        for len in [240, 112, 48, 16, 0] {
            while self.grant(len)? {}
        }
        // Stop and update of streams that are then followed by others in their place, with terminals.
        for at in theirs.clone() {
            self.update(Opener::Reader, at)?;
            self.stop(Opener::Reader, at)?;
            self.reuse(Opener::Reader, at)?;
            self.terminal(Opener::Reader, at)?;
        }
        // The reader acts on as much of that as it need not tell.
        let head = self.reader.head();
        self.begin_batch();
        while self.reader.drained() - head + 16 < 512 && self.drain_one() {}
        assert_eq!(self.reader.head(), head, "an eighth of the ring is not reached");
        // The same again, once more in places whose terminal it knows; and everything else.
        for at in theirs {
            self.update(Opener::Reader, at)?;
            self.stop(Opener::Reader, at)?;
            self.reuse(Opener::Reader, at)?;
            self.update(Opener::Reader, at)?;
            self.stop(Opener::Reader, at)?;
            self.terminal(Opener::Reader, at)?;
        }
        while !self.held.is_empty() {
            self.commit();
        }
        for at in ours.cycle().take(8) {
            self.update(Opener::Writer, at)?;
            self.stop(Opener::Writer, at)?;
            self.terminal(Opener::Writer, at)?;
            self.reuse(Opener::Writer, at)?;
        }
        (0..9).try_for_each(|_| self.session_update())?;
        self.need()
    }

    fn act(&mut self, script: &Script) -> Put {
        let byte = script.byte();
        let opener = if byte < 128 { Opener::Writer } else { Opener::Reader };
        let at = script.below(self.places[opener as usize].len());
        match byte % 16 {
            0..=2 => self.update(opener, at),
            3 => self.stop(opener, at),
            4 => self.terminal(opener, at),
            5 | 6 => self.reuse(opener, at),
            7 => self.session_update(),
            8 => self.need(),
            9 => self.grant(script.below(241) as u32).map(drop),
            10 => (0..8).try_for_each(|_| self.grant(240).map(drop)),
            11 | 12 => {
                (0..script.byte() % 8).for_each(|_| self.commit());
                Ok(())
            }
            13 => {
                (0..script.byte() % 32).for_each(|_| _ = self.drain_one());
                Ok(())
            }
            14 => {
                self.begin_batch();
                Ok(())
            }
            _ => {
                while self.drain_one() {}
                self.reader.end_batch();
                Ok(())
            }
        }
    }
}

/// One stream of the writer's, fifteen of the reader's: as many as a reserve of half of the ring holds.
fn geometry() -> Geometry {
    let geometry = Geometry { writer_streams: 1, reader_streams: 15, ..symmetric(&small_limits()) };
    assert!(geometry.control_reserve() <= 2048);
    geometry
}

/// How many of all starting positions end without room for a control record.
fn overflows(limits: &Geometry, reuse_at_once: bool) -> usize {
    let worst = |offset| {
        let mut model = Model::new(&geometry(), limits);
        model.reuse_at_once = reuse_at_once;
        model.worst(offset)
    };
    (4096..8192)
        .step_by(16)
        .filter(|offset| worst(*offset) == Err(PeerMisbehaved::HeadWithheld))
        .count()
}

#[test]
fn a_control_record_finds_room_in_the_worst_case() {
    assert_eq!(overflows(&geometry(), false), 0);
}

#[test]
fn a_place_of_the_reader_owes_five_records_not_three() {
    let weak = Geometry { writer_streams: 16, reader_streams: 0, ..geometry() };
    assert!(overflows(&weak, false) > 0);
}

#[test]
fn granted_data_may_need_padding() {
    let weak = Geometry { inline_max: 16, ..geometry() };
    assert!(overflows(&weak, false) > 0);
}

#[test]
fn the_reader_need_not_tell_an_eighth_of_the_ring() {
    // Six places are 480 bytes, a little less than an eighth.
    let weak = Geometry { reader_streams: 15 - 6, ..geometry() };
    assert!(overflows(&weak, false) > 0);
}

#[test]
fn a_place_is_used_again_when_the_head_has_passed() {
    assert!(overflows(&geometry(), true) > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_control_record_always_finds_room(script in vec(any::<u8>(), 0..4000), few in any::<bool>()) {
        let few = Geometry { reader_streams: 4, writer_streams: if few { 4 } else { 1 }, ..geometry() };
        for geometry in [geometry(), few] {
            let mut model = Model::new(&geometry, &geometry);
            let script = Script::new(&script);
            while !script.is_over() {
                model.act(&script).expect("there is room for a control record");
            }
        }
    }
}
