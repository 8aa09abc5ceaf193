//! The sending half of a stream.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use shmipc_core::error::{SendError, TryError};
use shmipc_core::handle::{Reservation, Reserving, SendHalf, Session, Staged};
use shmipc_core::queue::Flags;
use shmipc_core::session::{SendStats, StreamId};
use tokio::io::AsyncWrite;

use crate::poll::{poll_once, proceed};

/// Largest piece that a write sends as one record, bytes: a quarter of the default stream window, so that
/// a writer and a reader can work at the same time.
const WRITE_PIECE: usize = 64 << 10;

/// The sending half of a stream.
///
/// Dropped before [`finish`](Self::finish) it resets the stream, so that a reader never mistakes a
/// crash, or a task that was aborted, for the end.
#[derive(Debug)]
pub struct SendStream {
    session: Session,
    core: SendHalf,
    /// Room that a pending write or flush waits for. Who sends in another way has given that one up, and is
    /// not to wait behind it.
    waiting: Option<Reserving>,
    /// The messages of a batch in the making.
    staged: Staged,
}

impl SendStream {
    pub(crate) fn new(session: &Session, core: SendHalf) -> Self {
        Self { session: session.clone(), core, waiting: None, staged: Staged::default() }
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

    /// Reserves memory for a message of `len` bytes, to be filled in place and committed: waits for credit,
    /// queue space and memory, and is the only call that waits for the reader. May create a piece of shared
    /// memory, which takes the kernel up to a few milliseconds. Cancel safe: what was granted is given back.
    ///
    /// Do not wait for another reservation of the same session while holding one.
    ///
    /// # Errors
    /// [`SendError`]; [`SendError::TooLarge`] at once for what can never fit.
    pub async fn reserve(&mut self, len: usize) -> Result<Reservation, SendError> {
        self.waiting = None;
        let mut reserving = self.core.reserve(len)?;
        poll_fn(|cx| poll_room(&self.session, &mut reserving, cx)).await
    }

    /// Sends `data` as one message, copying it into shared memory. Waits as [`reserve`](Self::reserve) does.
    /// Cancel safe: cancelled, nothing was sent.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    pub async fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.send_flags(data, Flags::none()).await
    }

    /// Sends `data` as the last message and ends this direction with it, in one record. Waits as
    /// [`reserve`](Self::reserve) does. Cancel safe: cancelled, nothing was sent.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent, and this direction goes on.
    pub async fn finish_with(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.send_flags(data, Flags::FIN).await
    }

    async fn send_flags(&mut self, data: &[u8], flags: Flags) -> Result<(), SendError> {
        self.waiting = None;
        // A sender that never has to wait leaves the runtime to others now and then, too; nothing is awaited
        // between the sending and the answer.
        consume_budget().await;
        if self.core.try_send(data, flags)? {
            return Ok(());
        }
        let mut reservation = self.reserve(data.len()).await?;
        reservation.copy_from_slice(data);
        reservation.commit_flags(data.len(), flags)
    }

    /// Sends `data` as one message, if nothing has to be waited for. Never waits for the peer.
    ///
    /// # Errors
    /// [`TryError::WouldBlock`] without credit, queue space or memory for it; else as [`send`](Self::send). Nothing was sent.
    pub fn try_send(&mut self, data: &[u8]) -> Result<(), TryError<SendError>> {
        self.waiting = None;
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
        self.waiting = None;
        let reserved = self.core.reserve(len)?.try_now();
        if matches!(reserved, Err(TryError::WouldBlock)) {
            self.session.glance();
        }
        reserved
    }

