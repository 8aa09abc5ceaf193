//! For checks of what is conserved.

use crate::mem::{Memory, MemoryMut};
use crate::queue::Header;
use crate::session::{Effects, StreamId};

use super::{Grant, Tx};

impl<O: MemoryMut + Clone, P: Memory + Clone> Tx<O, P> {
    /// The session's charge of everything published and held.
    pub(crate) fn test_charged(&self) -> u64 {
        self.credit.taken()
    }

    /// Charge of reservations that have been granted and not fetched.
    pub(crate) fn test_granted(&self) -> u64 {
        self.tickets.granted().map(Grant::footprint).sum()
    }

    /// Whether no reservation of the session can start for lack of credit.
    pub(crate) fn test_lacks_credit(&self) -> bool {
        self.credit.left() <= 0
    }

    /// Whether a reservation of `len` bytes cannot start for lack of its stream's credit.
    pub(crate) fn test_stream_lacks_credit(&mut self, key: usize, len: u32) -> bool {
        let charge = crate::session::charge(len, self.geometry.stream_window);
        self.stream(key).credit.left() < charge as i64
    }

    /// Allows a plea for memory that is of no use.
    pub(crate) fn test_may_plead(&mut self) {
        self.plea.useful = true;
    }

    /// Publishes a control record that no rule asks for.
    pub(crate) fn test_say(&mut self, header: Header) {
        let mut effects = Effects::default();
        self.put_control(header, &mut effects);
        assert_eq!(effects.misdeed, None, "there is room");
    }

    /// What each stream has been charged.
    pub(crate) fn test_streams(&self) -> Vec<Charged> {
        let streams = self.streams.iter().enumerate();
        let streams = streams.filter_map(|(key, stream)| Some((key, stream.as_ref()?)));
        let charged = streams.map(|(key, stream)| Charged {
            id: stream.id,
            announced: stream.announced,
            charged: stream.credit.taken(),
            granted: self
                .tickets
                .granted()
                .filter(|g| g.serial == stream.serial)
                .map(Grant::charge)
                .sum(),
            key,
            serial: stream.serial,
        });
        charged.collect()
    }
}

/// What a stream has been charged.
pub(crate) struct Charged {
    pub(crate) id: StreamId,
    pub(crate) announced: bool,
    /// In all.
    pub(crate) charged: u64,
    /// Of that, by reservations that have been granted and not fetched.
    pub(crate) granted: u64,
    key: usize,
    serial: u64,
}

impl Charged {
    /// Whether a grant for the stream known by `key` is of this one.
    pub(crate) fn owns(&self, key: usize, grant: &Grant) -> bool {
        self.key == key && self.serial == grant.serial
    }
}

impl Grant {
    /// What the stream is charged for it.
    pub(crate) fn charge(&self) -> u64 {
        self.charge
    }

    /// What the session is charged for it.
    pub(crate) fn footprint(&self) -> u64 {
        self.footprint
    }
}
