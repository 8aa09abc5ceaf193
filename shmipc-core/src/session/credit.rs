//! Credit of one stream or one session: pure arithmetic over cumulative sums.

use crate::error::PeerMisbehaved;

/// What a record with `len` bytes of payload counts: an inbox entry and the payload, in lines.
pub const fn footprint(len: u32) -> u64 {
    64 + (len as u64).next_multiple_of(64)
}

/// What a stream with this window is charged for a record (C1).
pub const fn charge(len: u32, window: u32) -> u64 {
    let (footprint, half) = (footprint(len), window as u64 / 2);
    if footprint < half { footprint } else { half }
}

/// The sender's side.
#[derive(Clone, Copy, Debug)]
pub struct SendCredit {
    /// Cumulative grant by the reader.
    limit: u64,
    /// Cumulative charge, of what was published or is held by a reservation.
    taken: u64,
    window: u32,
    /// An honest reader announces a grant that exceeds the last one by more than this.
    due: u32,
}

impl SendCredit {
    /// Of a stream: nothing sent, the first window granted.
    pub const fn stream(window: u32) -> Self {
        Self::new(window, stream_due(window))
    }

    /// Of a session: nothing sent, the first window granted.
    pub const fn session(window: u32) -> Self {
        Self::new(window, session_due(window))
    }

    const fn new(window: u32, due: u32) -> Self {
        Self { limit: window as u64, taken: 0, window, due }
    }

    /// What is left; negative after the session's overdraft.
    pub const fn left(&self) -> i64 {
        self.limit as i64 - self.taken as i64
    }

    /// Charges.
    pub fn take(&mut self, amount: u64) {
        self.taken += amount;
    }

    /// Gives back what was charged and not sent.
    pub fn untake(&mut self, amount: u64) {
        self.taken -= amount;
    }

    /// Cumulative charge.
    #[cfg(test)]
    pub(crate) const fn taken(&self) -> u64 {
        self.taken
    }

    /// A cumulative grant of the reader, whole.
    ///
    /// # Errors
    /// [`PeerMisbehaved::WindowUpdate`] if it takes credit back, exceeds what the reader can have seen, or adds
    /// less than an honest reader announces at one time (C2): such updates would cost the reader nothing, and
    /// could come without end.
    pub fn update(&mut self, limit: u64) -> Result<(), PeerMisbehaved> {
        let least = self.limit.saturating_add(u64::from(self.due));
        if limit <= least || limit > self.taken.saturating_add(u64::from(self.window)) {
            return Err(PeerMisbehaved::WindowUpdate);
        }
        self.limit = limit;
        Ok(())
    }

    /// A cumulative grant of the reader in units of 64 bytes, modulo 2^32.
    ///
    /// # Errors
    /// As [`SendCredit::update`].
    pub fn update_units(&mut self, units: u32) -> Result<(), PeerMisbehaved> {
        let ahead = units.wrapping_sub((self.limit / 64) as u32);
        self.update(self.limit + u64::from(ahead) * 64)
    }

    /// The same with another threshold for updates.
    #[cfg(test)]
    pub(crate) const fn with_due(self, due: u32) -> Self {
        Self { due, ..self }
    }
}

/// More than so much held back of a stream's window makes an update due (C2).
const fn stream_due(window: u32) -> u32 {
    window / 2
}

/// More than so much held back of a session's window makes an update due (C2).
const fn session_due(window: u32) -> u32 {
    window / 8
}

/// The reader's side.
#[derive(Clone, Copy, Debug)]
pub struct RecvCredit {
    /// Cumulative charge of records drained.
    charged: u64,
    /// Cumulative charge of records handed on or dropped.
    taken: u64,
    /// Cumulative grant announced.
    announced: u64,
    window: u64,
    /// An update is due when more than this is held back.
    due: u64,
}

impl RecvCredit {
    /// Of a stream: an update when more than half of the window is held back.
    pub const fn stream(window: u32) -> Self {
        Self::new(window, stream_due(window))
    }

    /// Of a session: an update when more than an eighth is held back.
    pub const fn session(window: u32) -> Self {
        Self::new(window, session_due(window))
    }

    const fn new(window: u32, due: u32) -> Self {
        let (window, due) = (window as u64, due as u64);
        Self { charged: 0, taken: 0, announced: window, window, due }
    }

