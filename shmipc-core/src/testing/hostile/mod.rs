//! Everything that reads the peer, against a peer that says anything.
//!
//! Each function plays one script. It panics if a promise is broken, whatever the bytes are:
//!
//! * no panic of the code under test, and no access outside of the peer's memory (which the memory
//!   checks),
//! * work bounded by the ring or by what was lent, counted in loads,
//! * our own cursors never run backwards, and a control record finds room or the peer is accused,
//! * what goes wrong is a [`PeerMisbehaved`], which the function returns.

mod socket;

pub use socket::{frames, handshake};

use std::sync::{Arc, OnceLock};

use super::actor::Actor;
use super::side::Side;
use super::{AdversarialMemory, Script, WatchedMemory, outbox, small_limits, symmetric};
use crate::config::Limits;
use crate::error::{PeerMisbehaved, SessionError};
use crate::handshake::Role;
use crate::layout::{Geometry, returns_at};
use crate::mem::{self, Memory, MemoryMut, PeerMapping};
use crate::notify::event::{self, Checks, Cursor};
use crate::pool::{Arena, ReturnReader, Shortage};
use crate::queue::{Flags, Header, Kind, RecordReader, RecordWriter};
use crate::session::{StreamId, footprint};
use crate::wire::SegmentClass;

/// A script, a geometry chosen by it, our outbox, and the peer's.
fn stage(bytes: &[u8]) -> (Arc<Script>, Geometry, Arc<WatchedMemory>, AdversarialMemory) {
    let script = Arc::new(Script::new(bytes));
    let limits = if script.one_in(4) { Limits::default() } else { small_limits() };
    let mut geometry = symmetric(&limits);
    if script.one_in(2) {
        // A few messages by reference are worth a whole window of the session.
        geometry.max_message = 2048;
    }
    let own = Arc::new(WatchedMemory::new(outbox(&geometry, &geometry)));
    let peer = AdversarialMemory::new(&script, &own, &geometry);
    (script, geometry, own, peer)
}

/// The most loads that a turn over a whole ring may need: four words and a payload per record, the
/// tail, and some.
fn most_loads(geometry: &Geometry) -> u64 {
    5 * u64::from(geometry.ring_bytes) / 16 + 8
}

/// Reading records.
pub fn records(bytes: &[u8]) -> Option<PeerMisbehaved> {
    let (script, geometry, own, peer) = stage(bytes);
    let mut reader = RecordReader::new(own, peer.clone(), &geometry);
    let ring_end = returns_at(geometry.ring_bytes);
    while !script.is_over() {
        let (loads, from) = (peer.loads(), reader.drained());
        let stream = StreamId::new(Role::Server, u32::from(script.byte() % 3), 1);
        let taken = reader.take_inline(stream.word(), |peer, at, len| {
            assert!(len <= geometry.inline_max as usize && at + len <= ring_end);
            Some(peer.read_to_vec(at, len))
        });
        if taken.is_some() {
            assert!(reader.drained() > from && reader.drained() <= peer.tail());
        }
        let tail = match reader.load_tail() {
            Ok(tail) => tail,
            Err(misdeed) => return Some(misdeed),
        };
        assert!(tail % 16 == 0 && tail - reader.drained() <= geometry.ring_bytes.into());
        loop {
            let before = peer.loads();
            let record = match reader.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(misdeed) => return Some(misdeed),
            };
            assert!(peer.loads() - before <= 8, "many of padding for one record");
            assert_eq!(record.position, reader.drained());
            assert!(record.position + record.header.size() <= tail);
            let payload = record.header.size() as usize - 16;
            assert!(record.payload_at + payload <= ring_end, "a record crosses the end");
            assert!(reader.drained() - reader.head() < geometry.head_lag(), "Q4");
            if record.header.kind == Kind::Inline {
                assert!(reader.payload(&record).len() <= geometry.inline_max as usize);
            }
            assert_eq!(record.extent.is_some(), record.header.kind == Kind::Extent);
        }
        reader.end_batch();
        assert!(reader.drained() == tail && reader.head() <= tail);
        assert!(peer.loads() - loads <= most_loads(&geometry), "unbounded work");
    }
    None
}

