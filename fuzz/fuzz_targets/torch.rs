//! Files whose content decides what they are: PyTorch's of every age, indices, safetensors.
#![no_main]

use std::{fs, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use seed_fuzz::read_all;
use seed_weights::Checkpoint;
use tempfile::NamedTempFile;

static FILE: LazyLock<NamedTempFile> = LazyLock::new(|| NamedTempFile::new().expect("a file"));

fuzz_target!(|bytes: &[u8]| {
    fs::write(FILE.path(), bytes).expect("a file can be written");
    if let Ok(checkpoint) = Checkpoint::open(FILE.path()) {
        read_all(&checkpoint);
    }
});
