//! Reading a case and comparing with it.

use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};
use seed_weights::Checkpoint;
use serde_json::Value;

/// One folder of golden numbers.
pub(crate) struct Case {
    folder: PathBuf,
    stats: Value,
    pub(crate) config: Value,
    pub(crate) device: Device,
}

impl Case {
    pub(crate) fn open(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name);
        let read = |file: &str| match std::fs::read_to_string(folder.join(file)) {
            Ok(text) => serde_json::from_str(&text).unwrap(),
            Err(_) => Value::Null,
        };
        let (stats, config) = (read("stats.json"), read("config.json"));
        Self {
            folder,
            stats,
            config,
            device: seed_device::test_device(),
        }
    }

    pub(crate) fn size(&self, key: &str) -> usize {
        self.config[key]
            .as_u64()
            .unwrap_or_else(|| panic!("no size `{key}`")) as usize
    }

    pub(crate) fn json(&self, file: &str) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.folder.join(file)).unwrap()).unwrap()
    }

    pub(crate) fn file(&self, stem: &str) -> Checkpoint {
        Checkpoint::open(self.folder.join(format!("{stem}.safetensors"))).unwrap()
    }

    pub(crate) fn input<const D: usize>(&self, stem: &str, key: &str) -> Tensor<D> {
        Tensor::from_data(self.file(stem).float(key).unwrap(), &self.device)
    }

    pub(crate) fn int_input<const D: usize>(&self, stem: &str, key: &str) -> Tensor<D, Int> {
        Tensor::from_data(self.file(stem).int(key).unwrap(), &self.device)
    }

    /// Compares with `stem/key` to the tolerance of `stats.json`.
    pub(crate) fn check<const D: usize>(&self, stem: &str, key: &str, found: Tensor<D>) {
        self.check_data(stem, key, &found.into_data());
    }

    pub(crate) fn check_data(&self, stem: &str, key: &str, found: &TensorData) {
        let expected = self.file(stem).float(key).unwrap();
        let tolerance = self.stats[format!("{stem}/{key}")]["atol"]
            .as_f64()
            .unwrap_or_else(|| panic!("no tolerance for {stem}/{key}"));
        let worst = max_difference(found, &expected);
        assert!(
            worst <= tolerance,
            "{stem}/{key}: off by {worst:e}, allowed {tolerance:e}"
        );
    }

    pub(crate) fn check_ids<const D: usize>(&self, stem: &str, key: &str, found: Tensor<D, Int>) {
        let expected: Vec<i64> = self.file(stem).int(key).unwrap().iter::<i64>().collect();
        let found: Vec<i64> = found.into_data().iter::<i64>().collect();
        assert_eq!(found, expected, "{stem}/{key}");
    }
}

pub(crate) fn max_difference(found: &TensorData, expected: &TensorData) -> f64 {
    assert_eq!(found.shape().to_vec(), expected.shape().to_vec());
    found
        .iter::<f64>()
        .zip(expected.iter::<f64>())
        .map(|(found, expected)| {
            assert!(found.is_finite());
            (found - expected).abs()
        })
        .fold(0.0, f64::max)
}

/// Compares a scalar to a relative tolerance.
pub(crate) fn check_scalar(name: &str, found: f64, expected: &Value, relative: f64) {
    let expected = expected
        .as_f64()
        .unwrap_or_else(|| panic!("no expected value for {name}"));
    let off = (found - expected).abs();
    assert!(
        off <= relative * expected.abs(),
        "{name}: {found} where {expected} is expected"
    );
}

pub(crate) fn scalar(tensor: Tensor<1>) -> f64 {
    tensor.into_data().iter::<f64>().next().unwrap()
}
