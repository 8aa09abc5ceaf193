//! An application on one side that does what a script says, within the rules of the interface.

use super::Script;
use super::side::Side;
use crate::layout::Geometry;
use crate::mem::Memory;
use crate::queue::Flags;
use crate::session::{Ask, Grant, TicketId};

/// A side and the handles that its application has.
pub(crate) struct Actor<P> {
    pub(crate) side: Side<P>,
    pub(crate) geometry: Geometry,
    pub(crate) streams: Vec<Stream>,
    /// Grants and tickets may outlive their stream.
    held: Vec<(usize, u32, Grant)>,
    waiting: Vec<(usize, u32, TicketId)>,
    /// Reservations of more than a record holds are made, which costs a segment.
    pub(crate) large: bool,
}

/// The handles of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) key: usize,
    pub(crate) sends: bool,
    pub(crate) receives: bool,
}

impl<P: Memory + Clone> Actor<P> {
    /// `geometry` is that of the direction it sends in.
    pub(crate) fn new(side: Side<P>, geometry: &Geometry, large: bool) -> Self {
        let (streams, held, waiting) = (Vec::new(), Vec::new(), Vec::new());
        Self { side, geometry: *geometry, streams, held, waiting, large }
    }

    /// Does one thing.
    pub(crate) fn act(&mut self, script: &Script) {
        let byte = script.byte();
        let _ = match byte % 32 {
            0..=7 => return self.drain(script),
            8 | 9 => return self.open_or_accept(byte < 128),
            10..=15 => return self.send(script),
            16 | 17 => return self.hold(script),
            18 | 19 => return self.commit_or_drop(script),
            20 => return self.poll_or_cancel(script),
            21..=26 => self.pick(script, |s| s.receives).map(|at| {
                let _ = self.side.take(self.streams[at].key);
            }),
            28 if script.one_in(64) => return self.side.leave(),
            27 | 28 => self.pick(script, |s| s.receives).map(|at| {
                self.side.take_inline(self.streams[at].key);
            }),
            29 => self.pick(script, |s| s.sends).map(|at| {
                if byte < 128 {
                    self.side.finish(self.streams[at].key);
                } else {
                    self.drop_sender(at);
                }
            }),
            30 => self.pick(script, |s| s.sends).map(|at| self.drop_sender(at)),
            _ => self.pick(script, |s| s.receives).map(|at| self.drop_receiver(at)),
        };
    }

    /// Lets go of everything.
    pub(crate) fn let_go(&mut self) {
        for (key, _, grant) in std::mem::take(&mut self.held) {
            self.side.ungrant(key, grant);
        }
        for (_, _, ticket) in std::mem::take(&mut self.waiting) {
            self.side.cancel(ticket);
        }
        while let Some(stream) = self.streams.last().copied() {
            let at = self.streams.len() - 1;
            if stream.sends {
                self.drop_sender(at);
            } else {
                self.drop_receiver(at);
            }
        }
    }

    /// Reservations that are held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> impl Iterator<Item = (usize, &Grant)> {
        self.held.iter().map(|(key, _, grant)| (*key, grant))
    }

    fn drain(&mut self, script: &Script) {
        let more = self.side.drain();
        if script.one_in(4) && more.is_ok() {
            self.side.rest();
        }
    }

    fn open_or_accept(&mut self, open: bool) {
        let key = match open {
            true => self.side.open().map(|(key, _)| key),
            false => self.side.rx.accept().map(|(key, id)| {
                assert!(id.place() < self.geometry.reader_streams, "more streams than agreed");
                key
            }),
        };
        let stream = key.map(|key| Stream { key, sends: true, receives: true });
        self.streams.extend(stream);
    }

    fn len(&self, script: &Script) -> u32 {
        let inline = self.geometry.inline_max as usize;
        match script.byte() {
            byte @ 0..=127 => u32::from(byte) % (self.geometry.inline_max + 1),
            128..=247 => script.below(inline + 1) as u32,
            _ if !self.large => self.geometry.inline_max,
            _ => (inline + 1 + script.below(8192)) as u32,
        }
    }

    fn flags(script: &Script) -> Flags {
        let byte = script.byte();
        Flags::none().with_if(Flags::FIN, byte % 16 == 0).with_if(Flags::MORE, byte % 16 == 1)
    }

    fn send(&mut self, script: &Script) {
        let Some(at) = self.pick(script, |s| s.sends) else { return };
        let (key, len) = (self.streams[at].key, self.len(script));
        if script.one_in(4) && len <= self.geometry.inline_max {
            self.side.put_inline(key, &vec![1; len as usize], Self::flags(script));
            return;
        }
        let ask = if script.one_in(32) { Ask::Open } else { Ask::Data(len) };
        let Ok(Some(grant)) = self.side.reserve(key, ask) else { return };
        self.use_grant(key, len, ask, grant, script);
    }

    fn use_grant(&mut self, key: usize, len: u32, ask: Ask, grant: Grant, script: &Script) {
        if ask == Ask::Open {
            return self.side.announce(key, grant);
        }
        let len = if script.one_in(4) { script.below(len as usize + 1) } else { len as usize };
        let _ = self.side.commit(key, grant, &vec![len as u8; len], Self::flags(script));
    }

    fn hold(&mut self, script: &Script) {
        let Some(at) = self.pick(script, |s| s.sends) else { return };
        let (key, len) = (self.streams[at].key, self.len(script));
        match self.side.reserve(key, Ask::Data(len)) {
            Ok(Some(grant)) => self.held.push((key, len, grant)),
            Ok(None) => {
                let ticket = self.side.join(key, Ask::Data(len));
                self.waiting.push((key, len, ticket));
            }
            Err(_) => {}
        }
    }

    fn commit_or_drop(&mut self, script: &Script) {
        if self.held.is_empty() {
            return;
        }
        let (key, len, grant) = self.held.swap_remove(script.below(self.held.len()));
        if script.one_in(4) {
            return self.side.ungrant(key, grant);
        }
        self.use_grant(key, len, Ask::Data(len), grant, script);
    }

    fn poll_or_cancel(&mut self, script: &Script) {
        if self.waiting.is_empty() {
            return;
        }
        let (key, len, ticket) = self.waiting.swap_remove(script.below(self.waiting.len()));
        if script.one_in(4) {
            return self.side.cancel(ticket);
        }
        match self.side.poll(ticket) {
            Some(Ok(grant)) => self.held.push((key, len, grant)),
            Some(Err(_)) => {}
            None => self.waiting.push((key, len, ticket)),
        }
    }

    fn pick(&self, script: &Script, fits: impl Fn(&Stream) -> bool) -> Option<usize> {
        let all: Vec<usize> =
            (0..self.streams.len()).filter(|at| fits(&self.streams[*at])).collect();
        all.get(script.below(all.len())).copied()
    }

    fn drop_sender(&mut self, at: usize) {
        self.streams[at].sends = false;
        self.side.drop_sender(self.streams[at].key);
        self.forget(at);
    }

    fn drop_receiver(&mut self, at: usize) {
        self.streams[at].receives = false;
        self.side.drop_receiver(self.streams[at].key);
        self.forget(at);
    }

    fn forget(&mut self, at: usize) {
        if !self.streams[at].sends && !self.streams[at].receives {
            self.streams.swap_remove(at);
        }
    }
}
