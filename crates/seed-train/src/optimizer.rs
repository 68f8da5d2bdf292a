//! AdamW with the reference's parameter groups, over Burn's `ModuleOptimizer`.

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::{AdamW, DynOptimizer, DynState, ModuleOptimizer, StateSink, StateSource};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::ConfigError;

/// Settings of AdamW; the defaults are the reference's (SEED's `runner_base.py`, PyTorch's ε).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay, of the parameters that [`decays`] names.
    pub weight_decay: f64,
    /// Factors on the learning rate for the parameters whose path matches; the last match counts.
    pub rate_multipliers: Vec<RateMultiplier>,
}

/// A factor on the learning rate of some parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateMultiplier {
    /// Regular expression over dotted parameter paths (`quantizer\.codebook`).
    pub pattern: String,
    /// What the scheduled rate is multiplied by.
    pub factor: f64,
}

/// Parameters that share weight decay and learning rate.
#[derive(Debug, Clone)]
pub struct ParameterGroup {
    /// Whether weight decay applies.
    pub decays: bool,
    /// Factor on the scheduled learning rate.
    pub rate_factor: f64,
    /// Dotted paths of the parameters, in module order.
    pub paths: Vec<String>,
    ids: Vec<ParamId>,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.05,
            rate_multipliers: Vec::new(),
        }
    }
}

/// The reference's rule: no decay below two dimensions, nor for names containing `bias`, `ln`, `bn`.
///
/// Burn calls the scale and shift of a norm `gamma` and `beta`; both have one dimension.
pub fn decays(path: &str, dimensions: usize) -> bool {
    dimensions >= 2 && !["bias", "ln", "bn"].iter().any(|part| path.contains(part))
}

impl AdamWConfig {
    /// An optimiser without state for the parameters of `model`.
    ///
    /// Its state is keyed by parameter id: load a checkpoint's model first, then make the optimiser.
    pub fn init<M: Module>(&self, model: &M) -> Result<ModuleOptimizer, ConfigError> {
        let device = model.devices().into_iter().next();
        let groups = self.groups(model)?;
        let adamw = |weight_decay: f64| {
            burn::optim::AdamWConfig::new()
                .with_beta_1(self.beta1 as f32)
                .with_beta_2(self.beta2 as f32)
                .with_epsilon(self.epsilon as f32)
                .with_weight_decay(weight_decay as f32)
                .build()
        };
        let mut optimizer = ModuleOptimizer::from(adamw(0.0));
        for group in groups {
            let grouped = GroupAdamW {
                adamw: adamw(if group.decays { self.weight_decay } else { 0.0 }),
                rate_factor: group.rate_factor,
                device: device.clone().map(Device::without_autodiff),
            };
            optimizer = optimizer.with_group(ParamGroup::from_ids(group.ids), grouped, None);
        }
        Ok(optimizer)
    }

    /// The float parameters of `model`, sorted into groups of equal decay and rate.
    pub fn groups<M: Module>(&self, model: &M) -> Result<Vec<ParameterGroup>, ConfigError> {
        let multipliers = self
            .rate_multipliers
            .iter()
            .map(|multiplier| {
                let group = ParamGroup::from_regex(&multiplier.pattern).map_err(|error| {
                    ConfigError::Invalid {
                        key: "optimizer.rate_multipliers.pattern".to_owned(),
                        value: multiplier.pattern.clone(),
                        expected: format!("a regular expression ({error:?})"),
                    }
                })?;
                Ok((group, multiplier.factor))
            })
            .collect::<Result<_, ConfigError>>()?;
        let mut grouping = Grouping {
            path: Vec::new(),
            multipliers,
            groups: Vec::new(),
        };
        model.visit(&mut grouping);
        Ok(grouping.groups)
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        for (key, beta) in [
            ("optimizer.beta1", self.beta1),
            ("optimizer.beta2", self.beta2),
        ] {
            ConfigError::require((0.0..1.0).contains(&beta), key, beta, "in [0, 1)")?;
        }
        let positive = self.epsilon.is_finite() && self.epsilon > 0.0;
        ConfigError::require(positive, "optimizer.epsilon", self.epsilon, "above 0")?;
        let factors = self
            .rate_multipliers
            .iter()
            .map(|multiplier| multiplier.factor);
        for (key, value) in std::iter::once(("optimizer.weight_decay", self.weight_decay))
            .chain(factors.map(|factor| ("optimizer.rate_multipliers.factor", factor)))
        {
            ConfigError::require(value.is_finite() && value >= 0.0, key, value, "0 or more")?;
        }
        Ok(())
    }
}

struct Grouping {
    path: Vec<String>,
    multipliers: Vec<(ParamGroup, f64)>,
    groups: Vec<ParameterGroup>,
}

impl ModuleVisitor for Grouping {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let decays = decays(&path, D);
        let matching = self
            .multipliers
            .iter()
            .rfind(|(group, _)| group.matches(&param.id, Some(&path)));
        let rate_factor = matching.map_or(1.0, |(_, factor)| *factor);
        let same = |group: &&mut ParameterGroup| {
            group.decays == decays && group.rate_factor.to_bits() == rate_factor.to_bits()
        };
        if let Some(group) = self.groups.iter_mut().find(same) {
            group.paths.push(path);
            group.ids.push(param.id);
        } else {
            let (paths, ids) = (vec![path], vec![param.id]);
            self.groups.push(ParameterGroup {
                decays,
                rate_factor,
                paths,
                ids,
            });
        }
    }
}

