//! The works on one device: what a child process does.

use std::{fmt, path::PathBuf, time::Instant};

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{DType, Device, Int, Tensor},
};
use clap::ValueEnum;
use seed::{
    device::fused::EIGHT_BIT_BLOCK,
    lm::{
        Adapter, CausalLm, KvCache, Layout, Opt, OptConfig, Sequence, SequenceBatch,
        generation::{GenerationConfig, Prompt, generate_with},
        log_likelihoods,
    },
    train::{AdamWConfig, BoxError, clip_by_norm, global_norm},
    weights::Checkpoint,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// Step of an adapter on a model of the nano experiments' size.
    TrainNano,
    /// Step of an adapter on a model of OPT-125m's size.
    #[value(name = "train-125m")]
    #[serde(rename = "train-125m")]
    Train125m,
    /// Step of an adapter on a model of OPT-2.7B's size, in half precision: for a GPU.
    #[value(name = "train-2.7b")]
    #[serde(rename = "train-2.7b")]
    Train2700m,
    /// Token after token from a model of OPT-125m's size.
    #[value(name = "decode-125m")]
    #[serde(rename = "decode-125m")]
    Decode125m,
    /// Token after token from a model of OPT-2.7B's size, in half precision.
    #[value(name = "decode-2.7b")]
    #[serde(rename = "decode-2.7b")]
    Decode2700m,
}

impl Work {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TrainNano => "train-nano",
            Self::Train125m => "train-125m",
            Self::Train2700m => "train-2.7b",
            Self::Decode125m => "decode-125m",
            Self::Decode2700m => "decode-2.7b",
        }
    }

    pub(crate) fn trains(self) -> bool {
        matches!(self, Self::TrainNano | Self::Train125m | Self::Train2700m)
    }

    /// Whether the model is the largest, of which only the peer has room for f32.
    pub(crate) fn large(self) -> bool {
        matches!(self, Self::Train2700m | Self::Decode2700m)
    }

    /// The model's folder.
    pub(crate) fn model(self) -> &'static str {
        match self {
            Self::TrainNano => "nano",
            Self::Train125m | Self::Decode125m => "125m",
            Self::Train2700m | Self::Decode2700m => "2.7b",
        }
    }

    /// The model's sizes; `tiny` ones only show that everything runs.
    pub(crate) fn sizes(self, tiny: bool) -> OptConfig {
        let config = match self {
            Self::TrainNano => OptConfig::nano(),
            Self::Train125m | Self::Decode125m => OptConfig::opt_125m(),
            Self::Train2700m | Self::Decode2700m => OptConfig::opt_2_7b(),
        };
        if tiny {
            return OptConfig::pre_norm(512, 64, 2, 4).with_max_length(128);
        }
        config
    }

    /// Rows and tokens of the batch, or of the prompt.
    pub(crate) fn batch(self) -> [usize; 2] {
        match self {
            Self::TrainNano => [64, 44],
            Self::Train125m => [4, 64],
            Self::Train2700m => [16, 128],
            Self::Decode125m | Self::Decode2700m => [1, 32],
        }
    }
}

/// How the weights of linear layers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kept {
    F32,
    F16,
    Bf16,
    /// 8 bits: blocks with a scale each, where the device has them; PyTorch's dynamic quantisation.
    Q8,
}

impl Kept {
    /// Bytes of a weight, its share of a scale included.
    pub(crate) fn bytes(self) -> f64 {
        match self {
            Self::F32 => 4.0,
            Self::F16 | Self::Bf16 => 2.0,
            Self::Q8 => 1.0 + 4.0 / EIGHT_BIT_BLOCK as f64,
        }
    }

    /// Half precision, if it is one.
    pub(crate) fn half(self) -> Option<DType> {
        match self {
            Self::F16 => Some(DType::F16),
            Self::Bf16 => Some(DType::BF16),
            Self::F32 | Self::Q8 => None,
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
        })
    }
}

