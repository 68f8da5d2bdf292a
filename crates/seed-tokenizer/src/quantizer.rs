//! The vector quantiser: each embedding, projected, becomes the index of its nearest code.
//!
//! - paper: SEED §2.2.2; VQ-VAE, <https://arxiv.org/abs/1711.00937>
//! - original code: `VectorQuantizer2` in `quantize_semantic.py` of the SEED repository
//!
//! The default is the reference: plain squared L2, a codebook moved by gradients, and the `legacy`
//! loss that puts β on the codebook term. What the reference lacks, and collapse calls for, is
//! here as options: the corrected loss, cosine distance, exponential moving averages, a codebook
//! drawn from the first batch, and revival of dead codes.

use burn::{
    module::{Initializer, Module, Param},
    nn::{Embedding, EmbeddingConfig},
    tensor::{Bool, Device, Distribution, Int, Tensor},
};
use seed_nn::{ConfigError, l2_normalize, limits};
use serde::{Deserialize, Serialize};

/// What "nearest" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeDistance {
    /// Squared Euclidean distance: SEED.
    #[default]
    L2,
    /// Vectors and codes are scaled to unit length first.
    Cosine,
}

/// How the codebook learns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodebookUpdate {
    /// By gradient, with `commitment + β·codebook` as the loss: the reference, where the weight
    /// that is meant for the commitment sits on the other term.
    Legacy,
    /// By gradient, with `codebook + β·commitment`, as VQ-VAE has it.
    Corrected,
    /// By exponential moving average of the vectors that chose a code (VQ-VAE, appendix A.1); the loss is
    /// `β·commitment`.
    Ema {
        /// Share of the old average kept at each step.
        decay: f64,
    },
}

/// Where the codes start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodebookInit {
    /// Uniform in ±1/codes: the reference.
    #[default]
    Uniform,
    /// Vectors of the first training batch, drawn at random.
    FirstBatch,
}

/// Moves codes that nothing uses onto vectors of the current batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revival {
    /// Steps between two revivals.
    pub every: usize,
    /// A code is dead if its running count of vectors a step falls below this.
    pub threshold: f64,
    /// Share of the old running count kept at each step.
    pub decay: f64,
}

/// Sizes and options of a [`VectorQuantizer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantizerConfig {
    /// Number of codes (8192 in SEED).
    pub codes: usize,
    /// Width of a code (32 in SEED).
    pub dim: usize,
    /// β (0.25 in SEED).
    pub beta: f64,
    /// What "nearest" means.
    pub distance: CodeDistance,
    /// How the codebook learns.
    pub update: CodebookUpdate,
    /// Where the codes start.
    pub init: CodebookInit,
    /// Revival of dead codes, off in the reference.
    pub revival: Option<Revival>,
}

impl QuantizerConfig {
    /// The reference's quantiser.
    pub fn reference(codes: usize, dim: usize) -> Self {
        Self {
            codes,
            dim,
            beta: 0.25,
            distance: CodeDistance::L2,
            update: CodebookUpdate::Legacy,
            init: CodebookInit::Uniform,
            revival: None,
        }
    }

    /// Checks that the numbers make sense and are within their limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "quantiser";
        ConfigError::check(self.codes > 1, part, "codes", self.codes, "at least 2")?;
        ConfigError::check_size(part, "codes", self.codes, limits::ROWS)?;
        ConfigError::check_size(part, "dim", self.dim, limits::WIDTH)?;
        let not_negative = |name, value: f64| {
            let sound = value.is_finite() && value >= 0.0;
            ConfigError::check(sound, part, name, value, "at least 0")
        };
        not_negative("beta", self.beta)?;
        if let CodebookUpdate::Ema { decay } = self.update {
            ConfigError::check_share(part, "decay", decay)?;
        }
        if let Some(revival) = &self.revival {
            ConfigError::check_share(part, "revival.decay", revival.decay)?;
            not_negative("revival.threshold", revival.threshold)?;
            ConfigError::check(revival.every > 0, part, "revival.every", 0, "positive")?;
        }
        Ok(())
    }

    /// Initialises the codebook on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the numbers make no sense.
    pub fn init(&self, device: &Device) -> Result<VectorQuantizer, ConfigError> {
        self.validate()?;
        let bound = 1.0 / self.codes as f64;
        let uniform = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        let ema = matches!(self.update, CodebookUpdate::Ema { .. });
        let counts = ema || self.revival.is_some();
        let mut embedding = EmbeddingConfig::new(self.codes, self.dim)
            .with_initializer(uniform)
            .init(device);
        if ema {
            embedding.weight = embedding.weight.set_require_grad(false);
        }
        Ok(VectorQuantizer {
            embedding,
            running_counts: counts.then(|| {
                let ones = Initializer::Ones.init([self.codes, 1], device);
                ones.set_require_grad(false)
            }),
            config: self.clone(),
        })
    }
}

