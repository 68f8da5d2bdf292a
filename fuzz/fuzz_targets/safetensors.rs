//! Safetensors in memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seed_fuzz::read_all;
use seed_weights::Checkpoint;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(checkpoint) = Checkpoint::from_bytes("fuzz", bytes.to_vec()) {
        read_all(&checkpoint);
    }
});
