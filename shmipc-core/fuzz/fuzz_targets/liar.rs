//! A session with an honest peer whose words are changed on the way; see `shmipc_core::testing::hostile`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shmipc_core::testing::hostile;

fuzz_target!(|bytes: &[u8]| {
    hostile::liar(bytes);
});
