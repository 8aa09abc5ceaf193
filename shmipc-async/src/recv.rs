//! The receiving half of a stream.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use shmipc_core::error::{RecvError, TryError};
use shmipc_core::handle::{Message, RecvHalf, Session};
use shmipc_core::session::{RecvStats, StreamId};
use tokio::io::{AsyncRead, ReadBuf};

use crate::poll::poll;

/// The receiving half of a stream. Dropped before its end it asks the peer to stop sending.
#[derive(Debug)]
pub struct RecvStream {
    session: Session,
    core: RecvHalf,
    /// Whether a poll that finds nothing looks longer.
    looks: bool,
}

impl RecvStream {
    pub(crate) fn new(session: &Session, core: RecvHalf) -> Self {
        Self { session: session.clone(), core, looks: true }
    }
}

impl RecvStream {
    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.core.id()
    }

    /// Counters of what was received on this stream.
    pub fn stats(&self) -> RecvStats {
        self.core.stats()
    }

    /// Receives the next message; `None` after the peer's finish. Cancel safe: what has arrived of a
    /// message is kept.
    ///
    /// # Errors
    /// [`RecvError`], after everything that was sent before has been received.
    pub async fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls for the next message; see [`recv`](Self::recv).
    ///
    /// # Errors
    /// As there.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, RecvError>> {
        let Self { session, core, looks } = self;
        let alone = |core: &RecvHalf| *looks && core.is_alone();
        poll(session, cx, core, alone, RecvHalf::poll_recv)
    }

    /// Receives the next message into `out` and gives its length; `None` after the peer's finish. The
    /// cheapest way to receive small messages: no memory is allocated. Cancel safe.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`RecvError::BufferTooSmall`] for a message longer than `out`, which stays the next message.
    pub async fn recv_into(&mut self, out: &mut [u8]) -> Result<Option<usize>, RecvError> {
        poll_fn(|cx| {
            let Self { session, core, looks } = self;
            let alone = |core: &RecvHalf| *looks && core.is_alone();
            poll(session, cx, core, alone, |core, waker| core.poll_recv_into(out, waker))
        })
        .await
    }

    /// Receives the next message if it is there already. Never waits.
    ///
    /// # Errors
    /// [`TryError::WouldBlock`] if no message has come, and then no task is woken when one does; else as [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<Message>, TryError<RecvError>> {
        match self.core.poll_recv(None) {
            Poll::Ready(received) => Ok(received?),
            Poll::Pending => {
                self.session.glance();
                Err(TryError::WouldBlock)
            }
        }
    }

    /// Whether a poll that finds nothing looks a little longer before it is pending, as it does at first. Not
    /// good for a task that feeds others of its thread, such as an HTTP/2 connection: they would wait for
    /// the end of the look. The session's driver looks then, after they have run.
    pub fn look_longer(&mut self, look: bool) {
        self.looks = look;
    }

    /// Asks the peer to stop sending, with a code for its application. Never waits.
    pub fn stop(&mut self, code: u32) {
        self.core.stop(code);
    }

    /// The messages until the peer's finish, as a [`Stream`].
    pub fn messages(&mut self) -> Messages<'_> {
        Messages { stream: self }
    }
}

/// Messages until the peer's finish; see [`RecvStream::messages`]. Cancel safe, as [`RecvStream::recv`] is.
#[derive(Debug)]
pub struct Messages<'a> {
    stream: &'a mut RecvStream,
}

impl Stream for Messages<'_> {
    type Item = Result<Message, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_recv(cx).map(Result::transpose)
    }
}

/// Reads bytes and ignores the bounds of messages. The end comes after the peer's finish only. Cancel
/// safe: a read that is given up has consumed nothing, not even an empty message. Calls that read more than once, such
/// as `read_exact`, keep nothing of what they had read before they were given up.
impl AsyncRead for RecvStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { session, core, looks } = self.get_mut();
        let out = buf.initialize_unfilled();
        let alone = |core: &RecvHalf| *looks && core.is_alone();
        let read = poll(session, cx, core, alone, |core, waker| core.poll_read(out, waker));
        read.map(|read| {
            buf.advance(read?);
            Ok(())
        })
    }
}
