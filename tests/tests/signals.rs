//! How to stop: a thread that waits for a signal ends what another one waits for, in every call that blocks.

use nix::sys::signal::Signal;
use tests::child::Peer;

/// The process is inside of the call, or about to enter it, when the signal comes; either way the call returns.
fn returns_after_a_signal(call: &str, expected: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let path = path.to_str().unwrap();
    let mut process = Peer::start(env!("CARGO_BIN_EXE_stoppable"), &[call, path]);
    process.line("waiting");
    process.signal(Signal::SIGINT);
    let error = process.line("returned");
    assert!(error.contains(expected), "{call}: {error}");
}

macro_rules! calls {
    ($($name:ident: $call:literal, $expected:literal;)*) => {$(
        #[test]
        fn $name() {
            returns_after_a_signal($call, $expected);
        }
    )*};
}

calls! {
    listener_accept_returns_when_a_signal_thread_closes_the_listener:
        "Listener::accept", "the listener was closed";
    session_accept_returns_when_a_signal_thread_closes_the_session:
        "Session::accept", "closed by this process";
    session_closed_returns_when_a_signal_thread_closes_the_session:
        "Session::closed", "closed by this process";
    session_open_wait_returns_when_a_signal_thread_closes_the_session:
        "Session::open_wait", "closed by this process";
    stream_recv_returns_when_a_signal_thread_closes_the_session:
        "Stream::recv", "closed by this process";
    stream_send_returns_when_a_signal_thread_closes_the_session:
        "Stream::send", "closed by this process";
    stream_reserve_returns_when_a_signal_thread_closes_the_session:
        "Stream::reserve", "closed by this process";
    client_call_returns_when_a_signal_thread_closes_the_client:
        "Client::call", "";
    wait_set_wait_returns_when_a_signal_thread_interrupts_it:
        "WaitSet::wait", "0";
}
