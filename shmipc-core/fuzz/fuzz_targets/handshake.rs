//! A handshake with a peer that says anything; see `shmipc_core::testing::hostile`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shmipc_core::testing::hostile;

fuzz_target!(|bytes: &[u8]| {
    hostile::handshake(bytes);
});
