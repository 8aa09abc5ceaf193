//! Opening a stream when all places are taken.

use std::task::{Poll, Waker};

use crate::error::{OpenError, SessionError};
use crate::session::Effects;

use super::recv::RecvHalf;
use super::send::SendHalf;
use super::session::Session;

/// A stream to be opened as soon as a place is free. Dropping it gives up.
#[derive(Debug)]
pub struct Opening<'a> {
    session: &'a Session,
    /// It has left a waker.
    waits: bool,
}

impl<'a> Opening<'a> {
    pub(super) fn new(session: &'a Session) -> Self {
        Self { session, waits: false }
    }

    /// Opens the stream, or waits for a place. Drives the session inline; never blocks.
    pub fn poll(&mut self, waker: Option<&Waker>) -> Poll<Result<(SendHalf, RecvHalf), OpenError>> {
        match self.session.open() {
            Err(OpenError::TooManyStreams { .. }) => {}
            opened => return Poll::Ready(opened),
        }
        let Some(waker) = waker else { return Poll::Pending };
        let shared = &self.session.owner.shared;
        if !std::mem::replace(&mut self.waits, true) {
            shared.progress.count_waiting(true);
        }
        let mut effects = Effects::default();
        let mut clone = Some(waker.clone());
        let opened = {
            let mut rx = shared.rx();
            let mut tx = shared.tx();
            // The waker is stored in the section that finds no place (H2).
            let opened = rx.open(&mut tx).map(|(key, id)| (key, id, tx.serial_of(key)));
            if matches!(opened, Err(OpenError::TooManyStreams { .. })) {
                rx.publish_head(&mut effects);
                rx.wait_open(&mut clone, &mut tx, &mut effects);
            }
            opened
        };
        shared.complete(effects, Ok(()));
        if let Err(OpenError::Session(error @ SessionError::Misbehaved(_))) = opened {
            shared.end(error);
        }
        match opened {
            Err(OpenError::TooManyStreams { .. }) => Poll::Pending,
            opened => Poll::Ready(
                opened.map(|(key, id, serial)| self.session.halves(key, id, serial, false)),
            ),
        }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let shared = &self.session.owner.shared;
        if !self.waits || shared.is_foreign() {
            return;
        }
        shared.progress.count_waiting(false);
        // It may be any of those who wait: the others come back.
        let mut effects = Effects::default();
        shared.tx().openers.wake(&mut effects);
        shared.complete(effects, Ok(()));
    }
}