    /// Counts a drained record. `overdraft` is what may exceed the window.
    ///
    /// # Errors
    /// [`PeerMisbehaved::CreditOverrun`], judged by sums because records may overtake grants.
    pub fn charge(&mut self, amount: u64, overdraft: u64) -> Result<(), PeerMisbehaved> {
        self.charged += amount;
        if self.charged - self.taken > self.window + overdraft {
            return Err(PeerMisbehaved::CreditOverrun);
        }
        Ok(())
    }

    /// Counts a record handed on or dropped.
    pub fn take(&mut self, amount: u64) {
        self.taken += amount;
    }

    /// Whether `amount` more can be charged without any overdraft.
    pub const fn fits(&self, amount: u64) -> bool {
        self.charged - self.taken + amount <= self.window
    }

    /// Counts a record that is handed on as it is drained, and [`fits`](Self::fits). True if an update
    /// is due.
    #[must_use]
    pub const fn pass(&mut self, amount: u64) -> bool {
        self.charged += amount;
        self.taken += amount;
        self.taken + self.window - self.announced > self.due
    }

    /// The cumulative grant to announce, if it is due (C2).
    pub fn due(&mut self) -> Option<u64> {
        let grant = self.taken + self.window;
        (grant - self.announced > self.due).then(|| {
            self.announced = grant;
            grant
        })
    }

    /// The same with another threshold for updates.
    #[cfg(test)]
    pub(crate) const fn with_due(self, due: u32) -> Self {
        Self { due: due as u64, ..self }
    }

    /// Cumulative charge, drained and taken.
    #[cfg(test)]
    pub(crate) const fn sums(&self) -> (u64, u64) {
        (self.charged, self.taken)
    }

    /// Whether anything was ever charged.
    pub const fn is_used(&self) -> bool {
        self.charged > 0
    }

    /// Charge of what is unread.
    pub const fn unread(&self) -> u64 {
        self.charged - self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footprint_counts_an_entry_and_whole_lines() {
        assert_eq!([0, 1, 64, 65].map(footprint), [64, 128, 128, 192]);
        assert_eq!(charge(1 << 20, 256 << 10), 128 << 10);
    }

    #[test]
    fn everything_taken_leaves_room_for_any_record() {
        let window = 1024;
        let (mut send, mut recv) = (SendCredit::stream(window), RecvCredit::stream(window));
        for len in (0..5000u32).step_by(37) {
            let amount = charge(len, window);
            assert!(send.left() >= amount as i64, "a record of {len} bytes could not start");
            send.take(amount);
            recv.charge(amount, 0).unwrap();
            recv.take(amount);
            if let Some(grant) = recv.due() {
                send.update_units((grant / 64) as u32).unwrap();
            }
        }
    }

    #[test]
    fn one_update_at_most_is_unread() {
        let window = 1024;
        let (mut send, mut recv) = (SendCredit::stream(window), RecvCredit::stream(window));
        let mut updates = Vec::new();
        while send.left() >= 512 {
            send.take(512);
            recv.charge(512, 0).unwrap();
            recv.take(512);
            updates.extend(recv.due());
        }
        assert!(updates.len() <= 1, "{updates:?} are unread at the same time");
    }

    #[test]
    fn lies_are_named() {
        let mut send = SendCredit::stream(1024);
        assert_eq!(send.update(1023), Err(PeerMisbehaved::WindowUpdate));
        assert_eq!(send.update(1025), Err(PeerMisbehaved::WindowUpdate));
        let mut recv = RecvCredit::stream(1024);
        recv.charge(1024, 0).unwrap();
        assert_eq!(recv.charge(64, 0), Err(PeerMisbehaved::CreditOverrun));
    }

    #[test]
    fn an_update_that_adds_less_than_an_honest_one_is_refused() {
        for (mut send, due) in [(SendCredit::stream(1024), 512), (SendCredit::session(1024), 128)] {
            send.take(1024);
            for more in [0, 64, due] {
                assert_eq!(send.update(1024 + more), Err(PeerMisbehaved::WindowUpdate), "{more}");
            }
            assert_eq!(send.update(1024 + due + 64), Ok(()));
        }
    }
}
