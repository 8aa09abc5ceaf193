//! Sessions that do nothing cost next to nothing. The longer measurements are the program `idle`:
//! `cargo run --release -p tests --bin idle -- cpu`.

use std::sync::{Mutex, PoisonError};

use tests::idle::{cpu, memory, streams};
use tests::proc::allow_sessions;

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// The figures are those of the whole process, so the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// One idle session, and each of a hundred, takes at most 256 KiB of Pss on either side, in processes
/// that have had a session before (the first one also pays for loading the code).
#[test]
fn memory_of_idle_sessions() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for sessions in [1, allow_sessions(100)] {
        let memory = memory(PEER, sessions);
        println!("{memory}");
        assert!(memory.per_session() <= 256, "{memory}");
    }
}

/// A process whose thread is blocked in `recv` uses no CPU and is not woken. Watched for two seconds,
/// since there is no event to wait for.
#[test]
fn blocked_receive_costs_no_cpu() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for mode in ["adaptive", "block"] {
        let cpu = cpu(PEER, mode, 1);
        println!("{mode}: {cpu}");
        assert!(cpu.nanos < 1_000_000 && cpu.switches == 0, "{mode}: {cpu}");
    }
}

/// Ten thousand tasks that wait for a message each cost nothing, on both kinds of runtime.
#[test]
fn idle_streams_of_tokio_cost_no_cpu() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for runtime in ["tokio-current", "tokio-multi"] {
        let cpu = streams(PEER, runtime, 10_000, 2);
        println!("{runtime}: {cpu}");
        assert!(cpu.nanos < 1_000_000 && cpu.switches == 0, "{runtime}: {cpu}");
    }
}
