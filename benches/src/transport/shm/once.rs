//! A link that takes a new stream for each round trip. Several of them share a session, side by side.
//!
//! ```text
//!   driver                                     peer
//!   open, send last request     ───────────▶   accept, receive request and end
//!   receive reply and end       ◀───────────   send last reply
//!   let go                                     let go
//! ```
//!
//! Both sides read to the end, so nobody resets or stops anything.

use std::io;

use shmipc_sync::{Limits, Session, Stream};

use super::super::{Arm, Link, Side};
use super::company::Company;
use super::{ended, other};
use crate::payload::Payload;

#[derive(Debug)]
pub(crate) struct Once {
    session: Session,
    side: Side,
    stream: Option<Stream>,
    payload: Payload,
    message: Vec<u8>,
    inline_max: usize,
    /// Side by side with others: what the peer accepts next is anybody's.
    among_others: bool,
    /// The number of the reply to what was received last.
    reply: u64,
    /// Of the first link of a session.
    company: Option<Company>,
}

impl Once {
    pub(super) fn links(arm: &Arm, session: Session, side: Side) -> io::Result<Vec<Self>> {
        let mut company = Some(Company::new(arm, &session, side)?);
        let link = |_| Self {
            session: session.clone(),
            side,
            stream: None,
            payload: arm.payload(),
            message: vec![0; arm.size.0],
            inline_max: Limits::default().inline_max as usize,
            among_others: arm.streams > 1,
            reply: 0,
            company: company.take(),
        };
        Ok((0..arm.streams).map(link).collect())
    }

    fn receive(&mut self, stream: &mut Stream, seq: u64) -> io::Result<()> {
        let out = &mut self.message[..self.payload.len(seq)];
        let mut large = None;
        if out.len() <= self.inline_max {
            let len = stream.recv_into(out).map_err(other)?.ok_or_else(ended)?;
            assert_eq!(len, out.len(), "message {seq} has a wrong length");
        } else {
            let message = stream.recv().map_err(other)?.ok_or_else(ended)?;
            assert_eq!(message.len(), out.len(), "message {seq} has a wrong length");
            large = Some(message);
        }
        let bytes = large.as_deref().unwrap_or(out);
        let seq = match self.side {
            Side::Peer if self.among_others => self.payload.number(bytes),
            _ => seq,
        };
        self.payload.check(bytes, seq);
        self.reply = seq.wrapping_add(1);
        match stream.recv().map_err(other)? {
            None => Ok(()),
            Some(_) => Err(other("a second message on a stream that has one")),
        }
    }
}

impl Link for Once {
    #[inline]
    fn send(&mut self, first: u64, _count: u64) -> io::Result<()> {
        let mut stream = match self.side {
            Side::Driver => self.session.open().map_err(other)?,
            Side::Peer => self.stream.take().ok_or_else(ended)?,
        };
        let seq = match self.side {
            Side::Driver => first,
            Side::Peer => self.reply,
        };
        let message = &mut self.message[..self.payload.len(seq)];
        self.payload.fill(message, seq);
        stream.finish_with(message).map_err(other)?;
        if self.side == Side::Driver {
            self.stream = Some(stream);
        }
        Ok(())
    }

    #[inline]
    fn recv(&mut self, seq: u64) -> io::Result<()> {
        let mut stream = match self.side {
            Side::Driver => self.stream.take().ok_or_else(ended)?,
            Side::Peer => self.session.accept().map_err(other)?,
        };
        self.receive(&mut stream, seq)?;
        if self.side == Side::Peer {
            self.stream = Some(stream);
        }
        Ok(())
    }

    fn bells(&self) -> u64 {
        self.company.as_ref().map_or(0, Company::bells)
    }
}
