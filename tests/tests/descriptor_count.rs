//! What a session costs in descriptors, as the guide says. The only test of its process, which holds both sides.

use shmipc_sync::Config;
use tests::deadline::within;
use tests::setup::{Setup, Size};
use tests::tokio::{CurrentThread, Kind};

const SESSIONS: usize = 5;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn blocking(config: &Config) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = shmipc_sync::Listener::builder().config(config.clone()).bind(&path).unwrap();
    let connect = || shmipc_sync::Session::connect_with(&path, config).unwrap();
    let pair = || {
        std::thread::scope(|scope| {
            let client = scope.spawn(connect);
            (listener.accept().unwrap(), client.join().unwrap())
        })
    };
    // The first one brings what the process has once: a descriptor in reserve.
    let first = pair();
    let before = descriptors();
    let sessions: Vec<_> = (0..SESSIONS).map(|_| pair()).collect();
    let streams: Vec<_> = sessions.iter().map(|(_, client)| client.open().unwrap()).collect();
    let held = descriptors() - before;
    assert_eq!(listener.stats().sessions, 1 + SESSIONS);
    drop((streams, sessions));
    assert_eq!(descriptors(), before);
    drop(first);
    assert_eq!(listener.stats().sessions, 0);
    held
}

fn tokio(config: &Config) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    CurrentThread::start().unwrap().block_on(async {
        let builder = shmipc_async::Listener::builder().config(config.clone());
        let listener = builder.bind(&path).unwrap();
        let pair = async || {
            let client = shmipc_async::Session::connect_with(&path, config);
            let (server, client) = ::tokio::join!(listener.accept(), client);
            (server.unwrap(), client.unwrap())
        };
        let first = pair().await;
        let before = descriptors();
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push(pair().await);
        }
        let held = descriptors() - before;
        assert_eq!(listener.stats().sessions, 1 + SESSIONS);
        drop((first, sessions));
        while listener.stats().sessions > 0 {
            ::tokio::task::yield_now().await;
        }
        held
    })
}

#[test]
fn a_session_costs_each_side_as_many_descriptors_as_its_configuration_says() {
    within("the sessions", || {
        let eventfd = Setup::new(Size::Default).eventfd().config();
        for (config, each) in [(Config::default(), 4), (eventfd, 6)] {
            assert_eq!(config.descriptors(), each);
            assert_eq!(blocking(&config), 2 * each * SESSIONS);
            assert_eq!(tokio(&config), 2 * each * SESSIONS);
        }
    });
}
