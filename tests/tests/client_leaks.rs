//! What clients of both flavours hold after they have followed a server many times. Alone in its process,
//! whose descriptors and mappings it counts.

use std::process;

use shmipc_sync::{ClientConfig, ClientEvent};
use tests::client::{Blocking, Client, Conversation, Events, Tokio};
use tests::deadline::{until, within};
use tests::proc::Held;
use tests::serving;

const PEER: &str = env!("CARGO_BIN_EXE_peer");
const MOVES: u64 = 200;

/// Moves with a stream open, which ends after the move.
fn follow<C: Client>() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut server = serving::start(PEER, &path);
    let client = C::with(&path, ClientConfig::default());
    let mut events = client.events();
    let mut early = [Held::by(process::id()); 2];
    for number in 1..=MOVES {
        let mut stream = client.open().unwrap();
        stream.send("hello").unwrap();
        stream.receive().unwrap();
        assert!(matches!(events.next_soon(), Some(ClientEvent::Connected { .. })));
        server.say("leave");
        assert_eq!(events.next_soon(), Some(ClientEvent::Migrating { session: number }));
        client.ask("elsewhere");
        stream.send("still there").unwrap();
        stream.receive().unwrap();
        stream.finish();
        stream.receive().unwrap();
        drop(stream);
        assert_eq!(server.line("over"), number.to_string());
        let held = || [Held::by(process::id()), Held::by(server.pid())];
        if number == 10 {
            // Perhaps more than what remains: a session that has just ended goes a moment later.
            early = held();
        }
        if number == MOVES {
            let no_more = |(now, then): (&Held, &Held)| {
                now.descriptors <= then.descriptors && now.mappings <= then.mappings
            };
            until("no more than after ten moves", || held().iter().zip(&early).all(no_more));
        }
    }
}

#[test]
fn a_client_that_has_moved_often_holds_one_session() {
    within("the blocking client", follow::<Blocking>);
    within("the tokio client", follow::<Tokio>);
}