/// Sizes in the words of OPT's `config.json`.
pub(crate) fn published(config: &OptConfig) -> Value {
    json!({
        "model_type": "opt",
        "architectures": ["OPTForCausalLM"],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_length,
        "hidden_size": config.width,
        "word_embed_proj_dim": config.embed_width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "ffn_dim": config.mlp_hidden,
        "do_layer_norm_before": config.norm_first,
        "activation_function": "relu",
        "dropout": 0.1,
        "bos_token_id": config.start,
        "eos_token_id": config.end,
        "pad_token_id": config.pad,
    })
}

/// What one process does, in both languages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) work: Work,
    /// The model's folder, with its adapter in it.
    pub(crate) model: PathBuf,
    pub(crate) kept: Kept,
    /// The batch, or the prompt.
    pub(crate) ids: Vec<Vec<u32>>,
    /// New tokens.
    pub(crate) tokens: usize,
    /// Steps, or texts, whose time does not count, and those whose time counts.
    pub(crate) warmup: usize,
    pub(crate) steps: usize,
    pub(crate) rate: f64,
    pub(crate) clip: f64,
    /// Whether dropout is on.
    pub(crate) chance: bool,
    /// Where PyTorch computes: `cpu` or `cuda`.
    pub(crate) peer_device: String,
    /// Whether we compute in the half precision that weights are kept in, which is what a GPU is for. Otherwise each
    /// weight is widened for its product.
    pub(crate) in_halves: bool,
    pub(crate) threads: usize,
}

impl Spec {
    /// Type of our activations.
    fn activations(&self) -> DType {
        let half = self.in_halves.then(|| self.kept.half()).flatten();
        half.unwrap_or(DType::F32)
    }

    /// Whether our numbers are not those of the files, which hold f16, computed with in f32.
    pub(crate) fn rounds(&self) -> bool {
        matches!(self.kept, Kept::Bf16 | Kept::Q8) || self.activations() != DType::F32
    }
}

/// What a competitor says: one line of JSON on its standard output.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    /// Of each step; while decoding the negative log-likelihood of each token, all of them read at once.
    pub(crate) losses: Vec<f64>,
    /// Of the gradients of each step, before clipping.
    pub(crate) norms: Vec<f64>,
    /// What was said.
    pub(crate) tokens: Vec<u32>,
    /// Milliseconds from the prompt to the first token, of each measured text.
    pub(crate) first_ms: Vec<f64>,
    /// Milliseconds of each measured step, or later token.
    pub(crate) ms: Vec<f64>,
    /// Peak memory before the first weight was read: the program and its libraries.
    pub(crate) base_mb: Option<f64>,
    /// Peak memory at the end; on a GPU, the card's that was reserved.
    pub(crate) peak_mb: Option<f64>,
    /// Bytes a second that a copy on the peer's card reads and writes.
    pub(crate) bandwidth: Option<f64>,
}

/// Does one work.
pub(crate) fn run(spec: &Spec, device: &Device) -> Result<Answer, BoxError> {
    if spec.work.trains() {
        train(spec, &device.clone().autodiff())
    } else {
        decode(spec, device)
    }
}

fn load(spec: &Spec, device: &Device) -> Result<Opt, BoxError> {
    let text = std::fs::read_to_string(spec.model.join("config.json"))?;
    let model = OptConfig::from_published(&text)?.init(device)?;
    let checkpoint = Checkpoint::open(spec.model.join("model.safetensors"))?;
    let dtype = match spec.kept {
        Kept::F32 => DType::F32,
        Kept::F16 | Kept::Q8 => DType::F16,
        Kept::Bf16 => DType::BF16,
    };
    let (model, _) = model.load(&checkpoint, dtype)?;
    Ok(match spec.kept {
        Kept::Q8 => model.in_eight_bit()?,
        _ => model,
    })
}

