//! Readers on random and damaged bytes: an error or tensors, never a panic.

use std::{fs, sync::LazyLock};

use proptest::{collection::vec, prelude::*};
use seed_weights::Checkpoint;

use crate::files::{fixture, read_all, safetensors, sound};

/// Sound files of every kind, to be damaged.
static SOUND: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut files = vec![sound()];
    for name in [
        "flat.pth",
        "legacy.pt",
        "legacy_below_model.pt",
        "lightning_with_a_class.ckpt",
    ] {
        files.push(fs::read(fixture(name)).unwrap());
    }
    files
});

fn open_and_read(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    if let Ok(checkpoint) = Checkpoint::open(file.path()) {
        // Nothing a file of some kilobytes holds is larger, but a view may repeat its elements.
        let elements = |key| checkpoint.shape(key).unwrap().iter().product::<usize>();
        if checkpoint.keys().all(|key| elements(key) < 1 << 24) {
            read_all(&checkpoint);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..600)) {
        open_and_read(&bytes);
        let _ = Checkpoint::from_bytes("memory", bytes);
    }

    #[test]
    fn random_headers(header in "[{}\\[\\]\":,a-z0-9_ ]{0,200}", data in vec(any::<u8>(), 0..64)) {
        open_and_read(&safetensors(&header, &data));
    }

    #[test]
    fn random_offsets(
        shapes in vec((vec(any::<usize>(), 0..4), any::<(usize, usize)>()), 1..4),
        small in vec((vec(0_usize..4, 0..3), (0_usize..40, 0_usize..40)), 1..4),
    ) {
        for tensors in [shapes, small] {
            let entries: Vec<String> = tensors
                .iter()
                .enumerate()
                .map(|(index, (shape, (start, end)))| {
                    format!(r#""{index}":{{"dtype":"F16","shape":{shape:?},"data_offsets":[{start},{end}]}}"#)
                })
                .collect();
            open_and_read(&safetensors(&format!("{{{}}}", entries.join(",")), &[0; 32]));
        }
    }

    #[test]
    fn damaged_files(
        which in 0_usize..4,
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = SOUND[which].clone();
        for (position, value) in flips {
            let position = position.index(bytes.len());
            bytes[position] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        open_and_read(&bytes);
    }
}
