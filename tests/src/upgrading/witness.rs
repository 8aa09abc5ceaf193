//! A client that does nothing but to wait for the end of its session.

use std::time::Instant;

use shmipc_core::config::Config;
use shmipc_core::error::SessionError;

use super::account::Outcome;
use super::message::{SIZES, request};
use super::{Place, append, open};
use crate::blocking::Blocking;
use crate::deadline::{Running, start};
use crate::flavour::{Flavour, Session, Stream};
use crate::tokio::{MultiThread, Tokio};

/// A client of a server that is to die, with a stream open, so that the server does not let it go before.
#[derive(Debug)]
pub struct Witness {
    who: &'static str,
    end: Running<(Instant, SessionError)>,
}

impl Witness {
    /// One of each flavour, of the server of that number, which accepts now.
    pub fn all(place: &Place, server: u32) -> [Self; 2] {
        [
            Self::of::<Blocking>("blocking client", 1000, place, server),
            Self::of::<Tokio<MultiThread>>("tokio client", 1001, place, server),
        ]
    }

    fn of<F: Flavour>(who: &'static str, client: u32, place: &Place, server: u32) -> Self {
        let (session, stream) = hold::<F>(place, client, server);
        let end = start(who, move || {
            let end = session.closed();
            let now = Instant::now();
            drop(stream);
            (now, end)
        });
        Self { who, end }
    }

    /// When it has learned of the death of its server.
    ///
    /// # Panics
    /// If its session has ended for another reason.
    pub fn testify(self) -> (&'static str, Instant) {
        let (learned, end) = self.end.join();
        assert_eq!(end, SessionError::PeerDied, "{}", self.who);
        (self.who, learned)
    }
}

/// A session with a stream that is open, on which `client` has said something that is noted as answered.
pub(super) fn hold<F: Flavour>(
    place: &Place,
    client: u32,
    server: u32,
) -> (F::Session, <F::Session as Session>::Stream) {
    let session = F::connect(&place.socket(), &Config::default());
    let mut stream = session.open().expect("a stream");
    stream.send(&request([client, server, 0], SIZES.0)).expect("sent");
    stream.recv().expect("a reply").expect("no end");
    append(&open(&place.outcomes()), [client, server, 0, Outcome::Answered as u32]);
    (session, stream)
}
