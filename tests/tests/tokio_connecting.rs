//! Connecting and accepting that are given up. Descriptors and mappings are counted, so this file is a test
//! program of its own with one test.

use std::sync::Arc;

use shmipc_async::{Listener, Session};
use tests::deadline::{until, within};
use tests::impatience::Impatient;
use tests::proc::Held;
use tests::tokio::{Kind, MultiThread};

/// Connecting that is given up leaves nothing, and accepting that is given up loses nobody.
#[test]
fn connecting_and_accepting_given_up() {
    const SESSIONS: usize = 300;
    within("connecting", || {
        let runtime = MultiThread::start().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let us = std::process::id();
        let _entered = runtime.enter();
        let listener = Arc::new(Listener::bind(&path).unwrap());
        let serve = |seed| {
            let listener = Arc::clone(&listener);
            runtime.spawn(async move {
                let mut impatient = Impatient::new(seed);
                while let Ok(session) = tests::retry!(impatient, listener.accept()) {
                    while let Ok(mut stream) = session.accept().await {
                        while let Ok(Some(message)) = stream.recv().await {
                            stream.send(&message).await.unwrap();
                        }
                    }
                }
                impatient.given_up()
            })
        };
        let serving = [1, 2].map(serve);
        let before = Held::by(us);
        let mut impatient = Impatient::new(3);
        runtime.block_on(async {
            for number in 0.. {
                // How many polls a connection takes depends on how fast the listener is.
                if number >= SESSIONS && impatient.given_up() > SESSIONS as u64 {
                    break;
                }
                let session = tests::retry!(impatient, Session::connect(&path)).unwrap();
                let mut stream = session.open().unwrap();
                stream.send(b"hello").await.unwrap();
                assert_eq!(stream.recv().await.unwrap().unwrap().to_vec(), b"hello");
            }
        });
        until("all is given back", || Held::by(us) == before);
        listener.close();
        let accepting = serving.map(|task| runtime.block_on(task).unwrap());
        println!("given up: connect {}, accept {accepting:?}", impatient.given_up());
        assert!(accepting.iter().sum::<u64>() > 0);
    });
}