/// Steps of an adapter on one batch: every token but the first is a target.
fn train(spec: &Spec, device: &Device) -> Result<Answer, BoxError> {
    let mut base = load(spec, device)?.no_grad();
    let mut adapter = Adapter::open(&spec.model.join("adapter"), &base.linears_mut(), device)?;
    let settings = adapter.config().clone();
    adapter.attach(base.linears_mut())?;
    if !spec.chance {
        for (_, linear) in base.linears_mut() {
            if let Some(branch) = &mut linear.lora {
                branch.dropout.probability = 0.0;
            }
        }
    }
    let sequences: Vec<_> = spec
        .ids
        .iter()
        .map(|ids| Sequence {
            ids: ids.clone(),
            target: 0,
        })
        .collect();
    let config = base.config();
    let batch = SequenceBatch::padded(&sequences, config.pad, config.max_length)?;
    let layout = batch.layout(device);
    adapter = Adapter::detach(base.linears_mut(), &settings).ok_or("the adapter is gone")?;
    let optimizer = AdamWConfig {
        weight_decay: 0.0,
        ..AdamWConfig::default()
    };
    let mut optimizer = optimizer.init(&adapter)?;
    let mut answer = Answer::default();
    for step in 0..spec.warmup + spec.steps {
        let begun = Instant::now();
        let mut model = base.clone();
        adapter.clone().attach(model.linears_mut())?;
        let loss = losses(&model, &batch, &layout, spec.activations()).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &adapter);
        let norm = global_norm(&adapter, &gradients).ok_or("no gradients")?;
        let gradients = clip_by_norm(&adapter, gradients, norm.clone(), spec.clip);
        drop(model);
        adapter = optimizer.step(spec.rate, adapter, gradients);
        answer.losses.push(f64::from(loss.into_scalar::<f32>()));
        answer.norms.push(f64::from(norm.into_scalar::<f32>()));
        device.sync().map_err(|error| format!("{error:?}"))?;
        if step >= spec.warmup {
            answer.ms.push(1e3 * begun.elapsed().as_secs_f64());
        }
    }
    Ok(answer)
}

/// Greedy texts after one prompt.
fn decode(spec: &Spec, device: &Device) -> Result<Answer, BoxError> {
    let model = InType {
        opt: load(spec, device)?,
        activations: spec.activations(),
    };
    let config = GenerationConfig::greedy(spec.tokens, None);
    let mut answer = Answer::default();
    for run in 0..spec.warmup + spec.steps {
        answer.tokens.clear();
        let mut begun = Instant::now();
        generate_with(&model, Prompt::Ids(spec.ids.clone()), &config, |_, id| {
            answer.tokens.push(id);
            let now = Instant::now();
            if run >= spec.warmup {
                let times = match answer.tokens.len() {
                    1 => &mut answer.first_ms,
                    _ => &mut answer.ms,
                };
                times.push(1e3 * (now - begun).as_secs_f64());
            }
            begun = now;
            true
        })?;
    }
    let said = Sequence {
        ids: [&*spec.ids[0], &*answer.tokens].concat(),
        target: spec.ids[0].len(),
    };
    let config = model.opt.config();
    let batch = SequenceBatch::padded(&[said], config.pad, config.max_length)?;
    answer.losses = losses(&model.opt, &batch, &batch.layout(device), model.activations)
        .into_data()
        .iter::<f64>()
        .collect();
    Ok(answer)
}

/// What each target costs.
fn losses(model: &Opt, batch: &SequenceBatch, layout: &Layout, activations: DType) -> Tensor<1> {
    let device = &model.device();
    let [places, targets] = batch.targets(device);
    let embeddings = model.embed(batch.ids(device)).cast(activations);
    let hidden = model.forward(embeddings, layout);
    let hidden = hidden.flatten::<2>(0, 1).select(0, places);
    log_likelihoods(model.logits(hidden.cast(DType::F32)), targets).neg()
}

/// A model whose activations have a type of their own; scores are f32.
struct InType {
    opt: Opt,
    activations: DType,
}

impl CausalLm for InType {
    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.opt.embed(ids).cast(self.activations)
    }

    fn step(
        &self,
        embeddings: Tensor<3>,
        mask: Option<Tensor<2, Int>>,
        cache: &mut KvCache,
    ) -> Tensor<2> {
        self.opt.step(embeddings, mask, cache)
    }

    fn vocabulary(&self) -> usize {
        self.opt.config().vocab_size
    }

    fn config(&self) -> &OptConfig {
        self.opt.config()
    }

    fn device(&self) -> Device {
        self.opt.device()
    }
}
