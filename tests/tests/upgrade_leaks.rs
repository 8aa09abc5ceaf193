//! Many upgrades in a row. A program of its own: it counts what this process holds.

use tests::deadline::until;
use tests::generations::{Place, ask};
use tests::proc::Held;

/// Nothing piles up, neither in the row of servers nor at their client.
#[test]
fn nothing_is_left_by_many_upgrades() {
    let place = Place::new(env!("CARGO_BIN_EXE_generation"));
    let (mut server, mut session) = (place.next(1), None);
    let mut first = None;
    for generation in 2..=30 {
        assert_eq!(ask(&place.path(), &mut session), generation - 1);
        let next = place.next(generation);
        server.line("drained");
        server.succeed();
        server = next;
        assert_eq!(ask(&place.path(), &mut session), generation);
        // The end of the one before may still have to be noticed.
        let held = || (Held::by(server.pid()), Held::by(std::process::id()));
        if generation >= 5 {
            let most = *first.get_or_insert_with(held);
            until("nothing more is held", || {
                let (theirs, ours) = held();
                theirs.descriptors <= most.0.descriptors
                    && theirs.mappings <= most.0.mappings
                    && ours.descriptors <= most.1.descriptors
                    && ours.mappings <= most.1.mappings
            });
        }
    }
}
