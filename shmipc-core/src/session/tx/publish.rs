//! Putting records into the queue and publishing them.

use crate::error::SendError;
use crate::mem::{Memory, MemoryMut};
use crate::queue::{ExtentRef, Flags, Header, Kind};

use crate::session::{Effects, charge, footprint};

use super::{Direction, Grant, Tx};

impl<O: MemoryMut + Clone, P: Memory + Clone> Tx<O, P> {
    /// Puts granted payload into the queue and publishes it. An extent's first `len` bytes are the
    /// payload, or `inline` is. On error the grant is given back and nothing was sent.
    pub(crate) fn commit(
        &mut self,
        key: usize,
        mut grant: Grant,
        inline: &[u8],
        len: u32,
        flags: Flags,
        effects: &mut Effects,
    ) -> Result<(), SendError> {
        if let Err(error) = self.check_serial(key, grant.serial) {
            self.ungrant(key, grant, effects);
            return Err(error);
        }
        let window = self.geometry.stream_window;
        let (fewer, less) = (footprint(len), charge(len, window));
        let shrunk = grant.footprint > fewer;
        self.credit.untake(grant.footprint - fewer);
        let stream = self.stream(key);
        stream.credit.untake(grant.charge - less);
        if grant.charge > less {
            self.unpark(key, grant.serial);
        }
        let stream = self.stream(key);
        stream.in_message = flags.contains(Flags::MORE);
        stream.records += 1;
        stream.bytes += u64::from(len);
        let opens = !std::mem::replace(&mut stream.announced, true);
        let flags = flags.with_if(Flags::OPEN, opens);
        let word = stream.id.word();
        if flags.contains(Flags::FIN) {
            self.end_direction(key, effects);
        }
        let inline_size = 16 + u64::from(len).next_multiple_of(16);
        let header = match grant.extent.take() {
            Some(extent)
                if len > self.geometry.inline_max
                    || !shrunk
                    || !self.regrant(grant.ring, inline_size, effects) =>
            {
                let header = Header { kind: Kind::Extent, flags, value: 0, stream: word };
                let (id, range) = self.arena.lend(extent);
                self.plea.useful = true;
                let offset = u64::from(range.offset);
                self.writer
                    .put_extent(header, ExtentRef { segment: range.segment, id, offset, len });
                header
            }
            extent => {
                let header = Header { kind: Kind::Inline, flags, value: len, stream: word };
                match extent {
                    Some(extent) => {
                        self.writer.put(header, &extent[..len as usize]);
                        self.arena.release(extent);
                    }
                    None => {
                        self.writer.ungrant(grant.ring - inline_size);
                        self.writer.put(header, inline);
                    }
                }
                header
            }
        };
        if opens {
            self.begin(key, header.size());
            effects.opened |= self.take_opened();
        }
        effects.misdeed = self.pay_stop(key).err().or(effects.misdeed);
        self.records += 1;
        self.bytes += u64::from(len);
        effects.tail = self.writer.publish().or(effects.tail);
        self.writer.warm();
        if !self.tickets.is_idle() {
            self.settle_or_end(effects);
        }
        Ok(())
    }

    /// Changes a grant of ring bytes from `have` to `want`, if half of the queue stays free.
    pub(super) fn regrant(&mut self, have: u64, want: u64, effects: &mut Effects) -> bool {
        if want > have {
            return self.writer.grant_half(want - have).unwrap_or_else(|misdeed| {
                effects.misdeed = Some(misdeed);
                false
            });
        }
        self.writer.ungrant(have - want);
        true
    }

    /// Publishes the record that only opens the stream, unless the peer knows of it already.
    ///
    /// # Errors
    /// Our direction has ended since it was granted: nobody will ever hear of the stream.
    pub(crate) fn announce(
        &mut self,
        key: usize,
        grant: Grant,
        effects: &mut Effects,
    ) -> Result<(), SendError> {
        if self.is_announced(key) {
            self.ungrant(key, grant, effects);
            return Ok(());
        }
        if let Err(error) = self.check_serial(key, grant.serial) {
            self.ungrant(key, grant, effects);
            return Err(error);
        }
        let stream = self.stream(key);
        stream.announced = true;
        let word = stream.id.word();
        let header = Header { kind: Kind::Open, flags: Flags::OPEN, value: 0, stream: word };
        self.writer.put(header, &[]);
        self.begin(key, header.size());
        effects.opened |= self.take_opened();
        effects.misdeed = self.pay_stop(key).err().or(effects.misdeed);
        effects.tail = self.writer.publish().or(effects.tail);
        Ok(())
    }

    /// Ends our direction of the stream in good order, also if the peer has asked us to stop. Never waits.
    pub(crate) fn finish(&mut self, key: usize, effects: &mut Effects) -> Result<(), SendError> {
        match self.check(key) {
            Ok(_) | Err(SendError::Stopped(_)) => {}
            Err(error) => return Err(error),
        }
        self.end_direction(key, effects);
        let stream = self.stream(key);
        let opens = !std::mem::replace(&mut stream.announced, true);
        let flags = Flags::none().with_if(Flags::OPEN, opens);
        let header = Header { flags, ..Header::control(Kind::Finish, stream.id.word(), 0) };
        self.control(key, header, effects);
        if opens {
            self.begin(key, header.size());
            effects.opened |= self.take_opened();
        }
        effects.misdeed = self.pay_stop(key).err().or(effects.misdeed);
        effects.tail = self.writer.publish().or(effects.tail);
        self.settle_or_end(effects);
        Ok(())
    }

    /// Breaks our direction of the stream off, unless it has ended. Never waits.
    pub(crate) fn reset(&mut self, key: usize, code: u32, effects: &mut Effects) {
        let stream = self.stream(key);
        if stream.direction != Direction::Open {
            return;
        }
        self.end_direction(key, effects);
        let stream = self.stream(key);
        if stream.announced {
            let header = Header::control(Kind::Reset, stream.id.word(), code);
            self.control(key, header, effects);
        }
        self.settle_or_end(effects);
    }

    /// Asks the peer to stop sending on the stream, as soon as it knows of it.
    pub(crate) fn stop(&mut self, key: usize, code: u32, effects: &mut Effects) {
        let stream = self.stream(key);
        if !stream.announced {
            stream.stop_owed = Some(code);
            return;
        }
        let header = Header::control(Kind::Stop, self.stream(key).id.word(), code);
        self.control(key, header, effects);
    }

    /// Announces credit of a stream: the cumulative grant in bytes.
    pub(crate) fn window(&mut self, key: usize, grant: u64, effects: &mut Effects) {
        let units = (grant / 64) as u32;
        let header = Header::control(Kind::Window, self.stream(key).id.word(), units);
        self.control(key, header, effects);
    }

    /// Announces credit of the session: the cumulative grant in bytes.
    pub(crate) fn session_window(&mut self, grant: u64, effects: &mut Effects) {
        self.put_control(Header::control(Kind::SessionWindow, grant, 0), effects);
    }

    pub(super) fn control(&mut self, key: usize, header: Header, effects: &mut Effects) {
        self.put_control(header, effects);
        self.stream(key).last_control = self.writer.written();
    }

    /// Q2 keeps room for it, or the peer has broken a rule. After the session's end nobody reads it.
    pub(super) fn put_control(&mut self, header: Header, effects: &mut Effects) {
        if self.over.is_none() {
            effects.misdeed = self.writer.put_control(header).err().or(effects.misdeed);
            effects.tail = self.writer.publish().or(effects.tail);
        }
    }
}
