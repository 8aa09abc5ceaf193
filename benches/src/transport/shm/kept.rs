//! A link that is a stream of its own for as long as the block lasts.
//!
//! Payload that fits into a record is written in a private buffer, sent, and received into another; a
//! larger one is written in place in a reservation, and checked in the message: a copy of an untrusted peer's bytes,
//! the place itself of a trusted one.

use std::io;

use shmipc_sync::{Limits, RecvStream, SendStream, Session, Stream};

use super::super::{Arm, Link, Side};
use super::company::{Company, greeted};
use super::{ended, other};
use crate::args::Trust;
use crate::payload::Payload;

#[derive(Debug)]
pub(crate) struct Kept {
    send: SendStream,
    recv: RecvStream,
    payload: Payload,
    message: Vec<u8>,
    inline_max: usize,
    /// Of the first link of a session.
    company: Option<Company>,
}

impl Kept {
    /// A link for each of the arm's streams. The peer answers each greeting, so that both know.
    pub(super) fn links(arm: &Arm, session: Session, side: Side) -> io::Result<Vec<Self>> {
        let mut streams = greeted(&session, side, arm.streams)?;
        for stream in &mut streams {
            match side {
                Side::Driver => drop(stream.recv().map_err(other)?.ok_or_else(ended)?),
                Side::Peer => stream.send(&[]).map_err(other)?,
            }
        }
        if session.is_trusted() != matches!(arm.trust, Trust::Trusted) {
            return Err(other("messages are not read as the arm says"));
        }
        let mut company = Some(Company::new(arm, &session, side)?);
        streams.into_iter().map(|stream| Self::new(arm, stream, company.take())).collect()
    }

    fn new(arm: &Arm, stream: Stream, company: Option<Company>) -> io::Result<Self> {
        let (send, recv) = stream.into_split();
        Ok(Self {
            send,
            recv,
            payload: arm.payload(),
            message: vec![0; arm.size.0],
            inline_max: Limits::default().inline_max as usize,
            company,
        })
    }

    fn send_one(&mut self, seq: u64) -> io::Result<()> {
        let message = &mut self.message[..self.payload.len(seq)];
        if message.len() <= self.inline_max {
            self.payload.fill(message, seq);
            return self.send.send(message).map_err(other);
        }
        let mut place = self.send.reserve(message.len()).map_err(other)?;
        self.payload.fill(&mut place, seq);
        place.commit().map_err(other)
    }
}

impl Link for Kept {
    #[inline]
    fn send(&mut self, first: u64, count: u64) -> io::Result<()> {
        if count == 1 {
            return self.send_one(first);
        }
        let mut batch = self.send.batch();
        (first..first + count).try_for_each(|seq| {
            let message = &mut self.message[..self.payload.len(seq)];
            self.payload.fill(message, seq);
            batch.push(message).map_err(other)
        })?;
        batch.commit().map_err(other)
    }

    #[inline]
    fn recv(&mut self, seq: u64) -> io::Result<()> {
        let out = &mut self.message[..self.payload.len(seq)];
        if out.len() <= self.inline_max {
            let len = self.recv.recv_into(out).map_err(other)?.ok_or_else(ended)?;
            assert_eq!(len, out.len(), "message {seq} has a wrong length");
            self.payload.check(out, seq);
        } else {
            let message = self.recv.recv().map_err(other)?.ok_or_else(ended)?;
            assert_eq!(message.len(), out.len(), "message {seq} has a wrong length");
            self.payload.check(&message, seq);
        }
        Ok(())
    }

    fn bells(&self) -> u64 {
        self.company.as_ref().map_or(0, Company::bells)
    }
}