/// Burn's AdamW with a factor on the rate, whose restored state goes to the model's device.
///
/// Burn restores state on `Device::default()`, which may be a GPU that the machine lacks.
struct GroupAdamW {
    adamw: AdamW,
    rate_factor: f64,
    device: Option<Device>,
}

impl DynOptimizer for GroupAdamW {
    fn step_dyn(
        &self,
        rank: usize,
        rate: f64,
        tensor: BridgeTensor,
        gradient: BridgeTensor,
        state: Option<DynState>,
    ) -> (BridgeTensor, Option<DynState>) {
        self.adamw
            .step_dyn(rank, rate * self.rate_factor, tensor, gradient, state)
    }

    fn to_device_dyn(&self, state: DynState, device: &Device) -> DynState {
        self.adamw.to_device_dyn(state, device)
    }

    fn state_flatten(&self, prefix: &str, state: &DynState, out: &mut StateSink) {
        self.adamw.state_flatten(prefix, state, out);
    }

    fn state_unflatten(
        &self,
        rank: usize,
        prefix: &str,
        source: &mut StateSource,
        device: &Device,
    ) -> Option<DynState> {
        let device = self.device.as_ref().unwrap_or(device);
        self.adamw.state_unflatten(rank, prefix, source, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
    use burn::optim::GradientsParams;
    use seed_device::test_device;
    use serde_json::Value;

    #[derive(Module, Debug)]
    struct Toy {
        embedding: Embedding,
        norm: LayerNorm,
        ln_vision: Linear,
        blocks: Vec<Linear>,
    }

    fn toy() -> Toy {
        let device = test_device().autodiff();
        Toy {
            embedding: EmbeddingConfig::new(3, 2).init(&device),
            norm: LayerNormConfig::new(2).init(&device),
            ln_vision: LinearConfig::new(2, 2).init(&device),
            blocks: vec![LinearConfig::new(2, 2).init(&device)],
        }
    }

    #[test]
    fn decay_rule_matches_the_reference() {
        let golden: Value =
            serde_json::from_str(include_str!("../tests/fixtures/reference_decay.json")).unwrap();
        let rows = golden["name_rank_decay"].as_array().unwrap();
        assert!(rows.len() > 150);
        for row in rows {
            let rank = row[1].as_u64().unwrap() as usize;
            assert_eq!(
                decays(row[0].as_str().unwrap(), rank),
                row[2].as_bool().unwrap(),
                "{row}"
            );
        }
    }

    #[test]
    fn groups_follow_dimensions_and_names() {
        let groups = AdamWConfig::default().groups(&toy()).unwrap();
        let paths = |decays| -> Vec<&str> {
            let matching = groups.iter().filter(|group| group.decays == decays);
            matching
                .flat_map(|group| group.paths.iter().map(String::as_str))
                .collect()
        };
        assert_eq!(paths(true), ["embedding.weight", "blocks.0.weight"]);
        let without = [
            "norm.gamma",
            "norm.beta",
            "ln_vision.weight",
            "ln_vision.bias",
            "blocks.0.bias",
        ];
        assert_eq!(paths(false), without);
    }

    #[test]
    fn decay_and_multiplier_reach_the_parameters() {
        let config = AdamWConfig {
            weight_decay: 0.5,
            rate_multipliers: vec![RateMultiplier {
                pattern: "^blocks".into(),
                factor: 0.0,
            }],
            ..Default::default()
        };
        let model = toy();
        let mut optimizer = config.init(&model).unwrap();
        let read = |tensor: Tensor<2>| -> Vec<f32> { tensor.into_data().iter::<f32>().collect() };
        let before = [
            &model.embedding.weight,
            &model.ln_vision.weight,
            &model.blocks[0].weight,
        ]
        .map(|param| read(param.val()));
        // Zero gradients: only decay moves anything.
        let loss = model.embedding.weight.val().sum()
            + model.ln_vision.weight.val().sum()
            + model.blocks[0].weight.val().sum();
        let zero = loss.mul_scalar(0.0).backward();
        let gradients = GradientsParams::from_grads(zero, &model);
        let model = optimizer.step(0.1, model, gradients);
        let after = [
            &model.embedding.weight,
            &model.ln_vision.weight,
            &model.blocks[0].weight,
        ]
        .map(|param| read(param.val()));
        for (old, new) in before[0].iter().zip(&after[0]) {
            assert!((old * 0.95 - new).abs() < 1e-6, "decayed by 1 - 0.1 · 0.5");
        }
        assert_eq!(before[1], after[1], "named `ln`: not decayed");
        assert_eq!(before[2], after[2], "rate factor 0: not moved");
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let config = AdamWConfig {
            rate_multipliers: vec![RateMultiplier {
                pattern: "(".into(),
                factor: 1.0,
            }],
            ..Default::default()
        };
        let message = config.groups(&toy()).unwrap_err().to_string();
        assert!(
            message.contains("rate_multipliers.pattern = ("),
            "{message}"
        );
    }
}