/// Writing records to a reader whose head says anything.
pub fn space(bytes: &[u8]) -> Option<PeerMisbehaved> {
    let (script, geometry, own, peer) = stage(bytes);
    let ring = u64::from(geometry.ring_bytes);
    let mut writer = RecordWriter::new(own, peer, &geometry);
    let control = Header::control(Kind::Stop, 1, 0);
    let mut granted = Vec::new();
    while !script.is_over() {
        let byte = script.byte();
        let result = match byte % 8 {
            0..=2 => {
                let len = script.below(geometry.inline_max as usize + 1) as u32;
                let size = 16 + u64::from(len).next_multiple_of(16);
                writer.grant(size).map(|fits| granted.extend(fits.then_some((len, size))))
            }
            3 | 4 => {
                let flags = Flags::none();
                if let Some((len, _)) = granted.pop() {
                    let header = Header { kind: Kind::Inline, flags, value: len, stream: 1 };
                    writer.put(header, &vec![byte; len as usize]);
                }
                Ok(())
            }
            5 => {
                if let Some((_, size)) = granted.pop() {
                    writer.ungrant(size);
                }
                Ok(())
            }
            _ => (0..=byte / 8).try_for_each(|_| writer.put_control(control)),
        };
        if result.is_err() {
            return result.err();
        }
        let held: u64 = granted.iter().map(|(_, size)| *size).sum();
        assert_eq!(writer.held(), held);
        assert!(writer.written() - writer.head() + held <= ring, "Q1");
        writer.publish();
        if let Err(misdeed) = writer.load_head() {
            return Some(misdeed);
        }
    }
    None
}

/// Taking extents back that were lent, or not.
pub fn returns(bytes: &[u8]) -> Option<PeerMisbehaved> {
    let (script, geometry, _, peer) = stage(bytes);
    let mut reader = ReturnReader::new(peer.clone(), &geometry, &geometry);
    let mut arena = Arena::new(&geometry);
    let mut held = Vec::new();
    while !script.is_over() {
        match script.byte() % 4 {
            0 => match arena.hold(1 + script.below(65536) as u32) {
                Ok(extent) => held.push(extent),
                Err(Shortage::Grow(plan)) => {
                    let created = mem::recycled_arena(plan.bytes as usize);
                    arena.begin(plan);
                    let (segment, _) = created.expect("memory for a test");
                    let id = arena.add(plan, segment);
                    arena.announced(id);
                }
                Err(Shortage::Wait(_) | Shortage::Growing(_)) => {}
            },
            1 => {
                held.pop().map(|extent| arena.lend(extent));
            }
            2 => {
                if let Some(extent) = held.pop() {
                    arena.release(extent);
                }
            }
            _ => {
                let (loads, returnable) = (peer.loads(), arena.returnable());
                if let Err(misdeed) = reader.load(returnable) {
                    return Some(misdeed);
                }
                while let Some(entry) = reader.next_entry() {
                    let before = (arena.lent(), arena.returnable());
                    if let Err(misdeed) = arena.returned(entry) {
                        assert_eq!(
                            before,
                            (arena.lent(), arena.returnable()),
                            "a lie changes nothing"
                        );
                        return Some(misdeed);
                    }
                }
                assert!(peer.loads() - loads <= u64::from(returnable) + 1, "unbounded work");
            }
        }
        assert!(arena.returnable() <= geometry.max_lent, "P2");
        assert!(arena.lent() + held.len() as u32 <= arena.returnable());
    }
    None
}

