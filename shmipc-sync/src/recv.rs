//! The receiving half of a stream.

use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use shmipc_core::error::RecvError;
use shmipc_core::handle::{Message, RecvHalf, Session, Trust, Trusted, Untrusted, Watch};
use shmipc_core::session::{RecvStats, StreamId};

use crate::block::{For, block_on, deadline};

/// The receiving half of a stream. Dropped before its end it asks the peer to stop sending.
#[derive(Debug)]
pub struct RecvStream<T: Trust = Untrusted> {
    session: Session,
    core: RecvHalf<T>,
    timeout: Option<Duration>,
}

impl RecvStream {
    pub(crate) fn new(session: &Session, core: RecvHalf) -> Self {
        Self { session: session.clone(), core, timeout: None }
    }

    /// The same half with zero-copy reading, if the configuration carries the promise
    /// ([`PeerTrust`](crate::PeerTrust)).
    ///
    /// # Errors
    /// The half itself, of a session without the promise.
    #[expect(clippy::result_large_err, reason = "the half itself comes back")]
    pub fn into_trusted(self) -> Result<RecvStream<Trusted>, Self> {
        let Self { session, core, timeout } = self;
        match core.into_trusted() {
            Ok(core) => Ok(RecvStream { session, core, timeout }),
            Err(core) => Err(Self { session, core, timeout }),
        }
    }
}

impl RecvStream<Trusted> {
    /// The same half without zero-copy reading, for code that takes any.
    pub fn into_untrusted(self) -> RecvStream {
        let Self { session, core, timeout } = self;
        RecvStream { session, core: core.into_untrusted(), timeout }
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

    /// How long receiving calls wait at most. Default: without limit.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Receives the next message; `None` after the peer's finish. **Blocks** until there is one.
    ///
    /// # Errors
    /// [`RecvError`], after everything that was sent before has been received.
    #[inline]
    pub fn recv(&mut self) -> Result<Option<Message<T>>, RecvError> {
        let deadline = deadline(self.timeout);
        self.recv_until(deadline)
    }

    /// As [`recv`](Self::recv), for at most `timeout`. What has arrived of a message is kept.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`] too.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Message<T>>, RecvError> {
        self.recv_until(deadline(Some(timeout)))
    }

    /// As [`recv`](Self::recv), until `deadline`.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`] too.
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Option<Message<T>>, RecvError> {
        self.recv_until(Some(deadline))
    }

    #[inline]
    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<Option<Message<T>>, RecvError> {
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

    /// Receives the next message if it is there already; `Poll::Pending` if not. Never blocks.
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

    pub(crate) fn watch(&self) -> Watch {
        self.core.watch()
    }

    /// Asks the peer to stop sending, with a code for its application. Never blocks.
    pub fn stop(&mut self, code: u32) {
        self.core.stop(code);
    }

    /// An iterator over the messages until the peer's finish.
    pub fn messages(&mut self) -> Messages<'_, T> {
        Messages { stream: self }
    }
}

/// Messages until the peer's finish; see [`RecvStream::messages`].
#[derive(Debug)]
pub struct Messages<'a, T: Trust = Untrusted> {
    stream: &'a mut RecvStream<T>,
}

impl<T: Trust> Iterator for Messages<'_, T> {
    type Item = Result<Message<T>, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.stream.recv().transpose()
    }
}

/// Reads bytes and ignores the bounds of messages. `Ok(0)` comes after the peer's finish only.
///
/// A `read` that fails or times out has consumed nothing, not even an empty message. Calls that read more than once,
/// such as `read_exact`, keep nothing of what they had read before they failed.
impl<T: Trust> io::Read for RecvStream<T> {
    /// **Blocks** until there is a byte, or the end.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (core, deadline) = (&mut self.core, deadline(self.timeout));
        block_on(&self.session, For::Record, deadline, |waker| core.poll_read(out, waker))
            .unwrap_or(Err(RecvError::TimedOut))
            .map_err(Into::into)
    }
}
