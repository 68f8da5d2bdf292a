//! LoRA adapters: made, attached, detached, merged, and kept in PEFT's files.
//!
//! - original code: PEFT, `adapter_config.json` and `adapter_model.safetensors`

use std::{collections::BTreeMap, fs, path::Path};

use burn::{
    module::Module,
    tensor::{DType, Device},
};
use seed_nn::{ConfigError, Linear, LoraBranch, limits};
use seed_weights::{Checkpoint, KeyMap};
use serde::{Deserialize, Serialize};

use crate::LmError;

/// File of an adapter's settings.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
/// File of an adapter's factors.
pub const ADAPTER_FILE: &str = "adapter_model.safetensors";
/// What PEFT puts before the base model's own names.
const PREFIX: &str = "base_model.model";

/// Settings of an adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of the factors.
    pub rank: usize,
    /// The branch is scaled by alpha over rank.
    pub alpha: f64,
    /// Dropout of the branch's input, while training.
    pub dropout: f64,
    /// Layers that get a branch: those whose name is one of these or ends with `.` and one of these.
    pub targets: Vec<String>,
}

impl Default for LoraConfig {
    /// SEED-LLaMA's: rank 16, alpha 32, dropout 0.05, on every linear layer of a block.
    fn default() -> Self {
        let targets = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"];
        Self {
            rank: 16,
            alpha: 32.0,
            dropout: 0.05,
            targets: targets.map(str::to_owned).to_vec(),
        }
    }
}

impl LoraConfig {
    /// Checks the numbers.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "LoRA";
        ConfigError::check_size(part, "rank", self.rank, limits::WIDTH)?;
        let sound = self.alpha.is_finite() && self.alpha > 0.0;
        ConfigError::check(sound, part, "alpha", self.alpha, "positive")?;
        ConfigError::check_share(part, "dropout", self.dropout)
    }

    /// What the branch is multiplied by.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    fn hits(&self, name: &str) -> bool {
        self.targets.iter().any(|target| {
            name.strip_suffix(target.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }

    /// A new adapter for these layers, which adds nothing yet.
    ///
    /// # Errors
    ///
    /// [`LmError::NoTarget`] if no layer has a name that is targeted, [`LmError::Config`].
    pub fn init(
        &self,
        layers: &[(String, &mut Linear)],
        device: &Device,
    ) -> Result<Adapter, LmError> {
        self.validate()?;
        let (names, branches): (Vec<_>, Vec<_>) = layers
            .iter()
            .filter(|(name, _)| self.hits(name))
            .map(|(name, linear)| {
                let branch =
                    LoraBranch::new(linear.dims(), self.rank, self.scale(), self.dropout, device);
                (name.clone(), branch)
            })
            .unzip();
        if names.is_empty() {
            return Err(LmError::NoTarget {
                targets: self.targets.clone(),
                example: layers
                    .first()
                    .map_or(String::new(), |(name, _)| name.clone()),
            });
        }
        Ok(Adapter {
            branches,
            names,
            config: self.clone(),
        })
    }
}

/// Branches with the names of the layers they belong to.
#[derive(Module, Debug)]
pub struct Adapter {
    branches: Vec<LoraBranch>,
    #[module(skip)]
    names: Vec<String>,
    #[module(skip)]
    config: LoraConfig,
}

/// What of PEFT's `adapter_config.json` decides what is computed.
#[derive(Serialize, Deserialize)]
struct PeftConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    target_modules: PeftTargets,
    #[serde(default = "none")]
    bias: String,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default, skip_serializing)]
    use_qalora: bool,
    #[serde(default, skip_serializing)]
    lora_bias: bool,
    #[serde(default, skip_serializing)]
    alora_invocation_tokens: Option<Vec<u32>>,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    rank_pattern: BTreeMap<String, usize>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
    base_model_name_or_path: Option<String>,
    task_type: Option<String>,
    #[serde(default)]
    inference_mode: bool,
    #[serde(default = "yes")]
    init_lora_weights: serde_json::Value,
}

/// Names, or one regular expression.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PeftTargets {
    Names(Vec<String>),
    Pattern(String),
}

fn none() -> String {
    "none".to_owned()
}

fn yes() -> serde_json::Value {
    true.into()
}

