//! Adapters that PEFT wrote (`tests/fixtures/peft.py`), and ours for it.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Int, Tensor};
use seed_device::test_device;
use seed_lm::{ADAPTER_CONFIG_FILE, Adapter, LoraConfig, Opt, OptConfig};
use seed_weights::{About, Checkpoint, KeyMap};

use crate::models::{adapter, assert_close, logits};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/peft")
}

fn base(device: &Device) -> Opt {
    let folder = fixture().join("base");
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config = OptConfig::from_published(&text).unwrap();
    let checkpoint = Checkpoint::open(folder).unwrap();
    let model = config.init(device).unwrap();
    model.load(&checkpoint, DType::F32).unwrap().0
}

fn outputs() -> Checkpoint {
    Checkpoint::open(fixture().join("outputs.safetensors")).unwrap()
}

/// Golden logits `[2, 9, 29]` as rows.
fn golden(key: &str, device: &Device) -> Tensor<2> {
    Tensor::<3>::from_data(outputs().float(key).unwrap(), device).reshape([18, 29])
}

fn ids(device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(outputs().int("ids").unwrap(), device)
}

#[test]
fn an_adapter_of_peft_computes_what_peft_computes() {
    let device = test_device();
    let mut model = base(&device);
    let found = logits(&model, ids(&device));
    assert_close(found, golden("plain", &device), 1e-4);
    let adapter = Adapter::open(&fixture().join("adapter"), &model.linears_mut(), &device).unwrap();
    let config = adapter.config();
    assert_eq!((config.rank, config.scale(), config.dropout), (2, 1.5, 0.1));
    assert_eq!(adapter.names().len(), 4);
    adapter.clone().attach(model.linears_mut()).unwrap();
    let found = logits(&model, ids(&device));
    assert_close(found, golden("adapted", &device), 1e-4);
    adapter.merge(model.linears_mut()).unwrap();
    let found = logits(&model, ids(&device));
    assert_close(found, golden("adapted", &device), 1e-4);
}

#[test]
fn what_is_written_has_the_settings_of_peft() {
    let device = test_device();
    let mut model = base(&device);
    let golden = fixture().join("adapter");
    let adapter = Adapter::open(&golden, &model.linears_mut(), &device).unwrap();
    let folder = tempfile::tempdir().unwrap();
    adapter.save(folder.path(), "").unwrap();
    let settings = |folder: &Path| -> serde_json::Map<String, serde_json::Value> {
        let text = std::fs::read_to_string(folder.join(ADAPTER_CONFIG_FILE)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let (ours, theirs) = (settings(folder.path()), settings(&golden));
    for (option, value) in ours {
        let theirs = &theirs[&option];
        // PEFT writes an integer where it was given one.
        let same = match (value.as_f64(), theirs.as_f64()) {
            (Some(ours), Some(theirs)) => ours.to_bits() == theirs.to_bits(),
            _ => value == *theirs,
        };
        assert!(same, "{option}: {value} for {theirs}");
    }
}

/// Writes an adapter of ours with its base and its logits into the folder `SEED_PEFT_DIR`, for
/// `peft.py --check`.
#[test]
#[ignore = "writes a folder for peft.py"]
fn an_adapter_of_ours_for_peft() {
    let folder = PathBuf::from(std::env::var_os("SEED_PEFT_DIR").expect("SEED_PEFT_DIR"));
    let device = test_device();
    let mut model = base(&device);
    std::fs::create_dir_all(folder.join("base")).unwrap();
    for file in ["config.json", "model.safetensors"] {
        let file = Path::new("base").join(file);
        std::fs::copy(fixture().join(&file), folder.join(&file)).unwrap();
    }
    let config = LoraConfig {
        rank: 3,
        alpha: 7.0,
        ..LoraConfig::default()
    };
    let adapter = adapter(&model, &config, 81, &device);
    adapter.save(&folder.join("adapter"), "tiny").unwrap();
    adapter.attach(model.linears_mut()).unwrap();
    let found = logits(&model, ids(&device)).reshape([2, 9, 29]);
    let outputs = Outputs {
        ids: burn::module::Param::from_tensor(ids(&device).float()),
        adapted: burn::module::Param::from_tensor(found),
    };
    let path = folder.join("outputs.safetensors");
    let keys = KeyMap::identity();
    seed_weights::save(&outputs, path, &keys, DType::F32, About::default()).unwrap();
}

/// Ids, as floats, and logits.
#[derive(burn::module::Module, Debug)]
struct Outputs {
    ids: burn::module::Param<Tensor<2>>,
    adapted: burn::module::Param<Tensor<3>>,
}
