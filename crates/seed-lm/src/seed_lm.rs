//! OPT with a visual vocabulary: one model of words and codes.

use burn::{
    module::Module,
    tensor::{DType, Device, Int, Tensor, activation::log_softmax},
};
use seed_nn::{ConfigError, product};
use seed_weights::KeyMap;
use serde::{Deserialize, Serialize};

use crate::{
    KvCache, Layout, LmError, Opt, OptConfig, VisualIds, VisualVocabulary, VisualVocabularyConfig,
};

/// Sizes of a [`SeedLm`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedLmConfig {
    /// The language model.
    pub opt: OptConfig,
    /// What its vocabulary grows by.
    pub visual: VisualVocabularyConfig,
}

impl SeedLmConfig {
    /// Where words and codes have their ids.
    pub fn ids(&self) -> VisualIds {
        VisualIds {
            words: self.opt.vocab_size,
            codes: self.visual.codes,
            per_image: self.visual.per_image,
        }
    }

    /// Checks both parts.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.opt.validate()?;
        self.visual.validate()
    }

    /// Joins a language model and a new visual vocabulary.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self, opt: Opt, device: &Device) -> Result<SeedLm, ConfigError> {
        self.validate()?;
        let vocabulary = self.visual.init(self.opt.embed_width, device)?;
        Ok(SeedLm::new(opt, vocabulary, self.ids()))
    }
}

/// Keys of the visual vocabulary in its own file.
pub fn visual_vocabulary_keys() -> KeyMap {
    KeyMap::identity()
}

/// A language model that reads and writes codes.
#[derive(Module, Debug)]
pub struct SeedLm {
    /// The language model.
    pub opt: Opt,
    /// Codes, `IMG`, `/IMG`.
    pub vocabulary: VisualVocabulary,
    #[module(skip)]
    ids: VisualIds,
}

impl SeedLm {
    /// Joins a language model, with or without an adapter, and a visual vocabulary.
    pub fn new(opt: Opt, vocabulary: VisualVocabulary, ids: VisualIds) -> Self {
        Self {
            opt,
            vocabulary,
            ids,
        }
    }

    /// Where words and codes have their ids.
    pub fn ids(&self) -> VisualIds {
        self.ids
    }

    /// Embeddings of words, codes and marks.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, length]`, each below [`VisualIds::size`]
    /// - output: `[batch, length, width]`
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let words = self.ids.words as i64;
        let visual = ids.clone().greater_equal_elem(words);
        let text = self.opt.embed(ids.clone().mask_fill(visual.clone(), 0));
        let codes = self.vocabulary.embed((ids - words).clamp_min(0));
        let [batch, length, width] = text.dims();
        let visual = visual
            .reshape([batch, length, 1])
            .expand([batch, length, width]);
        text.mask_where(visual, codes)
    }

    /// Scores of words, codes and marks.
    ///
    /// # Shapes
    ///
    /// - hidden: `[rows, width]`
    /// - output: `[rows, VisualIds::size]`
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let visual = product(hidden.clone(), self.vocabulary.head().transpose());
        Tensor::cat(vec![self.opt.logits(hidden), visual], 1)
    }

    /// Log-probabilities of the targets, `[targets]`.
    ///
    /// The head runs at the targets alone, in f32.
    ///
    /// # Shapes
    ///
    /// - embeddings: `[batch, length, width]`, in the type that the language model is to compute in
    /// - places: `[targets]`, row-major indices into `[batch, length]` of the tokens that predict
    /// - targets: `[targets]`, what comes after them
    pub fn log_likelihoods(
        &self,
        embeddings: Tensor<3>,
        layout: &Layout,
        places: Tensor<1, Int>,
        targets: Tensor<1, Int>,
    ) -> Tensor<1> {
        let hidden = self.opt.forward(embeddings, layout);
        let [batch, length, width] = hidden.dims();
        let hidden = hidden.reshape([batch * length, width]).select(0, places);
        log_likelihoods(self.logits(hidden.cast(DType::F32)), targets)
    }
}

/// Log-probabilities of one target a row.
///
/// # Shapes
///
/// - logits: `[rows, vocabulary]`
/// - targets, output: `[rows]`
pub fn log_likelihoods(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    log_softmax(logits, 1)
        .gather(1, targets.unsqueeze_dim(1))
        .squeeze_dim(1)
}

/// What generation needs of a language model.
pub trait CausalLm {
    /// Embeddings of ids `[batch, length]` → `[batch, length, width]`.
    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3>;

    /// Reads new tokens, in the type of their embeddings, and gives the scores after the last in f32: `[batch, vocabulary]`.
    fn step(
        &self,
        embeddings: Tensor<3>,
        mask: Option<Tensor<2, Int>>,
        cache: &mut KvCache,
    ) -> Tensor<2>;

    /// The language model's sizes.
    fn config(&self) -> &OptConfig;

    /// Number of ids.
    fn vocabulary(&self) -> usize;

    /// Where it computes.
    fn device(&self) -> Device;

    /// An empty cache.
    ///
    /// # Errors
    ///
    /// [`LmError::TooLong`].
    fn cache(&self, batch: usize, capacity: usize) -> Result<KvCache, LmError> {
        KvCache::new(self.config(), batch, capacity, &self.device())
    }
}

impl CausalLm for Opt {
    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        Opt::embed(self, ids)
    }

    fn step(
        &self,
        embeddings: Tensor<3>,
        mask: Option<Tensor<2, Int>>,
        cache: &mut KvCache,
    ) -> Tensor<2> {
        self.logits(last(self.forward_cached(embeddings, mask, cache)))
    }

    fn config(&self) -> &OptConfig {
        Opt::config(self)
    }

    fn vocabulary(&self) -> usize {
        self.config.vocab_size
    }

    fn device(&self) -> Device {
        Opt::device(self)
    }
}

impl CausalLm for SeedLm {
    fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        SeedLm::embed(self, ids)
    }

    fn step(
        &self,
        embeddings: Tensor<3>,
        mask: Option<Tensor<2, Int>>,
        cache: &mut KvCache,
    ) -> Tensor<2> {
        self.logits(last(self.opt.forward_cached(embeddings, mask, cache)))
    }

    fn config(&self) -> &OptConfig {
        self.opt.config()
    }

    fn vocabulary(&self) -> usize {
        self.ids.size()
    }

    fn device(&self) -> Device {
        self.opt.device()
    }
}

/// `[batch, length, width]` → the last position's `[batch, width]`, in f32, which the head computes in.
fn last(hidden: Tensor<3>) -> Tensor<2> {
    let length = hidden.dims()[1];
    let last: Tensor<2> = hidden.narrow(1, length - 1, 1).squeeze_dim(1);
    last.cast(DType::F32)
}
