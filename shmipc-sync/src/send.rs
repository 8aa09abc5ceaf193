//! The sending half of a stream.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use shmipc_core::error::{SendError, TryError};
use shmipc_core::handle::{Reserving, SendHalf, Session, Staged};
use shmipc_core::queue::Flags;
use shmipc_core::session::{SendStats, StreamId};

pub use shmipc_core::handle::Reservation;

use crate::block::{For, block_on, deadline};

/// Largest piece that `write` sends as one record, bytes: a quarter of the default stream window, so
/// that a writer and a reader can work at the same time.
const WRITE_PIECE: usize = 64 << 10;

/// The sending half of a stream.
///
/// Dropped before [`finish`](Self::finish) it resets the stream, so that a reader never mistakes a
/// crash for the end.
#[derive(Debug)]
pub struct SendStream {
    session: Session,
    core: SendHalf,
    timeout: Option<Duration>,
    /// The messages of a batch in the making.
    staged: Staged,
}

impl SendStream {
    pub(crate) fn new(session: &Session, core: SendHalf) -> Self {
        Self { session: session.clone(), core, timeout: None, staged: Staged::default() }
    }

    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.core.id()
    }

    /// Counters of what was sent on this stream.
    pub fn stats(&self) -> SendStats {
        self.core.stats()
    }

    /// Largest message, bytes.
    pub fn max_message(&self) -> usize {
        self.core.max_message()
    }

    /// How long sending calls wait at most. Default: without limit.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Reserves memory for a message of `len` bytes, to be filled in place and committed. **Blocks**
    /// for credit, queue space and memory: the only call that waits for the reader.
    ///
    /// Do not wait for another reservation of the same session while holding one.
    ///
    /// # Errors
    /// [`SendError`]; [`SendError::TooLarge`] at once for what can never fit.
    pub fn reserve(&mut self, len: usize) -> Result<Reservation, SendError> {
        self.reserve_until(len, deadline(self.timeout))
    }

    /// As [`reserve`](Self::reserve), for at most `timeout`.
    ///
    /// # Errors
    /// [`SendError::TimedOut`] too.
    pub fn reserve_timeout(
        &mut self,
        len: usize,
        timeout: Duration,
    ) -> Result<Reservation, SendError> {
        self.reserve_until(len, deadline(Some(timeout)))
    }

    fn reserve_until(
        &mut self,
        len: usize,
        deadline: Option<Instant>,
    ) -> Result<Reservation, SendError> {
        self.wait_for(self.core.reserve(len)?, deadline)
    }

    fn wait_for(
        &self,
        mut reserving: Reserving,
        deadline: Option<Instant>,
    ) -> Result<Reservation, SendError> {
        block_on(&self.session, For::Room, deadline, |waker| reserving.poll(waker))
            .unwrap_or_else(|| Err(reserving.timed_out()))
    }

    /// Reserves memory for as much of `len` bytes as a write sends at once.
    fn reserve_piece(&mut self, len: usize) -> Result<Reservation, SendError> {
        let reserving = self.core.reserve_piece(len.min(WRITE_PIECE));
        self.wait_for(reserving, deadline(self.timeout))
    }

    /// Sends `data` as one message, copying it into shared memory. **Blocks** as
    /// [`reserve`](Self::reserve) does.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    #[inline]
    pub fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.send_flags(data, Flags::none())
    }

    /// Sends `data` as one message, if nothing has to be waited for. Never waits for the peer.
    ///
    /// # Errors
    /// [`TryError::WouldBlock`] without credit, queue space or memory for it; else as [`send`](Self::send). Nothing was sent.
    pub fn try_send(&mut self, data: &[u8]) -> Result<(), TryError<SendError>> {
        if self.core.try_send(data, Flags::none())? {
            return Ok(());
        }
        let mut reservation = self.try_reserve(data.len())?;
        reservation.copy_from_slice(data);
        Ok(reservation.commit()?)
    }

    /// Reserves memory for a message of `len` bytes, if nothing has to be waited for. Never waits for the peer; payload
    /// memory that the session lacks is made, which blocks while the kernel clears its pages.
    ///
    /// # Errors
    /// [`TryError::WouldBlock`] without credit, queue space or memory for it; else as [`reserve`](Self::reserve).
    pub fn try_reserve(&mut self, len: usize) -> Result<Reservation, TryError<SendError>> {
        let reserved = self.core.reserve(len)?.try_now();
        if matches!(reserved, Err(TryError::WouldBlock)) {
            self.session.glance();
        }
        reserved
    }

    /// Collects small messages, to be sent with one publication and at most one ring. Dropped before
    /// it is committed, none of them is sent.
    pub fn batch(&mut self) -> Batch<'_> {
        self.staged.clear();
        Batch { stream: self }
    }

    fn send_flags(&mut self, data: &[u8], flags: Flags) -> Result<(), SendError> {
        if self.core.try_send(data, flags)? { Ok(()) } else { self.send_reserved(data, flags) }
    }

    /// Out of line, so that a small message saves no registers for it.
    #[inline(never)]
    fn send_reserved(&mut self, data: &[u8], flags: Flags) -> Result<(), SendError> {
        let mut reservation = self.reserve(data.len())?;
        reservation.copy_from_slice(data);
        reservation.commit_flags(data.len(), flags)
    }

    /// Ends this direction in good order; the peer reads the end after what was sent. Never blocks.
    ///
    /// # Errors
    /// [`SendError::Ended`] the second time; [`SendError::Session`].
    pub fn finish(&mut self) -> Result<(), SendError> {
        self.core.finish()
    }

    /// Sends `data` as the last message and ends this direction with it, in one record: cheaper than
    /// [`send`](Self::send) and [`finish`](Self::finish). **Blocks** as [`reserve`](Self::reserve) does.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent, and this direction goes on.
    pub fn finish_with(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.send_flags(data, Flags::FIN)
    }

    /// Breaks this direction off; the peer's reads fail with `code` after what was sent. Never blocks.
    pub fn reset(&mut self, code: u32) {
        self.core.reset(code);
    }
}

