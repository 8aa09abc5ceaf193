//! Configurations at their extremes: either a clear error, or a session that works.
//!
//! `SHMIPC_SEED` chooses where the random ones begin, `SHMIPC_CONFIGS` how many there are.

use std::time::Duration;

use shmipc_sync::{
    Commit, Config, ConfigBuilder, ConfigError, ConnectError, HandshakeError, OpenError, PeerCred,
    Refusal, WaitMode,
};
use tests::deadline::within;
use tests::meeting::{exchange, meet};
use tests::payload::Random;
use tests::tokio::{Kind, MultiThread};

const KIB: u32 = 1 << 10;
const MIB: u32 = 1 << 20;

/// A limit, by name, and values to choose from: the smallest, the largest, some between, and some that are none.
type Row = (&'static str, fn(ConfigBuilder, u32) -> ConfigBuilder, &'static [u32]);

const ROWS: [Row; 8] = [
    ("ring_bytes", ConfigBuilder::ring_bytes, &[4 * KIB, 8 * KIB, 128 * KIB, 64 * MIB, 5000, 0]),
    ("max_streams", ConfigBuilder::max_streams, &[1, 2, 9, 382, 1 << 20, 0]),
    ("inline_max", ConfigBuilder::inline_max, &[0, 1, 240, 4096, 8176, u32::MAX]),
    ("max_lent", ConfigBuilder::max_lent, &[256, 1024, 16 * KIB, MIB, 255]),
    ("stream_window", ConfigBuilder::stream_window, &[128, 256, 64 * KIB, 1 << 30, 0]),
    ("unread_max", ConfigBuilder::unread_max, &[4096, 4608, 16 * MIB, 1 << 30, 100]),
    ("arena_max", ConfigBuilder::arena_max, &[8 * MIB, 64 * MIB, 1 << 31, MIB]),
    ("max_message", ConfigBuilder::max_message, &[1, 17, 4096, MIB, 8 * MIB, 256 * MIB, 0]),
];

/// Some values differ from their defaults.
fn any(random: &mut Random) -> Result<Config, ConfigError> {
    let mut builder = Config::builder();
    for (_, set, values) in ROWS {
        if random.below(3) == 0 {
            builder = set(builder, values[random.below(values.len())]);
        }
    }
    let mode = [WaitMode::Adaptive, WaitMode::Block][random.below(2)];
    let idle = [Duration::ZERO, Duration::from_secs(10), Duration::MAX][random.below(3)];
    builder.wait(mode).idle_memory_timeout(idle).build()
}

/// Two sides with these configurations have a session that works, or both hear why not.
fn meet_and_work(client: Config, server: Config) -> bool {
    within("meet and work", move || match meet(client, server) {
        (Ok(client), Some(server)) => {
            exchange(&client, &server);
            let limit = client.geometry().writer_streams;
            if limit <= 382 {
                let streams: Vec<_> = (0..limit).map(|_| client.open_wait().unwrap()).collect();
                assert_eq!(client.open().unwrap_err(), OpenError::TooManyStreams { limit });
                drop(streams);
            }
            true
        }
        (Err(ConnectError::Handshake(error)), None) => {
            let told = [HandshakeError::Refused, HandshakeError::RefusedPeer];
            assert!(told.iter().any(|told| told(Refusal::Limits) == error), "{error:?}");
            false
        }
        other => panic!("{other:?}"),
    })
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |number| number.parse().expect("a number"))
}

#[test]
fn any_two() {
    let (seed, count) = (number("SHMIPC_SEED", 1), number("SHMIPC_CONFIGS", 60));
    let mut random = Random::new(seed);
    let (mut worked, mut met) = (0, 0);
    while met < count {
        let [Ok(client), Ok(server)] = [any(&mut random), any(&mut random)] else { continue };
        println!("{:?}\n{:?}", client.limits(), server.limits());
        worked += u64::from(meet_and_work(client, server));
        met += 1;
    }
    println!("{worked} of {met} worked");
    assert!(worked > 0);
}

/// The error names a limit, and says what it must be.
#[test]
fn what_is_refused_has_a_name() {
    let mut random = Random::new(number("SHMIPC_SEED", 1));
    let refused: Vec<_> = (0..10_000).filter_map(|_| any(&mut random).err()).collect();
    assert!(refused.len() > 1000);
    for error in refused {
        assert!(ROWS.iter().any(|(name, ..)| *name == error.limit), "{error}");
        assert!(error.to_string().contains(error.must), "{error}");
    }
}

