//! The header of a peer's outbox; see `shmipc_core::testing::hostile`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shmipc_core::testing::hostile;

fuzz_target!(|bytes: &[u8]| {
    hostile::header(bytes);
});