impl PeftConfig {
    /// Refuses what changes the arithmetic and is not here; gives the names of the targets.
    fn check(&self, path: &str) -> Result<Vec<String>, LmError> {
        let refuse = |option, value: String| {
            Err(LmError::AdapterOption {
                path: path.to_owned(),
                option,
                value,
            })
        };
        if self.peft_type != "LORA" {
            return refuse("peft_type", self.peft_type.clone());
        }
        if self.bias != "none" {
            return refuse("bias", self.bias.clone());
        }
        if let Some(modules) = self.modules_to_save.as_ref().filter(|m| !m.is_empty()) {
            return refuse("modules_to_save", format!("{modules:?}"));
        }
        for (option, on) in [
            ("use_rslora", self.use_rslora),
            ("use_dora", self.use_dora),
            ("use_qalora", self.use_qalora),
            ("lora_bias", self.lora_bias),
            (
                "alora_invocation_tokens",
                self.alora_invocation_tokens.is_some(),
            ),
            ("fan_in_fan_out", self.fan_in_fan_out),
            ("rank_pattern", !self.rank_pattern.is_empty()),
            ("alpha_pattern", !self.alpha_pattern.is_empty()),
        ] {
            if on {
                return refuse(option, "set".to_owned());
            }
        }
        match &self.target_modules {
            PeftTargets::Names(names) => Ok(names.clone()),
            PeftTargets::Pattern(pattern) => refuse("target_modules", pattern.clone()),
        }
    }
}

impl Adapter {
    /// Its settings.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// Names of the layers it belongs to.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Keys of its factors in PEFT's file.
    pub fn keys(&self) -> KeyMap {
        let names = self.names.iter().enumerate();
        names.fold(KeyMap::identity(), |keys, (index, name)| {
            ["a", "b"].into_iter().fold(keys, |keys, factor| {
                let theirs = format!("{PREFIX}.{name}.lora_{}.weight", factor.to_uppercase());
                keys.nest(&format!("branches.{index}.{factor}"), &theirs, &[("", "")])
            })
        })
    }