/// All at their smallest, all at their largest, and the one with the other.
#[test]
fn smallest_and_largest() {
    let smallest = || {
        let builder = Config::builder().ring_bytes(4 * KIB).max_streams(1).inline_max(0);
        let builder = builder.max_lent(256).stream_window(128).unread_max(4096);
        builder.arena_max(8 * MIB).max_message(1).build().unwrap()
    };
    let largest = || {
        let builder = Config::builder().ring_bytes(64 * MIB).max_streams(180_000);
        let builder = builder.inline_max(4 * MIB - 16).max_lent(MIB).stream_window(1 << 30);
        builder.unread_max(1 << 30).arena_max(1 << 31).max_message(256 * MIB).build().unwrap()
    };
    assert!(meet_and_work(smallest(), smallest()));
    assert!(meet_and_work(largest(), largest()));
    // So many streams do not fit into so small a queue.
    assert!(!meet_and_work(smallest(), largest()));
    assert!(!meet_and_work(largest(), smallest()));
}

#[test]
fn times() {
    for idle in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let builder = Config::builder().idle_memory_timeout(idle);
        let builder = builder.connect_timeout(Duration::MAX).handshake_timeout(Duration::MAX);
        let config = builder.build().unwrap();
        assert!(meet_and_work(config.clone(), config));
    }
    // No time at all may be enough.
    let hasty = Config::builder().connect_timeout(Duration::ZERO).build().unwrap();
    match meet(hasty, Config::default()).0 {
        Ok(_)
        | Err(ConnectError::Handshake(HandshakeError::TimedOut | HandshakeError::NotAccepted))
        | Err(ConnectError::Unreachable { .. }) => {}
        Err(other) => panic!("{other:?}"),
    }
}

/// A listener that takes no client says that it is busy, and clients ask again for as long as they have time. Then they
/// know why, in either flavour.
#[test]
fn no_handshakes() {
    let busy = Config::builder().max_handshakes(0, 0).build().unwrap();
    is_told_that_it_is_busy(|patient| {
        let (connected, accepted) = meet(patient, busy.clone());
        assert!(accepted.is_none());
        connected.unwrap_err()
    });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let runtime = MultiThread::start().unwrap();
    let _entered = runtime.enter();
    let listener = shmipc_async::Listener::builder().config(busy).bind(&path).unwrap();
    let refusing = runtime.spawn(async move { listener.accept().await.map(|_| ()) });
    is_told_that_it_is_busy(|patient| {
        let connected = runtime.block_on(shmipc_async::Session::connect_with(&path, &patient));
        connected.unwrap_err()
    });
    refusing.abort();
}

fn is_told_that_it_is_busy(connect: impl Fn(Config) -> ConnectError) {
    for millis in [50, 500, 5_000, 50_000] {
        let patience = Duration::from_millis(millis);
        match connect(Config::builder().connect_timeout(patience).build().unwrap()) {
            ConnectError::Handshake(HandshakeError::Refused(Refusal::Busy)) => return,
            // On a busy machine it may have been told nothing yet. The listener is of this process.
            ConnectError::Handshake(HandshakeError::TimedOut | HandshakeError::NotAccepted) => {}
            error => panic!("{error:?}"),
        }
    }
    panic!("the listener says nothing");
}

/// An authorizer that panics refuses its peer, and stops nobody.
#[test]
fn an_authorizer_that_panics() {
    let panics = || Config::builder().authorizer(|_: PeerCred| panic!("as it should")).build();
    let uid = nix::unistd::geteuid().as_raw();
    let (connected, accepted) = meet(Config::default(), panics().unwrap());
    let refused = HandshakeError::Refused(Refusal::Unauthorized { uid });
    assert_eq!(connected.unwrap_err(), ConnectError::Handshake(refused));
    assert!(accepted.is_none());
    let (connected, _) = meet(panics().unwrap(), Config::default());
    let refused = HandshakeError::RefusedPeer(Refusal::Unauthorized { uid });
    assert_eq!(connected.unwrap_err(), ConnectError::Handshake(refused));
}

/// A small arena is as good upfront as on demand.
#[test]
fn upfront() {
    for max_message in [1, 4096, MIB] {
        let builder = Config::builder().arena_max(8 * MIB).max_message(max_message);
        let config = builder.max_lent(256).commit(Commit::Upfront).build().unwrap();
        assert!(meet_and_work(config.clone(), config));
    }
}

#[test]
fn spinning_for_no_time_is_blocking() {
    let config = Config::builder().spin_at_most(Duration::ZERO).build().unwrap();
    assert_eq!(config.wait_mode(), WaitMode::Block);
    let config = Config::default();
    let default = (WaitMode::Adaptive, Duration::from_micros(150));
    assert_eq!((config.wait_mode(), config.spin_at_most()), default);
}
