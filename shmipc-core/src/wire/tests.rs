//! Encoding and decoding: round trips, every way of cutting a stream, and garbage.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::config::{BellKind, Config, Limits, WaitMode};
use crate::handshake::hello;
use crate::mem::Passed;

/// Another thread closes what is dropped, maybe a moment later: until then there may be too many.
fn any_fd() -> Passed {
    let begin = Instant::now();
    loop {
        match File::open("/dev/null") {
            Ok(file) => return OwnedFd::from(file).into(),
            Err(error) if error.raw_os_error() == Some(nix::libc::EMFILE) => {
                assert!(begin.elapsed() < Duration::from_secs(60), "they are not closed");
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn example_hello() -> Hello {
    let config = Config::builder().application("example", 7).build().unwrap();
    hello(&config)
}

fn example_claim() -> Claim {
    let (version, app_version) = (1, 7);
    let patience = Duration::from_millis(1500);
    Claim { version, patience, app_version, app_name: "example".into(), pidfd: None }
}

fn example_offer(pidfd: bool, locks: [bool; 2]) -> Vec<u8> {
    let file = |number| Inode { device: 3, number };
    offer(9, [file(1), file(2)], pidfd, locks)
}

/// A frame as it is sent: bytes, and how many descriptors go with them.
type Sent = (Vec<u8>, usize);

/// One frame of every kind.
fn all_frames() -> Vec<Sent> {
    let refusal = Refuse { reason: 3, number: 9, text: "theirs".to_owned() };
    vec![
        (example_hello().encode(), 0),
        (refuse(&refusal), 0),
        (outbox(false, false), 1),
        (outbox(true, false), 2),
        (outbox(true, true), 3),
        (ready(), 0),
        (BELL.to_vec(), 0),
        (add_segment(5, 2 << 20, SegmentClass::Dedicated), 1),
        (BELL.to_vec(), 0),
        (add_segment(6, 1 << 20, SegmentClass::Small), 1),
        (retire_segment(5), 0),
        (close(42), 0),
        (example_claim().encode(true), 1),
        (example_claim().encode(false), 0),
        (example_offer(true, [true, true]), 5),
        (example_offer(false, [false, true]), 3),
        (example_offer(false, [false, false]), 2),
        (yield_(), 0),
        (serving(), 0),
        (release(), 0),
    ]
}

/// What a frame says, without the identity of its descriptors.
fn describe(frame: &Frame) -> String {
    match frame {
        Frame::Outbox(o) => {
            format!("Outbox pidfd {} eventfd {}", o.pidfd.is_some(), o.eventfd.is_some())
        }
        Frame::AddSegment(a) => format!("AddSegment {:?} {:?} {:?}", a.id, a.bytes, a.class),
        Frame::Claim(c) => format!(
            "Claim {} {:?} {} {} pidfd {}",
            c.version,
            c.patience,
            c.app_version,
            c.app_name,
            c.pidfd.is_some()
        ),
        Frame::Offer(o) => format!(
            "Offer {} {:?} {:?} pidfd {} locks {} {}",
            o.generation,
            o.file,
            o.upgrade_file,
            o.pidfd.is_some(),
            o.lock.is_some(),
            o.upgrade_lock.is_some()
        ),
        other => format!("{other:?}"),
    }
}

fn drain(decoder: &mut Decoder, into: &mut Vec<String>) -> Result<(), WireError> {
    while let Some(frame) = decoder.next_frame()? {
        into.push(describe(&frame));
    }
    Ok(())
}

/// Decodes `frames` cut into reads as the kernel would cut them: at most `sizes` bytes each (in turn),
/// and never beyond the end of a piece that came with descriptors.
fn decode_cut(frames: &[Sent], sizes: &[usize]) -> Vec<String> {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    let mut sizes = sizes.iter().cycle();
    let (mut read, mut left, mut fds) = (Vec::new(), *sizes.next().unwrap(), 0);
    for (bytes, with) in frames {
        let mut rest = &bytes[..];
        let mut with = *with;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(left.min(rest.len()));
            read.extend_from_slice(now);
            fds += std::mem::take(&mut with);
            left -= now.len();
            rest = later;
            if left == 0 || fds > 0 {
                decoder.feed(&read, std::iter::repeat_with(any_fd).take(fds));
                drain(&mut decoder, &mut seen).unwrap();
                (read, left, fds) = (Vec::new(), *sizes.next().unwrap(), 0);
            }
        }
    }
    decoder.feed(&read, []);
    drain(&mut decoder, &mut seen).unwrap();
    assert!(decoder.is_empty());
    seen
}

#[test]
fn every_frame_survives_the_round_trip() {
    let seen = decode_cut(&all_frames(), &[4096]);
    let files = [1, 2].map(|number| format!("{:?}", Inode { device: 3, number })).join(" ");
    let expected = [
        format!("{:?}", Frame::Hello(Box::new(example_hello()))),
        "Refuse(Refuse { reason: 3, number: 9, text: \"theirs\" })".to_owned(),
        "Outbox pidfd false eventfd false".to_owned(),
        "Outbox pidfd true eventfd false".to_owned(),
        "Outbox pidfd true eventfd true".to_owned(),
        "Ready".to_owned(),
        "Bell".to_owned(),
        "AddSegment Raw(5) Raw(2097152) Dedicated".to_owned(),
        "Bell".to_owned(),
        "AddSegment Raw(6) Raw(1048576) Small".to_owned(),
        "RetireSegment(Raw(5))".to_owned(),
        "Close(42)".to_owned(),
        "Claim 1 1.5s 7 example pidfd true".to_owned(),
        "Claim 1 1.5s 7 example pidfd false".to_owned(),
        format!("Offer 9 {files} pidfd true locks true true"),
        format!("Offer 9 {files} pidfd false locks false true"),
        format!("Offer 9 {files} pidfd false locks false false"),
        "Yield".to_owned(),
        "Serving".to_owned(),
        "Release".to_owned(),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_hello_carries_every_field() {
    let hello = Hello {
        word_bits: 64,
        little_endian: false,
        wait: WaitMode::Block,
        bell: BellKind::Eventfd,
        trusts: true,
        features: Features::from_bits(0x8000_0000_0000_0005),
        limits: Limits { ring_bytes: 1 << 20, max_streams: 17, ..Limits::default() },
        app_version: 0xdead_beef,
        app_name: "naïve".to_owned(),
    };
    let mut decoder = Decoder::new();
    decoder.feed(&hello.encode(), []);
    match decoder.next_frame() {
        Ok(Some(Frame::Hello(seen))) => assert_eq!(*seen, hello),
        other => panic!("{other:?}"),
    }
}

/// W3, for every place at which a stream of all frames can be cut in two.
#[test]
fn one_cut_anywhere_changes_nothing() {
    let frames = all_frames();
    let whole = decode_cut(&frames, &[4096]);
    let bytes: usize = frames.iter().map(|(bytes, _)| bytes.len()).sum();
    for cut in 1..bytes {
        assert_eq!(decode_cut(&frames, &[cut, 4096]), whole, "cut at {cut}");
    }
    assert_eq!(decode_cut(&frames, &[1]), whole);
}

/// W4: what a newer peer appends is ignored; elsewhere it is an error.
#[test]
fn only_what_comes_first_may_grow() {
    let grow = |mut frame: Vec<u8>, fds: usize| {
        frame.extend_from_slice(b"new");
        let length = u32::try_from(frame.len()).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        let mut decoder = Decoder::new();
        decoder.feed(&frame, std::iter::repeat_with(any_fd).take(fds));
        decoder.next_frame().map(|frame| frame.is_some())
    };
    let refusal = Refuse { reason: 99, number: 0, text: String::new() };
    assert_eq!(grow(example_hello().encode(), 0), Ok(true));
    assert_eq!(grow(refuse(&refusal), 0), Ok(true));
    assert_eq!(grow(example_claim().encode(true), 1), Ok(true));
    let bad = Err(WireError::Misbehaved(PeerMisbehaved::Frame));
    for frame in
        [ready(), BELL.to_vec(), retire_segment(1), close(1), yield_(), serving(), release()]
    {
        assert_eq!(grow(frame, 0), bad);
    }
    for frame in [outbox(false, false), add_segment(1, 1, SegmentClass::Small)] {
        assert_eq!(grow(frame, 1), bad);
    }
    assert_eq!(grow(example_offer(false, [false, false]), 2), bad);
}

#[test]
fn other_versions_are_recognised_before_anything_else() {
    for version in [0, 2, 3, 4, 15, 17, 255] {
        let mut frame = BELL;
        frame[..4].fill(0xff);
        frame[6] = version;
        frame[7] = 0xff;
        let mut decoder = Decoder::new();
        decoder.feed(&frame, []);
        assert_eq!(decoder.next_frame().unwrap_err(), WireError::Version(version));
    }
}

/// Every frame of 8 bytes: a length from the whole range, any type. None panics or waits for more than
/// a frame can hold.
#[test]
fn hostile_headers() {
    let misbehaved = WireError::Misbehaved(PeerMisbehaved::Frame);
    let bad_lengths = [0, 1, 7, MAX_FRAME as u32 + 1, 1 << 31, u32::MAX];
    for (length, kind) in bad_lengths.into_iter().flat_map(|l| (0..=255).map(move |k| (l, k))) {
        let mut frame = BELL;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        frame[7] = kind;
        let mut decoder = Decoder::new();
        decoder.feed(&frame, []);
        assert_eq!(decoder.next_frame().unwrap_err(), misbehaved, "{length} {kind}");
    }
    for kind in (9..=15).chain(21..=255).chain([0]) {
        let mut frame = BELL;
        frame[7] = kind;
        let mut decoder = Decoder::new();
        decoder.feed(&frame, []);
        assert_eq!(decoder.next_frame().unwrap_err(), misbehaved, "{kind}");
    }
    let mut wrong_magic = BELL;
    wrong_magic[4] ^= 1;
    let mut decoder = Decoder::new();
    decoder.feed(&wrong_magic, []);
    assert_eq!(decoder.next_frame().unwrap_err(), misbehaved);
}

/// W2: descriptors, one too few and one too many, and at the wrong frame.
#[test]
fn descriptors_are_counted() {
    let decode = |frame: &[u8], fds: usize| {
        let mut decoder = Decoder::new();
        decoder.feed(frame, std::iter::repeat_with(any_fd).take(fds));
        decoder.next_frame().map(|frame| frame.is_some())
    };
    let wrong = Err(WireError::Misbehaved(PeerMisbehaved::Descriptors));
    for (frame, fds) in all_frames() {
        assert_eq!(decode(&frame, fds), Ok(true));
        assert_eq!(decode(&frame, fds + 1), wrong);
        if fds > 0 {
            assert_eq!(decode(&frame, fds - 1), wrong);
        }
        // The beginning of a frame is enough to see that too many came.
        assert_eq!(decode(&frame[..frame.len() - 1], 6), wrong);
        assert_eq!(decode(&frame[..7], 6), wrong);
    }
    assert_eq!(decode(&[], 1), wrong);
    assert_eq!(decode(&ready()[..4], 1), Ok(false));
}

/// An error is for ever, and the descriptors that came with it are closed.
#[test]
fn a_failed_decoder_stays_failed_and_empty_handed() {
    let fd = any_fd();
    let number = fd.as_fd().as_raw_fd();
    let link = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
    assert_eq!(link.to_str(), Some("/dev/null"));
    let mut decoder = Decoder::new();
    decoder.feed(&[0; 8], [fd]);
    let error = decoder.next_frame().unwrap_err();
    assert_eq!(error, WireError::Misbehaved(PeerMisbehaved::Frame));
    decoder.feed(&BELL, []);
    assert_eq!(decoder.next_frame().unwrap_err(), error);
    assert!(format!("{decoder:?}").contains("fds: []"));
}

#[test]
fn texts_are_cleaned_and_cut() {
    let text = format!("a\u{1b}[31m{}", "é".repeat(200));
    let refusal = Refuse { reason: 3, number: 0, text };
    let mut decoder = Decoder::new();
    decoder.feed(&refuse(&refusal), []);
    match decoder.next_frame() {
        Ok(Some(Frame::Refuse(seen))) => {
            assert!(seen.text.starts_with("a[31mé"));
            assert!(seen.text.len() <= MAX_NAME);
        }
        other => panic!("{other:?}"),
    }
    // A peer that sends control characters all the same is refused.
    let mut frame = refuse(&Refuse { reason: 3, number: 0, text: "abc".to_owned() });
    *frame.last_mut().unwrap() = 0x1b;
    let mut decoder = Decoder::new();
    decoder.feed(&frame, []);
    assert!(decoder.next_frame().is_err());
}

#[test]
fn limits_out_of_bounds_are_no_hello() {
    let base = example_hello();
    let bad = [
        Limits { ring_bytes: 0, ..base.limits },
        Limits { ring_bytes: 100, ..base.limits },
        Limits { max_streams: 0, ..base.limits },
        Limits { inline_max: u32::MAX, ..base.limits },
        Limits { arena_max: 1, ..base.limits },
        Limits { max_lent: 3, ..base.limits },
        Limits { unread_max: u32::MAX, ..base.limits },
    ];
    for limits in bad {
        let mut decoder = Decoder::new();
        decoder.feed(&Hello { limits, ..base.clone() }.encode(), []);
        let error = decoder.next_frame().unwrap_err();
        assert_eq!(error, WireError::Misbehaved(PeerMisbehaved::Frame), "{limits:?}");
    }
}

#[test]
fn features_are_an_intersection() {
    let ours = Features::SUPPORTED;
    let theirs = Features::from_bits(u64::MAX);
    assert_eq!(ours.intersection(theirs), ours);
    assert!(!Features::default().contains(Features::EVENTFD_BELL));
    assert_eq!(ours.intersection(Features::default()).bits(), 0);
}

proptest! {
    /// W3 with many cuts.
    #[test]
    fn any_cuts_change_nothing(
        order in proptest::collection::vec(0usize..12, 1..20),
        sizes in proptest::collection::vec(1usize..64, 1..20),
    ) {
        let kinds = all_frames();
        let frames: Vec<Sent> = order.iter().map(|i| kinds[*i].clone()).collect();
        prop_assert_eq!(decode_cut(&frames, &sizes), decode_cut(&frames, &[4096]));
    }

    /// W1: whatever arrives, nothing panics, and what is kept stays below a frame.
    #[test]
    fn garbage_is_harmless(
        reads in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..512), 0usize..4), 0..40),
        start in 0usize..12,
    ) {
        let mut decoder = Decoder::new();
        let (bytes, fds) = all_frames()[start].clone();
        decoder.feed(&bytes, std::iter::repeat_with(any_fd).take(fds));
        let mut seen = Vec::new();
        let mut alive = drain(&mut decoder, &mut seen).is_ok();
        for (bytes, fds) in reads {
            if !alive { break }
            decoder.feed(&bytes, std::iter::repeat_with(any_fd).take(fds));
            alive = drain(&mut decoder, &mut seen).is_ok();
            prop_assert!(decoder.held() < MAX_FRAME);
        }
    }

    /// Bytes changed in good frames: an error or another frame, never a panic.
    #[test]
    fn flipped_bytes_are_harmless(which in 0usize..12, at in 0usize..120, to in any::<u8>()) {
        let (mut bytes, fds) = all_frames()[which].clone();
        let at = at % bytes.len();
        bytes[at] = to;
        let mut decoder = Decoder::new();
        decoder.feed(&bytes, std::iter::repeat_with(any_fd).take(fds));
        let _ = drain(&mut decoder, &mut Vec::new());
    }
}
