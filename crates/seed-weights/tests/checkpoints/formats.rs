//! Every format gives the same tensors.

use std::fs;

use burn::tensor::DType;
use seed_weights::{Checkpoint, Format, WeightsError};

use crate::files::{fixture, floats, sound};

/// The state dict of `fixtures/make.py`, key by key.
fn check_state_dict(checkpoint: &Checkpoint) {
    let float = |key: &str| floats(checkpoint.float(key).unwrap());
    assert_eq!(float("linear.weight"), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
    assert_eq!(float("linear.bias"), [0.25, -0.5]);
    assert_eq!(float("half.weight"), [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(float("brain.weight"), [0.0, 8.0, 16.0, 24.0, 32.0, 40.0]);
    assert_eq!(float("model.norm.weight"), [1.0, 2.0]);
    assert_eq!(float("scalar"), [4.5]);
    assert_eq!(checkpoint.shape("scalar"), Some([].as_slice()));

    // Row 0 of the transpose is column 0 of `arange(24).reshape(4, 6) / 4`.
    let transposed = float("view.transposed");
    assert_eq!(checkpoint.shape("view.transposed"), Some([6, 4].as_slice()));
    assert_eq!(transposed[..5], [0.0, 1.5, 3.0, 4.5, 0.25]);
    assert_eq!(float("view.slice"), [2.0, 2.25, 2.5, 3.5, 3.75, 4.0]);
    assert_eq!(float("tied.input"), float("tied.output"));
    assert_eq!(float("tied.input")[..3], [-3.0, -2.0, -1.0]);

    let types = [
        ("linear.weight", DType::F32),
        ("half.weight", DType::F16),
        ("brain.weight", DType::BF16),
        ("double.weight", DType::F64),
        ("position_ids", DType::I64),
    ];
    for (key, dtype) in types {
        assert_eq!(checkpoint.element_type(key), Some(dtype), "{key}");
        assert_eq!(checkpoint.stored(key).unwrap().dtype(), dtype, "{key}");
    }
    let stored = checkpoint.stored("half.weight").unwrap();
    assert_eq!(floats(stored), float("half.weight"));
    let ids: Vec<i64> = checkpoint.int("position_ids").unwrap().iter().collect();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    let mask: Vec<bool> = checkpoint.stored("mask").unwrap().iter().collect();
    assert_eq!(mask, [true, false, true]);

    // Neither a double nor an integer is a weight.
    for key in ["double.weight", "position_ids"] {
        let error = checkpoint.float(key).unwrap_err();
        assert!(matches!(error, WeightsError::ElementType { .. }), "{error}");
    }
    assert!(matches!(
        checkpoint.int("linear.bias"),
        Err(WeightsError::ElementType { .. })
    ));
    // The optimiser, the config and the epoch are no tensors of the model.
    assert_eq!(checkpoint.keys().count(), 13);
}

#[test]
fn pytorch_files_of_every_age_and_wrapping() {
    let cases = [
        ("flat.pth", "PyTorch zip"),
        ("below_model.pth", "PyTorch zip, below `model`"),
        ("lightning.ckpt", "PyTorch zip, below `state_dict`"),
        (
            "lightning_with_a_class.ckpt",
            "PyTorch zip, below `state_dict`",
        ),
        ("legacy.pt", "PyTorch pickle"),
        ("legacy_below_model.pt", "PyTorch pickle, below `model`"),
    ];
    for (name, format) in cases {
        let checkpoint = Checkpoint::open(fixture(name)).unwrap();
        assert_eq!(checkpoint.format().to_string(), format);
        check_state_dict(&checkpoint);
    }
}

#[test]
fn the_content_decides_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.safetensors");
    fs::copy(fixture("flat.pth"), &path).unwrap();
    check_state_dict(&Checkpoint::open(&path).unwrap());
    // A folder with one weights file is that file.
    check_state_dict(&Checkpoint::open(folder.path()).unwrap());
}

#[test]
fn a_converted_file_has_the_same_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("converted");
    let checkpoint = Checkpoint::open(fixture("below_model.pth")).unwrap();
    seed_weights::convert(&checkpoint, &path, None, String::new()).unwrap();
    let converted = Checkpoint::open(&path).unwrap();
    assert_eq!(converted.format(), &Format::Safetensors);
    check_state_dict(&converted);
}

#[test]
fn safetensors_in_a_file_and_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pt");
    fs::write(&path, sound()).unwrap();
    let in_file = Checkpoint::open(&path).unwrap();
    let in_memory = Checkpoint::from_bytes("memory", sound()).unwrap();
    assert_eq!(in_memory.name(), "memory");
    for checkpoint in [in_file, in_memory] {
        assert_eq!(checkpoint.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(floats(checkpoint.float("b").unwrap()), [5.0, 6.0, 7.0]);
        assert_eq!(checkpoint.metadata()["config"], "{}");
        assert!(matches!(
            checkpoint.float("c"),
            Err(WeightsError::Missing { .. })
        ));
    }
}

#[test]
fn shards_are_read_as_one_from_the_index_or_its_folder() {
    let folder = fixture("sharded_bin");
    for path in [folder.join("pytorch_model.bin.index.json"), folder] {
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.format(), &Format::Sharded { files: 2 });
        assert_eq!(checkpoint.format().to_string(), "2 shards");
        assert_eq!(
            checkpoint.keys().collect::<Vec<_>>(),
            [
                "half.weight",
                "linear.bias",
                "linear.weight",
                "position_ids"
            ]
        );
        assert_eq!(
            floats(checkpoint.float("linear.bias").unwrap()),
            [0.25, -0.5]
        );
        assert_eq!(
            floats(checkpoint.float("half.weight").unwrap())[..2],
            [-2.0, -1.0]
        );
    }
}

#[test]
fn a_shard_of_safetensors_gives_only_what_the_index_lists() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("one.safetensors"), sound()).unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, r#"{"weight_map": {"b": "one.safetensors"}}"#).unwrap();
    let checkpoint = Checkpoint::open(&index).unwrap();
    assert_eq!(checkpoint.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(checkpoint.format().to_string(), "one shard");
    assert_eq!(checkpoint.metadata()["config"], "{}");
}

#[test]
fn prefixes_and_several_files_as_one() {
    let tower = Checkpoint::from_bytes("tower", sound()).unwrap();
    let head = Checkpoint::open(fixture("flat.pth")).unwrap();
    let both = head.joined(tower.below("visual_encoder.")).unwrap();
    assert_eq!(both.keys().count(), 15);
    assert_eq!(
        floats(both.float("visual_encoder.b").unwrap()),
        [5.0, 6.0, 7.0]
    );
    assert_eq!(floats(both.float("scalar").unwrap()), [4.5]);
    assert_eq!(both.format(), &Format::Joined);
    assert!(both.name().contains("flat.pth and tower"));

    // Two that are both in memory keep their own bytes.
    let again = Checkpoint::from_bytes("again", sound())
        .unwrap()
        .below("again");
    let all = both.joined(again).unwrap();
    assert_eq!(floats(all.float("again.a").unwrap()), [1.0, 2.0, 3.0, 4.0]);

    let one = Checkpoint::from_bytes("one", sound()).unwrap();
    let two = Checkpoint::from_bytes("two", sound()).unwrap();
    let error = one.joined(two).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`a` is both in one and in two; put one of them below a prefix"
    );
}
