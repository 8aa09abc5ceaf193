//! Processes that connect to the upgrade socket without end, which any process of the machine can do to an abstract one:
//! clients are served all the while.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use shmipc_core::link::{self, Address};
use shmipc_sync::{Config, Session};
use tests::child::Peer;
use tests::deadline::PATIENCE;
use tests::generations::Place;
use tests::with_both_servers;

const GENERATION: &str = env!("CARGO_BIN_EXE_generation");

with_both_servers! {
    sessions_are_accepted_while_the_upgrade_socket_at_a_path_is_besieged
    sessions_are_accepted_while_the_upgrade_socket_at_a_name_is_besieged
}

/// Threads that besiege, and clients that are served meanwhile.
const THREADS: usize = 8;
const SESSIONS: usize = 50;
/// Connections that a siege has at least.
const CONNECTIONS: u64 = 5_000;

fn sessions_are_accepted_while_the_upgrade_socket_at_a_path_is_besieged(place: &Place) {
    let path = place.path();
    besiege(place, path.to_str().unwrap());
}

fn sessions_are_accepted_while_the_upgrade_socket_at_a_name_is_besieged(place: &Place) {
    let name = format!("@shmipc-siege-{}-{}", std::process::id(), place.flavour());
    besiege(place, &name);
}

fn besiege(place: &Place, address: &str) {
    let mut server = Peer::start(GENERATION, &[address, place.flavour()]);
    server.line("serving");
    let door = Address::parse(format!("{address}.upgrade")).unwrap();
    let (stop, connected) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // Refused for a moment while the backlog is full.
                    if link::try_connect(&door).is_ok() {
                        connected.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let client = scope.spawn(|| {
            let config = Config::default().with_connect_timeout(PATIENCE);
            let mut served = 0;
            while served < SESSIONS || connected.load(Ordering::Relaxed) < CONNECTIONS {
                let session = Session::connect_with(address, &config).unwrap();
                let mut stream = session.open().unwrap();
                stream.send(b"question").unwrap();
                assert_eq!(stream.recv().unwrap().unwrap().to_vec(), b"1 question");
                served += 1;
            }
        });
        let served = client.join();
        stop.store(true, Ordering::Relaxed);
        served.unwrap();
    });
    server.hang_up();
    server.line("failed Closed");
}
