//! A process that may not make large files (`ulimit -f`): it is told the limit, and not killed (SIGXFSZ).
//!
//! The limit is that of the whole process, so this file holds a single test. The server is another process.

use std::io::ErrorKind;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use shmipc_sync::{ConnectError, HandshakeError, SendError, Session};
use tests::child::Peer;
use tests::deadline::within;

#[test]
fn memory_beyond_the_limit_of_file_sizes_is_refused_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut server = Peer::start(env!("CARGO_BIN_EXE_peer"), &["echo", path.to_str().unwrap()]);
    server.line("listening");
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let limit = move |bytes| setrlimit(Resource::RLIMIT_FSIZE, bytes, hard).unwrap();
    within("calls under a limit", move || {
        limit(100 << 10);
        let error = Session::connect(&path).unwrap_err();
        let text = error.to_string();
        let ConnectError::Handshake(HandshakeError::FileSize(found)) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(found.limit, 100 << 10);
        assert!(found.needs > found.limit, "{found}");
        for part in ["RLIMIT_FSIZE", "102400", &found.needs.to_string(), "ulimit -f"] {
            assert!(text.contains(part), "{part} is lacking: {text}");
        }
        let kind = std::io::Error::from(error.clone()).kind();
        assert_eq!(kind, ErrorKind::FileTooLarge);

        // Just enough for the session, too little for memory beside its queue.
        limit(found.needs);
        let session = Session::connect(&path).unwrap();
        let mut stream = session.open().unwrap();
        let error = stream.send(&[7; 300_000]).unwrap_err();
        assert!(
            matches!(error, SendError::NoMemory(error) if error.code == libc::EFBIG),
            "{error:?}"
        );
        assert!(error.to_string().contains("RLIMIT_FSIZE"), "{error}");
        stream.send(b"small").unwrap();
        assert_eq!(stream.recv().unwrap().unwrap().to_vec(), b"small");
        limit(hard);
        stream.send(&[7; 300_000]).unwrap();
        assert_eq!(stream.recv().unwrap().unwrap().to_vec(), [7; 300_000]);
    });
}
