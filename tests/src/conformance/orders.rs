//! Everything that one side can do to a stream, in every order, as the other side sees it.

use shmipc_core::error::{RecvError, SendError};

use super::End;
use crate::flavour::{Sender, Session, Stream};
use crate::orders::{Act, expected, observe, orders, perform};

/// All orders of up to four actions, after which the stream is dropped: seen by a peer that already waits, and
/// by one that looks when all is over.
pub(super) fn all_orders_of_up_to_four_actions<S: Session>(end: End<S>) {
    let all = orders(4);
    let turns = |order: &Vec<Act>, number: usize| match order.len() {
        4 => vec![number.is_multiple_of(2)],
        _ => vec![false, true],
    };
    match end {
        End::Here(session) => {
            let mut control = session.open().unwrap();
            control.send(b"begin").unwrap();
            for (number, order) in all.iter().enumerate() {
                for late in turns(order, number) {
                    drop(perform(session.open().unwrap(), order));
                    if late || !expected(order).heard {
                        control.send(b"done").unwrap();
                    }
                    assert_eq!(control.expect(), b"seen");
                }
            }
        }
        End::There(session) => {
            let mut control = session.accept().unwrap();
            assert_eq!(control.expect(), b"begin");
            for (number, order) in all.iter().enumerate() {
                for late in turns(order, number) {
                    let mut seen = expected(order);
                    // What dropping the stream adds.
                    seen.end.get_or_insert(Err(RecvError::Reset(0)));
                    seen.stop.get_or_insert(0);
                    if late || !seen.heard {
                        assert_eq!(control.expect(), b"done");
                    }
                    if seen.heard {
                        let (mut sender, mut receiver) = session.accept().unwrap().into_split();
                        let _ = observe(&mut receiver, order, &seen);
                        let error = loop {
                            if let Err(error) = sender.send(&[0; 100]) {
                                break error;
                            }
                        };
                        let code = seen.stop.expect("just set");
                        assert_eq!(error, SendError::Stopped(code), "stop of {order:?}");
                    }
                    control.send(b"seen").unwrap();
                }
            }
            assert!(control.recv().is_err());
        }
    }
}
