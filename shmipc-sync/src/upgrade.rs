//! Hot upgrade: a listener that takes over from a running server, and is handed over to the next one.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use shmipc_core::error::ListenError;
use shmipc_core::handle::{Driver, Session, WeakSession};
use shmipc_core::link::Poller;
use shmipc_core::listen::Acceptor;

use crate::Listener;
use crate::block::deadline;

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
    /// Beside the socket file and its lock there are an upgrade socket, `address.upgrade` unless
    /// [`ListenerBuilder::upgrade_at`](crate::ListenerBuilder::upgrade_at) says otherwise, and its lock. A process of the
    /// same user that reaches the upgrade socket can take the server over.
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
        let mut leaving = Leaving::new(&self.acceptor)?;
        loop {
            if !self.acceptor.try_followed(Instant::now())? {
                return Ok(Drained::Resumed);
            }
            let left = leaving.end_drained();
            if left == 0 {
                self.close();
                return Ok(Drained::Done);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Drained::TimedOut(left));
            }
            leaving.sleep(deadline.into_iter().chain(self.acceptor.next_deadline()).min())?;
        }
    }

    /// Which server of its row this is: 1, or one more than the one it took over from.
    pub fn generation(&self) -> u64 {
        self.acceptor.generation()
    }
}

/// The sessions of a server that drains, and what its thread sleeps on: their descriptors and the listener's.
struct Leaving {
    poller: Arc<Wakes>,
    waker: Waker,
    sessions: Vec<(Driver, WeakSession)>,
}

/// Ends the sleep of whoever drains.
struct Wakes(Poller);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

impl Leaving {
    fn new(acceptor: &Acceptor) -> Result<Self, ListenError> {
        let poller = Poller::new()?;
        poller.add(acceptor.as_fd(), 0)?;
        let mut sessions = Vec::new();
        for session in acceptor.sessions() {
            let Some(core) = session.upgrade() else { continue };
            let driver = core.driver();
            poller.add(driver.as_fd(), 0)?;
            sessions.push((driver, session));
        }
        let poller = Arc::new(Wakes(poller));
        Ok(Self { waker: Waker::from(Arc::clone(&poller)), poller, sessions })
    }

    /// Drives all of them, and closes those of which nothing is left to serve; how many are not.
    fn end_drained(&mut self) -> usize {
        let Self { poller, waker, sessions } = self;
        sessions.retain(|(driver, session)| {
            driver.try_drive();
            // One that nobody holds is closed. One that is over is as good as drained.
            let core = session.upgrade();
            let drained = |core: &Session| core.poll_drained(Some(waker)).is_ready();
            let keeps = core.as_ref().is_some_and(|core| !drained(core));
            if !keeps {
                poller.0.remove(driver.as_fd());
                core.iter().for_each(|core| core.close(0));
            }
            keeps
        });
        sessions.len()
    }

    /// **Blocks** until there is something to drive for, or until then.
    fn sleep(&self, until: Option<Instant>) -> Result<(), ListenError> {
        let drivers = || self.sessions.iter().map(|(driver, _)| driver);
        let until = drivers().filter_map(Driver::next_deadline).chain(until).min();
        // All of them, also after one that has something.
        let awake = drivers().filter(|driver| !driver.arm()).count();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = if awake > 0 { Some(Duration::ZERO) } else { left };
        Ok(self.poller.0.wait(&mut Vec::new(), left)?)
    }
}

impl Drop for Leaving {
    /// Leaves the driving to others.
    fn drop(&mut self) {
        for (driver, session) in &self.sessions {
            if let Some(core) = session.upgrade() {
                core.forget_drained();
            }
            driver.leave();
        }
    }
}
