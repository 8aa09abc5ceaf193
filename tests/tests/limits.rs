//! Limits with names: each one out of bounds, those of both sides that cannot be combined, and what is agreed
//! on where they can.

use std::thread;
use std::time::Duration;

use shmipc_sync::{
    Config, ConfigBuilder, ConnectError, HandshakeError, Limits, Listener, OpenError, Refusal,
    SendError, Session,
};
use tests::deadline::within;

/// A name, and how to set it, beside values that must be refused and values that must not.
type Row = (&'static str, fn(ConfigBuilder, u32) -> ConfigBuilder, Vec<u32>, Vec<u32>);

/// Every limit, with the others at their defaults.
fn table() -> Vec<Row> {
    const KIB: u32 = 1 << 10;
    const MIB: u32 = 1 << 20;
    vec![
        (
            "ring_bytes",
            |b, v| b.max_streams(1).ring_bytes(v),
            vec![0, 1, 2 * KIB, 4 * KIB - 1, 4 * KIB + 1, 96 * KIB, 128 * MIB, u32::MAX],
            vec![4 * KIB, 128 * KIB, 64 * MIB],
        ),
        // 128 of each and 256 are at most 3/8 of the ring.
        (
            "max_streams",
            ConfigBuilder::max_streams,
            vec![0, 383, 384, 1 << 20, (1 << 20) + 1, u32::MAX],
            vec![1, 382],
        ),
        (
            "inline_max",
            ConfigBuilder::inline_max,
            vec![128 * KIB / 16 - 15, u32::MAX],
            vec![0, 1, 128 * KIB / 16 - 16],
        ),
        (
            "arena_max",
            |b, v| b.max_message(1).inline_max(1).arena_max(v),
            vec![0, 4 * MIB, 8 * MIB - 1, 8 * MIB + 1, 24 * MIB, (1 << 31) + 1, u32::MAX],
            vec![8 * MIB, 64 * MIB, 1 << 31],
        ),
        (
            "max_message",
            ConfigBuilder::max_message,
            vec![0, 8 * MIB + 1, u32::MAX],
            vec![1, 4096, 8 * MIB],
        ),
        (
            "max_lent",
            ConfigBuilder::max_lent,
            vec![0, 1, 128, 255, 257, 3 * KIB, 2 * MIB, u32::MAX],
            vec![256, 16 * KIB, MIB],
        ),
        (
            "stream_window",
            ConfigBuilder::stream_window,
            vec![0, 64, 127, 129, 192, (1 << 30) + 128, u32::MAX],
            vec![128, 256, 1 << 30],
        ),
        (
            "unread_max",
            ConfigBuilder::unread_max,
            vec![0, 512, 4095, 4097, 4096 + 256, (1 << 30) + 512, u32::MAX],
            vec![4096, 4608, 1 << 30],
        ),
    ]
}

/// A limit out of its bounds is refused by its name, with what it must be; one within is taken.
#[test]
fn every_limit_has_bounds() {
    for (limit, set, refused, taken) in table() {
        for value in refused {
            let error = set(Config::builder(), value).build().unwrap_err();
            assert_eq!(error.limit, limit, "{value}");
            let text = error.to_string();
            assert!(text.contains(limit) && text.contains(error.must), "{text}");
        }
        for value in taken {
            if let Err(error) = set(Config::builder(), value).build() {
                panic!("{limit} = {value}: {error}");
            }
        }
    }
    let text = "x".repeat(256);
    for name in [text.as_str(), "new\nline"] {
        let error = Config::builder().application(name, 1).build().unwrap_err();
        assert_eq!(error.limit, "application");
    }
    Limits::default().check().unwrap();
}

/// A client and a server with these limits, and what they say.
fn meet(client: Config, server: Config) -> (Result<Session, ConnectError>, Option<Session>) {
    within("meet", move || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = Listener::builder().config(server).bind(&path).unwrap();
        let connecting = thread::spawn(move || Session::connect_with(path, &client));
        let mut accepted = None;
        while !connecting.is_finished() {
            accepted = accepted.or(listener.accept_timeout(Duration::from_millis(1)).unwrap());
        }
        let accepted = accepted.or_else(|| listener.accept_timeout(Duration::ZERO).unwrap());
        (connecting.join().unwrap(), accepted)
    })
}

/// Many streams on one side need a larger queue than the other allows: refused, with what to do.
#[test]
fn limits_that_cannot_be_combined() {
    let many = || Config::builder().ring_bytes(4 << 20).max_streams(10_000).build().unwrap();
    let few = || Config::default();
    for (client, server) in [(many(), few()), (few(), many())] {
        let (connected, accepted) = meet(client, server);
        let error = connected.unwrap_err();
        let told = [
            ConnectError::Handshake(HandshakeError::Refused(Refusal::Limits)),
            ConnectError::Handshake(HandshakeError::RefusedPeer(Refusal::Limits)),
        ];
        assert!(told.contains(&error), "{error:?}");
        assert!(error.to_string().contains("raise `ring_bytes`"), "{error}");
        assert!(accepted.is_none());
    }
}

/// What is agreed: sizes of what we send are the smaller of both offers, windows and streams are the
/// reader's.
#[test]
fn limits_that_differ() {
    let client = Config::builder()
        .ring_bytes(64 << 10)
        .max_streams(10)
        .stream_window(1280)
        .unread_max(8192)
        .max_lent(512)
        .build();
    let server = Config::builder()
        .max_streams(3)
        .inline_max(1000)
        .max_message(5000)
        .arena_max(8 << 20)
        .build();
    let (connected, accepted) = meet(client.unwrap(), server.unwrap());
    let (client, server) = (connected.unwrap(), accepted.unwrap());
    let (up, down) = (client.geometry(), server.geometry());
    for geometry in [up, down] {
        let agreed = (geometry.ring_bytes, geometry.inline_max, geometry.max_message);
        assert_eq!(agreed, (64 << 10, 1000, 5000));
        assert_eq!((geometry.arena_max, geometry.max_lent), (8 << 20, 512));
    }
    let defaults = Limits::default();
    let windows = (defaults.stream_window, defaults.unread_max);
    assert_eq!((up.stream_window, up.unread_max), windows);
    assert_eq!((down.stream_window, down.unread_max), (1280, 8192));
    assert_eq!((up.writer_streams, up.reader_streams), (3, 10));
    assert_eq!((down.writer_streams, down.reader_streams), (10, 3));

    for (session, limit) in [(&client, 3), (&server, 10)] {
        let mut streams: Vec<_> = (0..limit).map(|_| session.open().unwrap()).collect();
        let error = session.open().unwrap_err();
        assert_eq!(error, OpenError::TooManyStreams { limit });
        assert!(error.to_string().contains(&limit.to_string()), "{error}");
        let stream = &mut streams[0];
        let error = stream.send(&[0; 5001]).unwrap_err();
        assert_eq!(error, SendError::TooLarge { len: 5001, max: 5000 });
        assert!(error.to_string().contains("max_message"), "{error}");
        let error = stream.batch().push(&[0; 1001]).unwrap_err();
        assert_eq!(error, SendError::TooLarge { len: 1001, max: 1000 });
        stream.send(&[0; 5000]).unwrap();
    }
}