    /// Collects small messages, to be sent with one publication and at most one ring. Dropped before
    /// it is committed, none of them is sent.
    pub fn batch(&mut self) -> Batch<'_> {
        self.waiting = None;
        self.staged.clear();
        Batch { stream: self }
    }

    /// Ends this direction in good order; the peer reads the end after what was sent. Never waits.
    ///
    /// # Errors
    /// [`SendError::Ended`] the second time; [`SendError::Session`].
    pub fn finish(&mut self) -> Result<(), SendError> {
        self.waiting = None;
        self.core.finish()
    }

    /// Breaks this direction off; the peer's reads fail with `code` after what was sent. Never waits.
    pub fn reset(&mut self, code: u32) {
        self.waiting = None;
        self.core.reset(code);
    }

    /// Sends as much of the buffers as goes into one record.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
        flags: Flags,
    ) -> Poll<Result<usize, SendError>> {
        let all = buffers.iter().map(|buffer| buffer.len()).fold(0, usize::saturating_add);
        let len = all.min(WRITE_PIECE).min(self.max_message());
        if let ([buffer], None) = (buffers, &self.waiting) {
            let budget = ready!(proceed(cx));
            if self.core.try_send(&buffer[..len], flags)? {
                budget.made_progress();
                return Poll::Ready(Ok(len));
            }
        }
        let mut reservation = loop {
            let waiting = match &mut self.waiting {
                Some(waiting) => waiting,
                None => self.waiting.insert(self.core.reserve_piece(len)),
            };
            let reserved = ready!(poll_room(&self.session, waiting, cx));
            self.waiting = None;
            let reservation = reserved?;
            // One for a flush that was given up has no room for a write.
            if len == 0 || !reservation.is_empty() {
                break reservation;
            }
        };
        // It was made for what a call before this one had to write, or memory for all was refused.
        let len = len.min(reservation.len());
        gather(buffers, &mut reservation[..len]);
        reservation.commit_flags(len, flags)?;
        Poll::Ready(Ok(len))
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

    /// Sends the messages, in order. Waits for room as [`SendStream::send`] does; the peer sees what was
    /// sent before. Cancel safe: the messages that remain were not sent, and can be committed again.
    ///
    /// # Errors
    /// [`SendError`]. The messages that remain were not sent, and can be committed again.
    pub async fn commit(&mut self) -> Result<(), SendError> {
        while !self.is_empty() {
            let SendStream { core, staged, .. } = &mut *self.stream;
            staged.try_send(core)?;
            consume_budget().await;
            if let Some(next) = self.stream.staged.next() {
                let next = next.to_vec();
                self.stream.send(&next).await?;
                self.stream.staged.sent_one();
            }
        }
        Ok(())
    }
}

/// Leaves the runtime to others if the budget is used up.
async fn consume_budget() {
    poll_fn(|cx| proceed(cx).map(|budget| budget.made_progress())).await;
}

fn poll_room(
    session: &Session,
    reserving: &mut Reserving,
    cx: &mut Context<'_>,
) -> Poll<Result<Reservation, SendError>> {
    poll_once(session, cx, reserving, Reserving::poll)
}

/// Fills `out` from the buffers, which hold at least as much.
fn gather(buffers: &[io::IoSlice<'_>], out: &mut [u8]) {
    let mut rest = out;
    for buffer in buffers {
        let (now, later) = rest.split_at_mut(buffer.len().min(rest.len()));
        now.copy_from_slice(&buffer[..now.len()]);
        rest = later;
    }
}

/// Writes are published before they complete, as parts of one message that a flush or a shutdown ends. A
/// peer that reads bytes does not have to wait for either. Cancel safe: a pending write has sent nothing. It keeps
/// its turn, and with it room that it was granted, for the next write, until the half is dropped, ended, or sends
/// in another way.
impl AsyncWrite for SendStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.get_mut().poll_piece(cx, buffers, Flags::MORE).map_err(Into::into)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Ends the message that writes began, if any. Cancel safe as a write is.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.core.is_in_message() {
            return Poll::Ready(Ok(()));
        }
        let ended = this.poll_piece(cx, &[io::IoSlice::new(&[])], Flags::none());
        ended.map(|ended| ended.map(drop).map_err(Into::into))
    }

    /// Ends this direction in good order; once more does nothing. Never pending.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().finish() {
            Ok(()) | Err(SendError::Ended) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}
