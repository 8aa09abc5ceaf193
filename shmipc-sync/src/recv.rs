//! The receiving half of a stream.

use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use shmipc_core::error::{RecvError, TryError};
use shmipc_core::handle::{Message, RecvHalf, Session, Watch};
use shmipc_core::session::{RecvStats, StreamId};

use crate::block::{For, block_on, deadline};

/// The receiving half of a stream. Dropped before its end it asks the peer to stop sending.
#[derive(Debug)]
pub struct RecvStream {
    session: Session,
    core: RecvHalf,
    timeout: Option<Duration>,
}

impl RecvStream {
    pub(crate) fn new(session: &Session, core: RecvHalf) -> Self {
        Self { session: session.clone(), core, timeout: None }
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

    /// How long receiving calls wait at most. Default: without limit.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Receives the next message; `None` after the peer's finish. **Blocks** until there is one.
    ///
    /// # Errors
    /// [`RecvError`], after everything that was sent before has been received.
    #[inline]
    pub fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        let deadline = deadline(self.timeout);
        self.recv_until(deadline)
    }

    /// As [`recv`](Self::recv), for at most `timeout`. What has arrived of a message is kept.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`] too.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Message>, RecvError> {
        self.recv_until(deadline(Some(timeout)))
    }

    /// As [`recv`](Self::recv), until `deadline`.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`] too.
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Option<Message>, RecvError> {
        self.recv_until(Some(deadline))
    }

    #[inline]
    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<Option<Message>, RecvError> {
        let core = &mut self.core;
        block_on(&self.session, For::Record, deadline, |waker| core.poll_recv(waker))
            .unwrap_or(Err(RecvError::TimedOut))
    }

    /// Receives the next message into `out` and gives its length; `None` after the peer's finish.
    /// **Blocks** until there is one. The cheapest way to receive small messages: no memory is
    /// allocated.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`RecvError::BufferTooSmall`] for a message longer than `out`, which stays the next message.
    #[inline]
    pub fn recv_into(&mut self, out: &mut [u8]) -> Result<Option<usize>, RecvError> {
        let (core, deadline) = (&mut self.core, deadline(self.timeout));
        block_on(&self.session, For::Record, deadline, |waker| core.poll_recv_into(out, waker))
            .unwrap_or(Err(RecvError::TimedOut))
    }

    /// Receives the next message if it is there already. Never blocks.
    ///
    /// # Errors
    /// [`TryError::WouldBlock`] if no message has come; else as [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<Message>, TryError<RecvError>> {
        match self.core.poll_recv(None) {
            Poll::Ready(received) => Ok(received?),
            Poll::Pending => {
                self.session.glance();
                Err(TryError::WouldBlock)
            }
        }
    }

    pub(crate) fn watch(&self) -> Watch {
        self.core.watch()
    }

    /// Asks the peer to stop sending, with a code for its application. Never blocks.
    pub fn stop(&mut self, code: u32) {
        self.core.stop(code);
    }

    /// An iterator over the messages until the peer's finish.
    pub fn messages(&mut self) -> Messages<'_> {
        Messages { stream: self }
    }
}

/// Messages until the peer's finish; see [`RecvStream::messages`].
#[derive(Debug)]
pub struct Messages<'a> {
    stream: &'a mut RecvStream,
}

impl Iterator for Messages<'_> {
    type Item = Result<Message, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.stream.recv().transpose()
    }
}

/// Reads bytes and ignores the bounds of messages. `Ok(0)` comes after the peer's finish only.
///
/// A `read` that fails or times out has consumed nothing, not even an empty message. Calls that read more than once,
/// such as `read_exact`, keep nothing of what they had read before they failed.
impl io::Read for RecvStream {
    /// **Blocks** until there is a byte, or the end.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (core, deadline) = (&mut self.core, deadline(self.timeout));
        block_on(&self.session, For::Record, deadline, |waker| core.poll_read(out, waker))
            .unwrap_or(Err(RecvError::TimedOut))
            .map_err(Into::into)
    }
}
