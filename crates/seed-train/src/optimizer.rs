//! AdamW with the reference's parameter groups, over Burn's `ModuleOptimizer`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::{
    AdamW, DynOptimizer, DynState, GradientsParams, ModuleOptimizer, StateSink, StateSource,
};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::config_error::ConfigError;
use crate::recipe::ReplacedRows;

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
        Ok(self.forgetful(model, &[])?.module)
    }

    /// As [`init`](Self::init), of an optimiser that can forget rows of some parameters.
    pub(crate) fn forgetful<M: Module>(
        &self,
        model: &M,
        replaced: &[ParamId],
    ) -> Result<Optimizer, ConfigError> {
        let device = model.devices().into_iter().next();
        let adamw = |weight_decay: f64| {
            burn::optim::AdamWConfig::new()
                .with_beta_1(self.beta1 as f32)
                .with_beta_2(self.beta2 as f32)
                .with_epsilon(self.epsilon as f32)
                .with_weight_decay(weight_decay as f32)
                .build()
        };
        let mut module = ModuleOptimizer::from(adamw(0.0));
        let mut forgotten = BTreeMap::new();
        for group in self.groups(model)? {
            let grouped = |forgotten: Forgotten| GroupAdamW {
                adamw: adamw(if group.decays { self.weight_decay } else { 0.0 }),
                rate_factor: group.rate_factor,
                device: device.clone().map(Device::without_autodiff),
                forgotten,
            };
            let (alone, together): (Vec<ParamId>, Vec<ParamId>) =
                group.ids.iter().partition(|id| replaced.contains(id));
            if !together.is_empty() {
                let optimizer = grouped(Forgotten::default());
                module = module.with_group(ParamGroup::from_ids(together), optimizer, None);
            }
            // An optimiser is not told whose step it makes: a parameter with rows to forget has one of its own.
            for id in alone {
                let rows = Forgotten::default();
                forgotten.insert(id, rows.clone());
                module = module.with_group(ParamGroup::from_ids(vec![id]), grouped(rows), None);
            }
        }
        Ok(Optimizer { module, forgotten })
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
            .collect::<Result<Vec<_>, ConfigError>>()?;
        let mut grouping = Grouping {
            path: Vec::new(),
            matched: vec![false; self.rate_multipliers.len()],
            multipliers,
            groups: Vec::new(),
        };
        model.visit(&mut grouping);
        for (index, multiplier) in self.rate_multipliers.iter().enumerate() {
            let paths = || {
                grouping
                    .groups
                    .iter()
                    .flat_map(|group| &group.paths)
                    .cloned()
            };
            ConfigError::require(
                grouping.matched[index],
                "optimizer.rate_multipliers.pattern",
                &multiplier.pattern,
                &format!(
                    "a pattern that some parameter's path matches; there are {}",
                    paths().collect::<Vec<_>>().join(", ")
                ),
            )?;
        }
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
    /// Whether any parameter matched each multiplier.
    matched: Vec<bool>,
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
        let mut rate_factor = 1.0;
        for ((group, factor), matched) in self.multipliers.iter().zip(&mut self.matched) {
            if group.matches(&param.id, Some(&path)) {
                rate_factor = *factor;
                *matched = true;
            }
        }
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

/// A [`ModuleOptimizer`] that can forget what it knows of single rows.
pub(crate) struct Optimizer {
    module: ModuleOptimizer,
    forgotten: BTreeMap<ParamId, Forgotten>,
}

impl Optimizer {
    /// What a checkpoint keeps.
    pub(crate) fn module(&self) -> &ModuleOptimizer {
        &self.module
    }

    /// The same with another state, such as a checkpoint's.
    pub(crate) fn try_map<E>(
        self,
        change: impl FnOnce(ModuleOptimizer) -> Result<ModuleOptimizer, E>,
    ) -> Result<Self, E> {
        let module = change(self.module)?;
        Ok(Self { module, ..self })
    }

    /// One step of all parameters.
    pub(crate) fn step<M: Module>(&mut self, rate: f64, model: M, gradients: GradientsParams) -> M {
        self.module.step(rate, model, gradients)
    }

    /// Lets the moments of replaced rows begin anew. Parameters that were not announced are left alone.
    ///
    /// The count of steps, by which AdamW corrects the moments, stays the whole parameter's: late in a training a row's
    /// first step afterwards is (1 − β₁)/√(1 − β₂) learning rates long (3.2 by default), where a fresh parameter's is one.
    pub(crate) fn forget(&mut self, replaced: Vec<ReplacedRows>) {
        for ReplacedRows { parameter, rows } in replaced {
            if let Some(forgotten) = self.forgotten.get(&parameter) {
                forgotten.add(rows.into_data().iter::<bool>());
            }
        }
    }
}

/// Rows whose moments begin anew at the next step, and are gone in a checkpoint that is written before it.
#[derive(Clone, Default)]
struct Forgotten(Arc<Mutex<Vec<bool>>>);

impl Forgotten {
    fn add(&self, rows: impl Iterator<Item = bool>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, row) in rows.enumerate() {
            if known.len() <= index {
                known.push(false);
            }
            known[index] |= row;
        }
    }

    fn rows(&self) -> Vec<bool> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Burn's AdamW with a factor on the rate, whose restored state goes to the model's device.
///
/// Burn restores state on `Device::default()`, which may be a GPU that the machine lacks.
struct GroupAdamW {
    adamw: AdamW,
    rate_factor: f64,
    device: Option<Device>,
    /// Rows to forget; none of a group of several parameters.
    forgotten: Forgotten,
}

impl GroupAdamW {
    /// The state with zeros in the moments of the rows that are to be forgotten.
    fn remembered(&self, state: DynState) -> DynState {
        let rows = self.forgotten.rows();
        let Some(device) = self.device.as_ref().filter(|_| rows.contains(&true)) else {
            return state;
        };
        let mut flat = StateSink::default();
        self.adamw.state_flatten("", &state, &mut flat);
        let mut source = StateSource::new(flat.scalars.into_iter().collect());
        for (name, data) in flat.tensors {
            let (shape, dtype) = (data.shape().clone(), data.dtype());
            let mut values: Vec<f32> = data.iter::<f32>().collect();
            let width = values.len() / rows.len();
            let chunks = values.chunks_mut(width.max(1)).zip(&rows);
            for (row, _) in chunks.filter(|(_, forgotten)| **forgotten) {
                row.fill(0.0);
            }
            source.insert_tensor(name, TensorData::new(values, shape).convert_dtype(dtype));
        }
        let emptied = self
            .adamw
            .state_unflatten(state.rank(), "", &mut source, device);
        emptied.unwrap_or(state)
    }
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
        let state = state.map(|state| self.remembered(state));
        self.forgotten.clear();
        self.adamw
            .step_dyn(rank, rate * self.rate_factor, tensor, gradient, state)
    }

    fn to_device_dyn(&self, state: DynState, device: &Device) -> DynState {
        self.adamw.to_device_dyn(state, device)
    }

    fn state_flatten(&self, prefix: &str, state: &DynState, out: &mut StateSink) {
        let state = self.remembered(state.clone());
        self.adamw.state_flatten(prefix, &state, out);
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
    fn a_pattern_that_matches_nothing_is_refused() {
        let config = AdamWConfig {
            rate_multipliers: vec![
                RateMultiplier {
                    pattern: "^blocks".into(),
                    factor: 2.0,
                },
                RateMultiplier {
                    pattern: "quantiser".into(),
                    factor: 2.0,
                },
            ],
            ..Default::default()
        };
        let message = config.groups(&toy()).unwrap_err().to_string();
        assert!(
            message.contains("rate_multipliers.pattern = quantiser"),
            "{message}"
        );
        assert!(message.contains("blocks.0.weight"), "{message}");
    }

    /// After a step with gradients, steps without any go on by what the moments remember; a forgotten row does not, also
    /// when the state goes through a checkpoint before its next step.
    #[test]
    fn a_replaced_row_is_forgotten() {
        let config = AdamWConfig {
            weight_decay: 0.0,
            ..Default::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("optimizer.bpk");
        let model = toy();
        let id = model.embedding.weight.id;
        let rows = |model: &Toy| -> Vec<f32> {
            let rows = model.embedding.weight.val().into_data();
            rows.iter::<f32>().collect()
        };
        let step = |optimizer: &mut Optimizer, model: Toy, factor: f64| {
            let loss = model.embedding.weight.val().sum().mul_scalar(factor);
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            optimizer.step(0.1, model, gradients)
        };
        let mut optimizer = config.forgetful(&model, &[id]).unwrap();
        let model = step(&mut optimizer, model, 1.0);
        let device = test_device();
        let replaced = Tensor::<2>::from_floats([[0.0], [1.0], [0.0]], &device).bool();
        optimizer.forget(vec![ReplacedRows {
            parameter: id,
            rows: replaced,
        }]);
        optimizer.module().save(&file).unwrap();
        let fresh = config.forgetful(&model, &[id]).unwrap();
        let mut loaded = fresh.try_map(|module| module.load(&file)).unwrap();

        let before = rows(&model);
        let after = rows(&step(&mut optimizer, model.clone(), 0.0));
        let moved: Vec<bool> = before
            .iter()
            .zip(&after)
            .map(|(a, b)| a.to_bits() != b.to_bits())
            .collect();
        assert_eq!(moved, [true, true, false, false, true, true]);
        assert_eq!(after, rows(&step(&mut loaded, model, 0.0)));
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