    /// Reads an adapter that PEFT or [`Self::save`] wrote, for these layers.
    ///
    /// # Errors
    ///
    /// [`LmError::File`], [`LmError::AdapterOption`], [`LmError::OtherBase`] if the file has factors for
    /// layers that the model lacks, [`LmError::Weights`] if factors are missing or of another shape.
    pub fn open(
        folder: &Path,
        layers: &[(String, &mut Linear)],
        device: &Device,
    ) -> Result<Self, LmError> {
        let path = folder.join(ADAPTER_CONFIG_FILE);
        let text = fs::read_to_string(&path).map_err(|error| LmError::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        let checkpoint = Checkpoint::open(folder.join(ADAPTER_FILE))?;
        Self::read(
            &path.display().to_string(),
            &text,
            &checkpoint,
            layers,
            device,
        )
    }

    /// As [`Self::open`], from the text of the settings and a checkpoint of the factors.
    ///
    /// # Errors
    ///
    /// Those of [`Self::open`].
    pub fn read(
        name: &str,
        config: &str,
        checkpoint: &Checkpoint,
        layers: &[(String, &mut Linear)],
        device: &Device,
    ) -> Result<Self, LmError> {
        let peft: PeftConfig = serde_json::from_str(config).map_err(|error| LmError::File {
            path: name.to_owned(),
            reason: format!("not the settings of a LoRA adapter: {error}"),
        })?;
        let targets = peft.check(name)?;
        let config = LoraConfig {
            rank: peft.r,
            alpha: peft.lora_alpha,
            dropout: peft.lora_dropout,
            targets,
        };
        let adapter = config.init(layers, device)?;
        let keys = adapter.keys();
        let (adapter, report) = seed_weights::load(adapter, checkpoint, &keys)?;
        if let Some(first) = report.unused.first() {
            return Err(LmError::OtherBase {
                reason: format!(
                    "{} of its tensors have no place, such as {first}",
                    report.unused.len()
                ),
            });
        }
        Ok(adapter)
    }

    /// Writes PEFT's two files into `folder`, which is made if it is not there. `base` names the base model.
    ///
    /// # Errors
    ///
    /// [`LmError::File`], [`LmError::Weights`].
    pub fn save(&self, folder: &Path, base: &str) -> Result<(), LmError> {
        fs::create_dir_all(folder).map_err(|error| LmError::File {
            path: folder.display().to_string(),
            reason: error.to_string(),
        })?;
        let about = seed_weights::About::default().with("base", base);
        let file = folder.join(ADAPTER_FILE);
        seed_weights::save(self, file, &self.keys(), DType::F32, about)?;
        let peft = PeftConfig {
            peft_type: "LORA".to_owned(),
            r: self.config.rank,
            lora_alpha: self.config.alpha,
            lora_dropout: self.config.dropout,
            target_modules: PeftTargets::Names(self.config.targets.clone()),
            bias: none(),
            use_rslora: false,
            use_dora: false,
            use_qalora: false,
            lora_bias: false,
            alora_invocation_tokens: None,
            fan_in_fan_out: false,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            modules_to_save: None,
            base_model_name_or_path: Some(base.to_owned()),
            task_type: Some("CAUSAL_LM".to_owned()),
            inference_mode: true,
            init_lora_weights: yes(),
        };
        let text = serde_json::to_string_pretty(&peft).unwrap_or_default();
        let path = folder.join(ADAPTER_CONFIG_FILE);
        Ok(seed_weights::write_file(&path, text.as_bytes())?)
    }

    /// Puts the branches beside the layers; what was beside them before is dropped.
    ///
    /// # Errors
    ///
    /// [`LmError::OtherBase`] if a layer is missing or of another size; nothing is attached then.
    pub fn attach(self, mut layers: Vec<(String, &mut Linear)>) -> Result<(), LmError> {
        for (name, branch) in self.names.iter().zip(&self.branches) {
            let Some((_, linear)) = layers.iter().find(|(layer, _)| layer == name) else {
                return Err(LmError::OtherBase {
                    reason: format!("the model has no layer {name}"),
                });
            };
            let sizes = [branch.a.lazy_shape()[0], branch.b.lazy_shape()[1]];
            if sizes != linear.dims() {
                return Err(LmError::OtherBase {
                    reason: format!("{name} is {:?}, the adapter's {sizes:?}", linear.dims()),
                });
            }
        }
        let mut branches: BTreeMap<_, _> = self.names.into_iter().zip(self.branches).collect();
        for (name, linear) in &mut layers {
            linear.lora = branches.remove(name);
        }
        Ok(())
    }

    /// Takes the branches off the layers; `config` is what they were made with. None if there are none.
    pub fn detach(layers: Vec<(String, &mut Linear)>, config: &LoraConfig) -> Option<Self> {
        let (names, branches): (Vec<_>, Vec<_>) = layers
            .into_iter()
            .filter_map(|(name, linear)| Some((name, linear.lora.take()?)))
            .unzip();
        (!names.is_empty()).then(|| Self {
            branches,
            names,
            config: config.clone(),
        })
    }

    /// Adds what the branches amount to onto the weights, after which the model needs no adapter.
    ///
    /// # Errors
    ///
    /// Those of [`Self::attach`], and [`LmError::EightBitBase`].
    pub fn merge(self, layers: Vec<(String, &mut Linear)>) -> Result<(), LmError> {
        self.fold(layers, 1.0)
    }

    /// Undoes [`Self::merge`], to the rounding of the weights.
    ///
    /// # Errors
    ///
    /// Those of [`Self::attach`], and [`LmError::EightBitBase`].
    pub fn unmerge(self, layers: Vec<(String, &mut Linear)>) -> Result<(), LmError> {
        self.fold(layers, -1.0)
    }

    fn fold(self, mut layers: Vec<(String, &mut Linear)>, sign: f64) -> Result<(), LmError> {
        let eight_bit = |(name, linear): &&(String, &mut Linear)| {
            linear.is_eight_bit() && self.names.contains(name)
        };
        if let Some((layer, _)) = layers.iter().find(eight_bit) {
            let layer = layer.clone();
            return Err(LmError::EightBitBase { layer });
        }
        let reborrowed = layers
            .iter_mut()
            .map(|(name, linear)| (name.clone(), &mut **linear))
            .collect();
        self.attach(reborrowed)?;
        for (_, linear) in layers {
            if let Some(branch) = linear.lora.take() {
                let change = branch.delta().mul_scalar(sign);
                let id = linear.weight.id;
                let weight = linear.weight.val();
                let merged = weight.clone() + change.cast(weight.dtype());
                linear.weight = linear.weight.clone().transform_for_load(merged, id);
            }
        }
        Ok(())
    }
}

/// Adapters by name, one of which may be attached to a model.
#[derive(Debug, Clone, Default)]
pub struct Adapters {
    kept: BTreeMap<String, Adapter>,
}

impl Adapters {
    /// Keeps an adapter under a name; one that was kept under it before is dropped.
    pub fn insert(&mut self, name: impl Into<String>, adapter: Adapter) {
        self.kept.insert(name.into(), adapter);
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kept.keys().map(String::as_str)
    }

    /// Attaches the adapter of that name in the place of whatever is attached.
    ///
    /// # Errors
    ///
    /// [`LmError::NoAdapter`], and those of [`Adapter::attach`].
    pub fn switch(&self, name: &str, layers: Vec<(String, &mut Linear)>) -> Result<(), LmError> {
        match self.kept.get(name) {
            Some(adapter) => adapter.clone().attach(layers),
            None => Err(LmError::NoAdapter {
                name: name.to_owned(),
                known: self.names().collect::<Vec<_>>().join(", "),
            }),
        }
    }
}