/// The header of the peer's outbox, while it is read for event words and cursors.
pub fn header(bytes: &[u8]) -> Option<PeerMisbehaved> {
    let (script, _, own, peer) = stage(bytes);
    let checks = Checks::new();
    let mut positions = [0; 3];
    while !script.is_over() {
        let cursor = Cursor::ALL[script.below(3)];
        let position = &mut positions[cursor as usize];
        let before = peer.loads();
        match script.byte() % 4 {
            0 => {
                event::arm(&own, cursor, *position);
                event::news(&own, &peer, cursor, *position);
            }
            1 => event::disarm(&own, cursor),
            _ => {
                *position += 16 * (1 + script.below(64) as u64);
                own.publish64(cursor.cursor_at(), *position);
                let rings = checks.needs_ring(&peer, cursor, *position);
                assert!(!rings || peer.event(cursor) < *position, "rung for what is to come");
                if rings {
                    checks.rung(cursor, *position);
                    let again = checks.needs_ring(&peer, cursor, *position);
                    assert!(!again, "rung twice for one publication");
                }
            }
        }
        assert!(peer.loads() - before <= 2, "one look for each question");
    }
    None
}

/// A session, both halves, whose peer's outbox says anything.
pub fn session(bytes: &[u8]) -> Option<PeerMisbehaved> {
    let (script, geometry, own, peer) = stage(bytes);
    let side = Side::new(own, &peer, Role::Client, &geometry, &geometry);
    for id in 1..=2 {
        side.announce_here((id, SegmentClass::Small, a_segment()));
    }
    let mut actor = Actor::new(side, &geometry, script.one_in(16));
    play(&mut actor, &peer, &script, || {})
}

/// A session with an honest peer whose words are changed on the way.
pub fn liar(bytes: &[u8]) -> Option<PeerMisbehaved> {
    let (script, geometry, own, peer) = stage(bytes);
    let theirs = Arc::new(WatchedMemory::new(outbox(&geometry, &geometry)));
    let peer = peer.over(Arc::clone(&theirs));
    let side = Side::new(Arc::clone(&own), &peer, Role::Client, &geometry, &geometry);
    let mut actor = Actor::new(side, &geometry, script.one_in(16));
    let other = Side::new(theirs, &own, Role::Server, &geometry, &geometry);
    let mut other = Actor::new(other, &geometry, false);
    play(&mut actor, &peer, &script, || other.act(&script))
}

/// Plays a script to its end, the end of the session included, and lets go of everything.
fn play(
    actor: &mut Actor<AdversarialMemory>,
    peer: &AdversarialMemory,
    script: &Script,
    mut meanwhile: impl FnMut(),
) -> Option<PeerMisbehaved> {
    let geometry = actor.geometry;
    let most = most_loads(&geometry) + 4 * u64::from(geometry.max_lent);
    let promise = u64::from(geometry.unread_max) + footprint(geometry.max_message);
    let mut after_end = 16;
    while !script.is_over() && after_end > 0 {
        let loads = peer.loads();
        actor.act(script);
        // Each record may settle waiting reservations, a few loads each.
        assert!(peer.loads() - loads <= 64 * most, "unbounded work");
        match actor.side.over {
            Some(_) => after_end -= 1,
            None => assert!(actor.side.unread() <= promise, "more unread than was promised"),
        }
        meanwhile();
    }
    actor.let_go();
    match actor.side.over? {
        SessionError::Misbehaved(misdeed) => Some(misdeed),
        other => unreachable!("{other}"),
    }
}

/// A segment of a peer's, made once.
pub(super) fn a_segment() -> Arc<PeerMapping> {
    static SEGMENT: OnceLock<Arc<PeerMapping>> = OnceLock::new();
    let make = || {
        let (_, fd) = mem::create(c"shmipc-test", 8192).expect("memory for a test");
        mem::adopt(fd.into(), 8192, &[]).expect("a segment of ours")
    };
    Arc::clone(SEGMENT.get_or_init(make))
}
