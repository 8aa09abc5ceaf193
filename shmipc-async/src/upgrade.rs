//! Hot upgrade: a listener that takes over from a running server, and is handed over to the next one.

use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use shmipc_core::error::{ListenError, OsError};
use shmipc_core::handle::WeakSession;
use shmipc_core::listen::{Acceptor, Binding};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::fd::{Watched, watch};
use crate::{Listener, Session, clock};

/// What has become of a server that was handed over; see [`Listener::drain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a server that is needed again has to accept"]
pub enum Drained {
    /// Every stream was served to its end, and the sessions are closed. The process can exit.
    Done,
    /// The successor has died: call [`Listener::accept`] again.
    Resumed,
}

impl Listener {
    /// Listens at `address`, a path or `@name` for an abstract address, and can be handed over to a server that
    /// does the same later. If such a server runs already, this one takes over from it: it gets the listening
    /// socket here, and begins to accept after [`ready`](Self::ready). Waits until the other one has
    /// given the socket away, for 10 seconds at most; that one has to be inside of `accept` (or
    /// another call on its listener) for that. Cancel safe: the other one goes on.
    ///
    /// ```no_run
    /// # async fn serve(_: shmipc_async::Session) {}
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// use shmipc_async::{Drained, ListenError, Listener};
    /// use tokio::time::timeout;
    ///
    /// let listener = Listener::bind_upgradable("/run/app.sock").await?;
    /// // Load what is needed; the old server serves meanwhile. Then:
    /// listener.ready().await?;
    /// loop {
    ///     match listener.accept().await {
    ///         Ok(session) => drop(tokio::spawn(serve(session))),
    ///         Err(ListenError::HandedOver) => {
    ///             match timeout(Duration::from_secs(60), listener.drain()).await {
    ///                 Ok(Ok(Drained::Resumed)) => {}
    ///                 Ok(Err(error)) => return Err(error.into()),
    ///                 Ok(Ok(Drained::Done)) | Err(_) => return Ok(()),
    ///             }
    ///         }
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// Beside the socket file and its lock there are an upgrade socket, `address.upgrade` unless
    /// [`ListenerBuilder::upgrade_at`](crate::ListenerBuilder::upgrade_at) says otherwise, and its lock. A process of the
    /// same user that reaches the upgrade socket can take the server over.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); [`ListenError::UpgradeRefused`], [`ListenError::UpgradeTimedOut`],
    /// [`ListenError::ForeignServer`], [`ListenError::OtherPath`] if the running server goes on.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn bind_upgradable(address: impl AsRef<Path>) -> Result<Self, ListenError> {
        Self::builder().bind_upgradable(address).await
    }

    /// Begins to accept: if there is a server before this one, asks it to stop, and waits until it has.
    /// [`accept`](Self::accept) does that too; without a server before it there is nothing to do. Cancel
    /// safe.
    ///
    /// When it returns, clients wait to be accepted here, and it is time to tell a supervisor.
    ///
    /// # Errors
    /// [`ListenError`]: the other server goes on, and this one does not serve.
    pub async fn ready(&self) -> Result<(), ListenError> {
        self.work(|acceptor, now| Ok(acceptor.try_ready(now)?.then_some(()))).await
    }

    /// Serves what is left after [`ListenError::HandedOver`]: waits until every stream that clients have
    /// opened here is over, and closes the sessions. They have been told to
    /// [leave](Session::leave) already. Cancel safe: it may be called again.
    ///
    /// Meanwhile it watches the successor, and takes its place again if it dies.
    ///
    /// # Errors
    /// [`ListenError`]: the listener is closed or broken.
    pub async fn drain(&self) -> Result<Drained, ListenError> {
        let followed = |acceptor: &Acceptor, now| Ok((!acceptor.try_followed(now)?).then_some(()));
        let mut resumed = pin!(self.work(followed));
        let mut drained = pin!(end_all(self.acceptor().sessions()));
        let done = poll_fn(|cx| match resumed.as_mut().poll(cx) {
            Poll::Ready(resumed) => Poll::Ready(resumed.map(|()| Drained::Resumed)),
            Poll::Pending => drained.as_mut().poll(cx).map(|()| Ok(Drained::Done)),
        });
        let done = done.await;
        if matches!(done, Ok(Drained::Done)) {
            self.close();
        }
        done
    }

    /// Which server of its row this is: 1, or one more than the one it took over from.
    pub fn generation(&self) -> u64 {
        self.acceptor().generation()
    }
}

/// Waits until all sessions are drained, one after the other: each has a driver of its own.
async fn end_all(sessions: Vec<WeakSession>) {
    for session in sessions {
        // A handle that is kept while others go would keep the session open.
        let Some(core) = session.upgrade() else { continue };
        let session = Session { core };
        // It is over in either case.
        let _ = session.drained().await;
        session.close(0);
    }
}

/// Waits for the listener.
pub(crate) async fn complete(binding: Binding) -> Result<Acceptor, ListenError> {
    let watched = watch(binding, Interest::READABLE).map_err(|error| failed("epoll_ctl", &error));
    let mut fd: AsyncFd<Watched<Binding>> = watched?;
    loop {
        let binding = &mut fd.get_mut().0;
        if let Some(acceptor) = binding.progress(Instant::now())? {
            return Ok(acceptor);
        }
        let deadline = binding.next_deadline();
        if let Some(ready) = clock::until(deadline, fd.readable()).await {
            ready.map_err(|error| failed("epoll_wait", &error))?.clear_ready();
        }
    }
}

pub(crate) fn failed(call: &'static str, error: &io::Error) -> ListenError {
    ListenError::Os(OsError::from_io(call, error))
}
