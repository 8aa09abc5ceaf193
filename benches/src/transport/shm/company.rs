//! What a session does beside the links that are measured: nothing, with many streams open and many
//! threads waiting.

use std::io;
use std::process::exit;
use std::thread::{self, JoinHandle};

use shmipc_sync::{Session, Stream};

use super::super::{Arm, Side};
use super::{PATIENCE, ended, other};

/// A session, streams that are open on both sides and not used (`--open`), and threads that wait on
/// idle streams (`--parked`). All of them end with it.
#[derive(Debug)]
pub(super) struct Company {
    session: Session,
    parked: Vec<JoinHandle<()>>,
    _open: Vec<Stream>,
}

impl Company {
    pub(super) fn new(arm: &Arm, session: &Session, side: Side) -> io::Result<Self> {
        // The peer accepts in this order: a parked thread announces its stream before it waits.
        let open = greeted(session, side, arm.open)?;
        let idle = (0..arm.parked).map(|_| match side {
            Side::Driver => session.open().map_err(other),
            Side::Peer => session.accept_timeout(PATIENCE).map_err(other),
        });
        let idle = idle.collect::<io::Result<Vec<_>>>()?;
        let parked = idle.into_iter().map(park).collect();
        Ok(Self { session: session.clone(), parked, _open: open })
    }

    /// How often this side has rung.
    pub(super) fn bells(&self) -> u64 {
        self.session.stats().bells_rung
    }
}

impl Drop for Company {
    /// Nothing of this session is left when the next link is measured.
    fn drop(&mut self) {
        self.session.close(0);
        for thread in self.parked.drain(..) {
            if thread.join().is_err() {
                eprintln!("ipcbench: a parked thread panicked");
                exit(1);
            }
        }
    }
}

/// Streams that the driver has opened with an empty message, which the peer has received.
pub(super) fn greeted(session: &Session, side: Side, count: usize) -> io::Result<Vec<Stream>> {
    let greeted = (0..count).map(|_| match side {
        Side::Driver => {
            let mut stream = session.open().map_err(other)?;
            stream.send(&[]).map_err(other)?;
            Ok(stream)
        }
        Side::Peer => {
            let mut stream = session.accept_timeout(PATIENCE).map_err(other)?;
            stream.recv().map_err(other)?.ok_or_else(ended)?;
            Ok(stream)
        }
    });
    greeted.collect()
}

/// A thread that waits on an idle stream until the session is over.
fn park(mut stream: Stream) -> JoinHandle<()> {
    thread::spawn(move || {
        if let Ok(message) = stream.recv() {
            eprintln!("ipcbench: an idle stream received {message:?}");
            exit(1);
        }
    })
}