/// Messages that are sent together; see [`SendStream::batch`]. Dropped instead of committed, none of
/// them is sent.
#[derive(Debug)]
pub struct Batch<'a> {
    stream: &'a mut SendStream,
}

impl Batch<'_> {
    /// Adds a message. It is kept in private memory until the batch is committed.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] for a message longer than `inline_max` (4,096 bytes by default).
    #[inline]
    pub fn push(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.stream.staged.push(message, &self.stream.core)
    }

    /// Messages not yet sent.
    pub fn len(&self) -> usize {
        self.stream.staged.len()
    }

    /// True if there is no message left to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends the messages, in order. **Blocks** for room as [`SendStream::send`] does; the peer sees
    /// what was sent before.
    ///
    /// # Errors
    /// [`SendError`]. The messages that remain were not sent, and can be committed again.
    pub fn commit(&mut self) -> Result<(), SendError> {
        while !self.is_empty() {
            let SendStream { core, staged, .. } = &mut *self.stream;
            staged.try_send(core)?;
            if let Some(next) = staged.next() {
                // Wait for room for one of them, in line with other threads.
                let next = next.to_vec();
                self.stream.send(&next)?;
                self.stream.staged.sent_one();
            }
        }
        Ok(())
    }
}

/// Writes are published before they return, as parts of one message that `flush` (or `finish`) ends.
/// A peer that reads bytes does not have to wait for either.
impl io::Write for SendStream {
    /// **Blocks** as [`reserve`](SendStream::reserve) does; writes 64 KiB at most.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        if self.core.try_send(data, Flags::MORE)? {
            return Ok(data.len());
        }
        let mut reservation = self.reserve_piece(data.len())?;
        let len = reservation.len();
        reservation.copy_from_slice(&data[..len]);
        reservation.commit_flags(len, Flags::MORE)?;
        Ok(len)
    }

    /// As `write`, for the buffers one after the other: what is written of them is one record.
    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let all = buffers.iter().map(|buffer| buffer.len()).fold(0, usize::saturating_add);
        if all == 0 {
            return Ok(0);
        }
        let mut reservation = self.reserve_piece(all)?;
        let len = reservation.len();
        gather(buffers, &mut reservation);
        reservation.commit_flags(len, Flags::MORE)?;
        Ok(len)
    }

    /// Ends the message that `write` began, if any. **Blocks** as [`reserve`](SendStream::reserve) does.
    fn flush(&mut self) -> io::Result<()> {
        if self.core.is_in_message() {
            self.send_flags(&[], Flags::none())?;
        }
        Ok(())
    }
}

/// Fills `out` from the buffers, which hold at least as much.
fn gather(buffers: &[IoSlice<'_>], out: &mut [u8]) {
    let mut rest = out;
    for buffer in buffers {
        let (now, later) = rest.split_at_mut(buffer.len().min(rest.len()));
        now.copy_from_slice(&buffer[..now.len()]);
        rest = later;
    }
}
