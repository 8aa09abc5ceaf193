//! Servers that start at the very same moment: one serves in the end, the others are told why they do not, or have handed
//! over to it in good order.

use shmipc_sync::Session;
use tests::child::Peer;
use tests::generations::{Asking, Place};

const GENERATION: &str = env!("CARGO_BIN_EXE_generation");

/// Servers that start together.
const AT_ONCE: usize = 4;
const IN_PROGRESS: &str = "UpgradeRefused(InProgress)";

#[test]
fn successors_that_come_at_once() {
    let mut row = Row::new();
    let first = row.place.next(1);
    row.servers.push((1, first));
    let clients = [Asking::start(&row.place.path()), Asking::start(&row.place.path())];
    for round in 0..30 {
        row.start_at_once(round, &[IN_PROGRESS]);
        clients.iter().for_each(|client| client.is_served_by(row.last()));
    }
    clients.into_iter().for_each(|client| assert!(client.end() >= 30));
    row.end();
}

/// The same where none serves: the path may belong to another one before that can be asked.
#[test]
fn servers_that_come_at_once() {
    for round in 0..30 {
        let mut row = Row::new();
        row.start_at_once(round, &[IN_PROGRESS, "InUse"]);
        row.end();
    }
}

/// Servers in a row, each with its generation; the last one serves.
struct Row {
    place: Place,
    servers: Vec<(u64, Peer)>,
}

impl Row {
    fn new() -> Self {
        Self { place: Place::new(GENERATION), servers: Vec::new() }
    }

    /// The generation that serves.
    fn last(&self) -> u64 {
        self.servers.last().map_or(0, |(generation, _)| *generation)
    }

    /// Some more come, both flavours among them. Those who do not follow have one of these reasons.
    fn start_at_once(&mut self, round: usize, reasons: &[&str]) {
        let flavour = |number: usize| ["blocking", "tokio"][(number + round) % 2];
        let start = |number| self.place.server(&["held", flavour(number)]);
        let mut coming: Vec<Peer> = (0..AT_ONCE).map(start).collect();
        coming.iter_mut().for_each(|server| drop(server.line("held")));
        coming.iter_mut().for_each(|server| server.say("go on"));
        let before = self.last();
        let mut refused = 0;
        for mut server in coming {
            match outcome(&mut server) {
                Ok(generation) => self.servers.push((generation, server)),
                Err(reason) => {
                    assert!(reasons.iter().any(|known| reason.starts_with(known)), "{reason}");
                    server.succeed();
                    refused += 1;
                }
            }
        }
        self.servers.sort_by_key(|(generation, _)| *generation);
        println!("after {before}: {refused} refused");
        assert_eq!(self.last(), before + (AT_ONCE - refused) as u64);
        assert!(self.last() > before, "somebody follows");
        self.settle();
    }

    /// All but the last one have nothing to do any more.
    fn settle(&mut self) {
        let numbers: Vec<_> = self.servers.iter().map(|(generation, _)| *generation).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        let last = self.servers.pop().expect("somebody serves");
        for (_, mut server) in std::mem::replace(&mut self.servers, vec![last]) {
            server.line("drained");
            server.succeed();
        }
        let (generation, server) = &self.servers[0];
        self.place.is_served_by(*generation);
        let session = Session::connect(self.place.path()).expect("connected");
        assert_eq!(session.peer().pid.cast_unsigned(), server.pid());
    }

    /// Nobody serves after the last one.
    fn end(mut self) {
        let (_, mut last) = self.servers.pop().expect("somebody serves");
        last.hang_up();
        last.line("failed Closed");
        last.succeed();
        assert!(self.place.files().is_empty());
    }
}

/// The generation as which it serves, or why it does not.
fn outcome(server: &mut Peer) -> Result<u64, String> {
    loop {
        let line = server.next_line();
        match line.split_once(' ') {
            Some(("serving", generation)) => return Ok(generation.parse().expect("a number")),
            Some(("failed", reason)) => return Err(reason.to_owned()),
            _ => assert!(line.starts_with("bound "), "{line}"),
        }
    }
}
