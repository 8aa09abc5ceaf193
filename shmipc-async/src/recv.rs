//! The receiving half of a stream.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use shmipc_core::error::RecvError;
use shmipc_core::handle::{Message, RecvHalf, Session, Trust, Trusted, Untrusted};
use shmipc_core::session::{RecvStats, StreamId};
use tokio::io::{AsyncRead, ReadBuf};

use crate::poll::poll;

/// The receiving half of a stream. Dropped before its end it asks the peer to stop sending.
#[derive(Debug)]
pub struct RecvStream<T: Trust = Untrusted> {
    session: Session,
    core: RecvHalf<T>,
    /// Whether a poll that finds nothing looks longer.
    looks: bool,
}

impl RecvStream {
    pub(crate) fn new(session: &Session, core: RecvHalf) -> Self {
        Self { session: session.clone(), core, looks: true }
    }

    /// The same half with zero-copy reading, if the configuration carries the promise
    /// ([`PeerTrust`](crate::PeerTrust)).
    ///
    /// # Errors
    /// The half itself, of a session without the promise.
    #[expect(clippy::result_large_err, reason = "the half itself comes back")]
    pub fn into_trusted(self) -> Result<RecvStream<Trusted>, Self> {
        let Self { session, core, looks } = self;
        match core.into_trusted() {
            Ok(core) => Ok(RecvStream { session, core, looks }),
            Err(core) => Err(Self { session, core, looks }),
        }
    }
}

impl RecvStream<Trusted> {
    /// The same half without zero-copy reading, for code that takes any.
    pub fn into_untrusted(self) -> RecvStream {
        let Self { session, core, looks } = self;
        RecvStream { session, core: core.into_untrusted(), looks }
    }
}

impl<T: Trust> RecvStream<T> {
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
    pub async fn recv(&mut self) -> Result<Option<Message<T>>, RecvError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls for the next message; see [`recv`](Self::recv).
    ///
    /// # Errors
    /// As there.
    pub fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Message<T>>, RecvError>> {
        let Self { session, core, looks } = self;
        let alone = |core: &RecvHalf<T>| *looks && core.is_alone();
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
            let alone = |core: &RecvHalf<T>| *looks && core.is_alone();
            poll(session, cx, core, alone, |core, waker| core.poll_recv_into(out, waker))
        })
        .await
    }

    /// Receives the next message if it is there already; `Poll::Pending` if not, and then nobody is
    /// woken. Never waits.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Poll<Result<Option<Message<T>>, RecvError>> {
        let polled = self.core.poll_recv(None);
        if polled.is_pending() {
            self.session.glance();
        }
        polled
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
    pub fn messages(&mut self) -> Messages<'_, T> {
        Messages { stream: self }
    }
}

/// Messages until the peer's finish; see [`RecvStream::messages`]. Cancel safe, as [`RecvStream::recv`] is.
#[derive(Debug)]
pub struct Messages<'a, T: Trust = Untrusted> {
    stream: &'a mut RecvStream<T>,
}

impl<T: Trust> Stream for Messages<'_, T> {
    type Item = Result<Message<T>, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_recv(cx).map(Result::transpose)
    }
}

/// Reads bytes and ignores the bounds of messages. The end comes after the peer's finish only. Cancel
/// safe: a read that is given up has consumed nothing, not even an empty message. Calls that read more than once, such
/// as `read_exact`, keep nothing of what they had read before they were given up.
impl<T: Trust> AsyncRead for RecvStream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { session, core, looks } = self.get_mut();
        let out = buf.initialize_unfilled();
        let alone = |core: &RecvHalf<T>| *looks && core.is_alone();
        let read = poll(session, cx, core, alone, |core, waker| core.poll_read(out, waker));
        read.map(|read| {
            buf.advance(read?);
            Ok(())
        })
    }
}