/// A codebook and the rules by which vectors meet it.
#[derive(Module, Debug)]
pub struct VectorQuantizer {
    /// The codebook `[codes, dim]`.
    pub embedding: Embedding,
    /// Running number of vectors a code gets in a step `[codes, 1]`, where an option needs it; at first 1.
    pub running_counts: Option<Param<Tensor<2>>>,
    #[module(skip)]
    config: QuantizerConfig,
}

/// What the quantiser makes of a batch of vectors.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// Index of the nearest code, `[batch, positions]`.
    pub codes: Tensor<2, Int>,
    /// The code itself, `[batch, positions, dim]`; its gradient goes straight through to the vectors.
    pub vectors: Tensor<3>,
    /// Loss of codebook and commitment, `[1]`.
    pub loss: Tensor<1>,
}

/// What a step leaves behind.
#[derive(Debug, Clone)]
pub struct AfterStep {
    /// The quantiser.
    pub quantizer: VectorQuantizer,
    /// Which codes were put elsewhere `[codes, 1]`, without autodiff: what an optimiser remembers of these rows is of other
    /// codes. None in a step that replaces none.
    pub replaced: Option<Tensor<2, Bool>>,
}

impl VectorQuantizer {
    /// Quantises a batch.
    ///
    /// # Shapes
    ///
    /// - vectors: `[batch, positions, dim]`
    pub fn forward(&self, vectors: Tensor<3>) -> Quantized {
        let vectors = self.prepare(vectors);
        let codes = self.nearest(vectors.clone());
        let chosen = self.lookup(codes.clone());
        let commitment = || mean_square(chosen.clone().detach() - vectors.clone());
        let codebook = || mean_square(chosen.clone() - vectors.clone().detach());
        let beta = self.config.beta;
        let loss = match self.config.update {
            CodebookUpdate::Legacy => commitment() + codebook().mul_scalar(beta),
            CodebookUpdate::Corrected => codebook() + commitment().mul_scalar(beta),
            CodebookUpdate::Ema { .. } => commitment().mul_scalar(beta),
        };
        let straight_through = vectors.clone() + (chosen - vectors).detach();
        Quantized {
            codes,
            vectors: straight_through,
            loss,
        }
    }

    /// Index of the nearest code of each vector, `[batch, positions]`.
    ///
    /// # Shapes
    ///
    /// - vectors: `[batch, positions, dim]`
    pub fn nearest(&self, vectors: Tensor<3>) -> Tensor<2, Int> {
        let [batch, positions, dim] = vectors.dims();
        // Indices carry no gradient: leave autodiff, so that no graph is built for the distances.
        let vectors = vectors.inner().reshape([batch * positions, dim]);
        let codebook = self.codebook().inner();
        // ‖z‖² is the same for every code and cannot change which is nearest; by the same argument
        // the length of z cannot either once the codes have unit length.
        let code_norms = codebook.clone().square().sum_dim(1).transpose();
        let distances = code_norms - vectors.matmul(codebook.transpose()).mul_scalar(2.0);
        distances.argmin(1).reshape([batch, positions])
    }

    /// Rows of the codebook.
    ///
    /// # Shapes
    ///
    /// - codes: `[batch, positions]`, each below the number of codes
    /// - output: `[batch, positions, dim]`
    pub fn lookup(&self, codes: Tensor<2, Int>) -> Tensor<3> {
        let [batch, positions] = codes.dims();
        let rows = self
            .codebook()
            .select(0, codes.reshape([batch * positions]));
        let dim = rows.dims()[1];
        rows.reshape([batch, positions, dim])
    }

    /// The codebook as distances see it, `[codes, dim]`.
    pub fn codebook(&self) -> Tensor<2> {
        let weight = self.embedding.weight.val();
        match self.config.distance {
            CodeDistance::L2 => weight,
            CodeDistance::Cosine => l2_normalize(weight),
        }
    }

    /// Whether [`Self::after_step`] has anything to do.
    pub fn needs_after_step(&self) -> bool {
        self.running_counts.is_some() || self.config.init == CodebookInit::FirstBatch
    }

