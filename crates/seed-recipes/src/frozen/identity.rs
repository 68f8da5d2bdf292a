//! What a frozen model is: everything that decides what it computes.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, DType, Int, Tensor, TensorData};
use seed_weights::{Checkpoint, WeightsError};
use serde::Serialize;

/// Hash of a model's parameters, its config and the version of the code that computes it: what rows that it gave are
/// keyed by.
///
/// Parameters are hashed by value, as f32: a tower is the same whether it was read from a file of its own, from a whole
/// tokenizer's or from one in half precision that holds the same numbers. The config counts beside them, since heads
/// and distances leave no trace in the parameters.
pub fn module_identity<M: Module>(module: &M, config: &impl Serialize, version: u32) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&version.to_le_bytes());
    let config = serde_json::to_string(config).unwrap_or_default();
    hasher.update(&(config.len() as u64).to_le_bytes());
    hasher.update(config.as_bytes());
    let mut values = Values(hasher);
    module.visit(&mut values);
    values.0.finalize().to_hex().to_string()
}

/// Hash of the tensors of a checkpoint that is not loaded yet.
///
/// # Errors
///
/// [`WeightsError`] if a tensor cannot be read.
pub fn checkpoint_identity(checkpoint: &Checkpoint) -> Result<String, WeightsError> {
    let mut keys: Vec<&str> = checkpoint.keys().collect();
    keys.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for key in keys {
        hasher.update(key.as_bytes());
        hasher.update(checkpoint.stored(key)?.as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

struct Values(blake3::Hasher);

impl Values {
    fn shape(&mut self, data: &TensorData) {
        for size in data.shape().iter() {
            self.0.update(&(*size as u64).to_le_bytes());
        }
    }
}

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data();
        self.shape(&data);
        if data.dtype() == DType::F32 && cfg!(target_endian = "little") {
            self.0.update(data.as_bytes());
            return;
        }
        let bytes: Vec<u8> = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
        self.0.update(&bytes);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let data = param.val().into_data();
        self.shape(&data);
        for value in data.iter::<i64>() {
            self.0.update(&value.to_le_bytes());
        }
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let data = param.val().into_data();
        self.shape(&data);
        for value in data.iter::<bool>() {
            self.0.update(&[u8::from(value)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use seed_device::test_device;
    use seed_encoders::EvaVitConfig;

    use super::*;

    /// The parameters of a tower are the same for any number of heads, its outputs are not.
    #[test]
    fn config_and_version_count_beside_the_parameters() {
        let config = EvaVitConfig {
            image_size: 16,
            patch_size: 8,
            width: 16,
            depth: 1,
            heads: 2,
            mlp_hidden: 16,
        };
        let device = test_device();
        device.seed(1);
        let tower = config.init(&device).unwrap();
        let identity = module_identity(&tower, &config, 1);
        assert_eq!(identity, module_identity(&tower.clone(), &config, 1));
        assert_ne!(identity, module_identity(&tower, &config, 2));
        let heads = EvaVitConfig {
            heads: 4,
            ..config.clone()
        };
        assert_ne!(identity, module_identity(&tower, &heads, 1));
        let other = config.init(&device).unwrap();
        assert_ne!(identity, module_identity(&other, &config, 1));
    }
}
