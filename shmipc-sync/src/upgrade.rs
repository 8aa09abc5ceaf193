//! Hot upgrade: a listener that takes over from a running server, and is handed over to the next one.

use std::path::Path;
use std::time::{Duration, Instant};

use shmipc_core::error::ListenError;

use crate::block::deadline;
use crate::{Listener, Session};

/// How often a server that drains looks after its successor.
const LOOK: Duration = Duration::from_millis(20);

/// What has become of a server that was handed over; see [`Listener::drain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a server that is needed again has to accept"]
pub enum Drained {
    /// Every stream was served to its end, and the sessions are closed. The process can exit.
    Done,
    /// The time is over. So many sessions still have streams, which break when the process exits; or call
    /// [`Listener::drain`] again.
    TimedOut(usize),
    /// The successor has died: call [`Listener::accept`] again.
    Resumed,
}

/// Closes a session of which nothing is left to serve.
fn is_drained(core: &shmipc_core::handle::Session) -> bool {
    core.glance();
    let drained = core.poll_drained(None).is_ready();
    if drained {
        core.close(0);
    }
    drained
}

impl Listener {
    /// Listens at `address`, a path or `@name` for an abstract address, and can be handed over to a server that
    /// does the same later. If such a server runs already, this one takes over from it: it gets the listening
    /// socket here, and begins to accept after [`ready`](Self::ready). **Blocks** until the other one has
    /// given the socket away, for 10 seconds at most; that one has to be inside of `accept` (or
    /// another call on its listener) for that.
    ///
    /// ```no_run
    /// # fn serve(_: shmipc_sync::Session) {}
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// use shmipc_sync::{Drained, ListenError, Listener};
    ///
    /// let listener = Listener::bind_upgradable("/run/app.sock")?;
    /// // Load what is needed; the old server serves meanwhile. Then:
    /// listener.ready()?;
    /// loop {
    ///     match listener.accept() {
    ///         Ok(session) => drop(std::thread::spawn(move || serve(session))),
    ///         Err(ListenError::HandedOver) => match listener.drain(Duration::from_secs(60))? {
    ///             Drained::Done | Drained::TimedOut(_) => return Ok(()),
    ///             Drained::Resumed => {}
    ///         },
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// Beside the socket file and its lock there are an upgrade socket, `address.upgrade`, and its lock.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); [`ListenError::UpgradeRefused`], [`ListenError::UpgradeTimedOut`],
    /// [`ListenError::ForeignServer`], [`ListenError::OtherPath`] if the running server goes on.
    pub fn bind_upgradable(address: impl AsRef<Path>) -> Result<Self, ListenError> {
        Self::builder().bind_upgradable(address)
    }

    /// Begins to accept: if there is a server before this one, asks it to stop, and **blocks** until it has
    /// (10 seconds at most). [`accept`](Self::accept) and its like do that too; without a server
    /// before it there is nothing to do.
    ///
    /// When it returns, clients wait to be accepted here, and it is time to tell a supervisor.
    ///
    /// # Errors
    /// [`ListenError`]: the other server goes on, and this one does not serve.
    pub fn ready(&self) -> Result<(), ListenError> {
        self.acceptor.ready()
    }

    /// Serves what is left after [`ListenError::HandedOver`]: waits until every stream that clients have
    /// opened here is over, and closes the sessions. **Blocks** for at most `timeout`. The sessions have
    /// been told to [leave](Session::leave) already.
    ///
    /// Meanwhile it watches the successor, and takes its place again if it dies.
    ///
    /// # Errors
    /// [`ListenError`]: the listener is closed or broken.
    pub fn drain(&self, timeout: Duration) -> Result<Drained, ListenError> {
        let deadline = deadline(Some(timeout));
        loop {
            if !self.acceptor.try_followed(Instant::now())? {
                return Ok(Drained::Resumed);
            }
            let mut left = self.acceptor.sessions();
            left.retain(|session| session.upgrade().is_some_and(|core| !is_drained(&core)));
            let Some(last) = left.last() else {
                self.close();
                return Ok(Drained::Done);
            };
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(Drained::TimedOut(left.len()));
            }
            let look = now.checked_add(LOOK).into_iter().chain(deadline).min();
            if let Some(core) = last.upgrade() {
                // Whatever it says, all are looked at again.
                let _ = Session { core }.drained_until(look);
            }
        }
    }

    /// Which server of its row this is: 1, or one more than the one it took over from.
    pub fn generation(&self) -> u64 {
        self.acceptor.generation()
    }
}