    /// What happens to the codebook after an optimiser step: the moving average, revival of dead
    /// codes and, at step 0, the draw from the first batch.
    ///
    /// # Shapes
    ///
    /// - vectors: `[batch, positions, dim]`, what was quantised in the step
    pub fn after_step(mut self, vectors: Tensor<3>, step: usize) -> AfterStep {
        let [batch, positions, dim] = vectors.dims();
        let vectors = self.prepare(vectors.inner());
        let flat = vectors.clone().reshape([batch * positions, dim]);
        if step == 0 && self.config.init == CodebookInit::FirstBatch {
            let all = Tensor::<2>::ones([self.config.codes, 1], &flat.device());
            return self.replace_codes(all.bool(), &flat);
        }
        let Some(counts) = self.running_counts.take() else {
            return AfterStep {
                quantizer: self,
                replaced: None,
            };
        };
        let codes = self.nearest(vectors).reshape([batch * positions]);
        let ones = Tensor::<2>::ones([batch * positions, 1], &flat.device());
        let chosen = sum_by_code(ones, codes.clone(), self.config.codes);
        let decay = match (self.config.update, &self.config.revival) {
            (CodebookUpdate::Ema { decay }, _) => decay,
            (_, Some(revival)) => revival.decay,
            (_, None) => 0.0,
        };
        let fresh = chosen.clone().mul_scalar(1.0 - decay);
        let running = counts.val().inner().mul_scalar(decay) + fresh.clone();
        if let CodebookUpdate::Ema { .. } = self.config.update {
            let sums = sum_by_code(flat.clone(), codes, self.config.codes);
            self.move_codes(sums, chosen, fresh / running.clone());
        }
        let dead = self
            .config
            .revival
            .filter(|revival| (step + 1).is_multiple_of(revival.every))
            .map(|revival| running.clone().lower_elem(revival.threshold));
        self.running_counts = Some(set(counts, running));
        match dead {
            Some(dead) => self.replace_codes(dead, &flat),
            None => AfterStep {
                quantizer: self,
                replaced: None,
            },
        }
    }

    /// Moves each chosen code towards the mean of the vectors that chose it, as far as is their `share` in its running count.
    ///
    /// VQ-VAE keeps running sums `m ← γ·m + (1 − γ)·Σz` beside the counts `N ← γ·N + (1 − γ)·n`, and a code is `m / N`. Where
    /// `m = N·code` holds before a step, this gives the same code after it. So the sums need not be kept, cannot disagree
    /// with the counts, and a code that nothing chooses is not touched, however small its count.
    fn move_codes(&mut self, sums: Tensor<2>, chosen: Tensor<2>, share: Tensor<2>) {
        let codebook = self.embedding.weight.val().inner();
        let means = sums / chosen.clone().clamp_min(1.0);
        let moved = codebook.clone() + (means - codebook.clone()) * share;
        let rows = chosen.greater_elem(0.0).expand(codebook.dims());
        let codebook = codebook.mask_where(rows, moved);
        self.embedding.weight = set(self.embedding.weight.clone(), codebook);
    }

    /// Puts vectors of the batch, drawn at random, in the place of the marked codes.
    fn replace_codes(mut self, marked: Tensor<2, Bool>, flat: &Tensor<2>) -> AfterStep {
        let [candidates, dim] = flat.dims();
        let codes = self.config.codes;
        let draw = Distribution::Uniform(0.0, candidates as f64);
        let picks = Tensor::<1>::random([codes], draw, &flat.device()).int();
        let picks = picks.clamp(0, candidates as i64 - 1);
        let fresh = flat.clone().select(0, picks);
        let rows = marked.clone().expand([codes, dim]);
        let codebook = self.embedding.weight.val().inner().mask_where(rows, fresh);
        self.embedding.weight = set(self.embedding.weight, codebook);
        if let Some(counts) = self.running_counts.take() {
            let values = counts.val().inner();
            let ones = Tensor::ones_like(&values);
            let values = values.mask_where(marked.clone(), ones);
            self.running_counts = Some(set(counts, values));
        }
        AfterStep {
            quantizer: self,
            replaced: Some(marked),
        }
    }

    fn prepare(&self, vectors: Tensor<3>) -> Tensor<3> {
        match self.config.distance {
            CodeDistance::L2 => vectors,
            CodeDistance::Cosine => l2_normalize(vectors),
        }
    }
}

/// Gives a parameter a new value; it keeps its id, its device and whether it is trained.
fn set(param: Param<Tensor<2>>, value: Tensor<2>) -> Param<Tensor<2>> {
    let id = param.id;
    let value = if param.val().is_autodiff() {
        value.autodiff()
    } else {
        value
    };
    param.transform_for_load(value, id)
}

fn sum_by_code(values: Tensor<2>, codes: Tensor<1, Int>, count: usize) -> Tensor<2> {
    let width = values.dims()[1];
    Tensor::zeros([count, width], &values.device()).select_assign(
        0,
        codes,
        values,
        burn::tensor::IndexingUpdateOp::Add,
    )
}

fn mean_square(x: Tensor<3>) -> Tensor<1> {
    x.square().mean()
}
