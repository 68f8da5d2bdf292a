//! Stage II: embeddings become codes, and codes become what was frozen (SEED §2.2.2).

use std::sync::Mutex;

use burn::{
    module::ParamId,
    tensor::{Device, Tensor},
};
use rand::RngExt;
use seed_data::{DataError, ItemContext, Loader, LoaderConfig};
use seed_tokenizer::{
    AfterStep, CodeAutoencoder, CodeAutoencoderConfig, StageTwoTargets, StageTwoWeights,
};
use seed_train::{Losses, Recipe, ReplacedRows, Updated};
use serde_json::{Value, json};

use crate::{
    error::RecipeError,
    frozen::{FrozenRows, TextRows},
    tensors::stack,
};

/// Rows that stage II reads: embeddings, and what is to be rebuilt from their codes beside them.
#[derive(Clone)]
pub struct StageTwoRows {
    /// Frozen embeddings, causal ones if the encoder is.
    pub embeddings: FrozenRows,
    /// Text states of the captions, with a text head (SEED v1).
    pub texts: Option<TextRows>,
    /// Image embeddings, with an image head (SEED v2).
    pub images: Option<FrozenRows>,
}

impl StageTwoRows {
    /// Sizes of the targets.
    pub fn shapes(&self) -> StageTwoShapes {
        StageTwoShapes {
            text: self.texts.as_ref().map(TextRows::shape),
            image: self.images.as_ref().map(|rows| rows.shape[1]),
        }
    }

    /// Hashes of all that the rows depend on.
    pub fn identity(&self) -> Value {
        json!({
            "embeddings": self.embeddings.identity,
            "texts": self.texts.as_ref().map(TextRows::identity),
            "images": self.images.as_ref().map(|rows| &rows.identity),
        })
    }
}

/// Sizes of what is to be rebuilt beside the embeddings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageTwoShapes {
    /// Positions and width of one picture's text target.
    pub text: Option<[usize; 2]>,
    /// Width of one picture's image target.
    pub image: Option<usize>,
}

/// Embeddings with what is to be rebuilt from their codes.
#[derive(Debug)]
pub struct StageTwoBatch {
    /// Frozen embeddings, each `[positions, width]`.
    pub embeddings: Vec<Vec<f32>>,
    /// Frozen text states of the captions, each `[length, width]`; empty without a text head.
    pub text_states: Vec<Vec<f32>>,
    /// Frozen image embeddings, each `[width]`; empty without an image head.
    pub image_embeddings: Vec<Vec<f32>>,
}

/// Stage II: quantisation, reconstruction, distillation.
#[derive(Debug)]
pub struct StageTwo {
    /// The model's sizes.
    pub codes: CodeAutoencoderConfig,
    /// Sizes of the targets.
    pub shapes: StageTwoShapes,
    /// Everything beside the step loop that decides what is computed.
    pub identity: Value,
    /// Weights of the terms.
    pub weights: StageTwoWeights,
    /// Where tensors are made: the training device.
    pub device: Device,
    /// Vectors quantised since the last optimiser step, for the codebook's own updates.
    quantised: Mutex<Vec<Tensor<3>>>,
}

impl StageTwo {
    /// A recipe that has seen no batch yet.
    pub fn new(
        codes: CodeAutoencoderConfig,
        shapes: StageTwoShapes,
        identity: Value,
        weights: StageTwoWeights,
        device: Device,
    ) -> Self {
        Self {
            codes,
            shapes,
            identity,
            weights,
            device,
            quantised: Mutex::default(),
        }
    }
}

impl Recipe for StageTwo {
    type Model = CodeAutoencoder;
    type Batch = StageTwoBatch;

    fn name(&self) -> &'static str {
        "stage-2"
    }

    fn config(&self) -> Value {
        self.identity.clone()
    }

    fn loss(&self, model: &CodeAutoencoder, batch: StageTwoBatch) -> Losses {
        let count = batch.embeddings.len();
        let shape = [count, self.codes.positions, self.codes.width];
        let embeddings = stack(batch.embeddings, shape, &self.device);
        let text = self
            .shapes
            .text
            .map(|[length, width]| stack(batch.text_states, [count, length, width], &self.device));
        let image = self
            .shapes
            .image
            .map(|width| stack(batch.image_embeddings, [count, width], &self.device));
        let targets = StageTwoTargets { text, image };
        let found = model.losses(embeddings, targets, &self.weights);
        if model.quantize.needs_after_step() {
            let vectors = found.vectors.inner();
            self.quantised
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(vectors);
        }
        let used = distinct_share(found.quantized.codes, self.codes.quantizer.codes);
        let mut losses = Losses::new(found.total)
            .with("quantization", found.quantization)
            .with("reconstruction", found.reconstruction)
            .with("codes_used", used);
        if let Some(text) = found.text {
            losses = losses.with("text", text);
        }
        if let Some(image) = found.image {
            losses = losses.with("image", image);
        }
        losses
    }

    fn replaced_parameters(&self, model: &CodeAutoencoder) -> Vec<ParamId> {
        vec![model.quantize.embedding.weight.id]
    }

    fn after_update(&self, mut model: CodeAutoencoder, step: u64) -> Updated<CodeAutoencoder> {
        let mut quantised = self
            .quantised
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let vectors = std::mem::take(&mut *quantised);
        if vectors.is_empty() {
            return Updated::new(model);
        }
        // Steps are counted from 1 here, from 0 in the quantiser.
        let step = step.saturating_sub(1) as usize;
        let AfterStep {
            quantizer,
            replaced,
        } = model.quantize.after_step(Tensor::cat(vectors, 0), step);
        let parameter = quantizer.embedding.weight.id;
        model.quantize = quantizer;
        let replaced = replaced.map(|rows| ReplacedRows { parameter, rows });
        Updated {
            model,
            replaced: replaced.into_iter().collect(),
        }
    }
}

/// Share of the codebook that a batch uses, `[1]`.
fn distinct_share(codes: Tensor<2, burn::tensor::Int>, size: usize) -> Tensor<1> {
    let codes = codes.flatten::<1>(0, 1);
    let ones = Tensor::<1>::ones([codes.dims()[0]], &codes.device());
    let counts = Tensor::<1>::zeros([size], &codes.device()).select_assign(
        0,
        codes,
        ones,
        burn::tensor::IndexingUpdateOp::Add,
    );
    counts.greater_elem(0.0).float().mean()
}

/// One pair of stage II as the loader makes it: embeddings, and text states and image embedding or nothing.
pub type StageTwoItem = (Vec<f32>, Vec<f32>, Vec<f32>);

/// A loader that draws a view of each pair, and one of its captions where it has several.
///
/// # Errors
///
/// [`RecipeError::Loader`].
pub fn stage_two_loader(
    rows: &StageTwoRows,
    config: LoaderConfig,
) -> Result<Loader<StageTwoItem, DataError>, RecipeError> {
    let rows = rows.clone();
    let len = rows.embeddings.pictures as u32;
    let make = move |item: ItemContext| -> Result<StageTwoItem, DataError> {
        let (index, mut rng) = (item.index as usize, item.rng);
        let view = rng.random_range(0..rows.embeddings.views);
        let text = match &rows.texts {
            Some(texts) => {
                let caption = match texts.captions(index) {
                    1 => 0,
                    several => rng.random_range(0..several),
                };
                texts.read(index, caption)?
            }
            None => Vec::new(),
        };
        let image = match &rows.images {
            Some(images) => images.read(view, index)?,
            None => Vec::new(),
        };
        Ok((rows.embeddings.read(view, index)?, text, image))
    };
    Ok(Loader::new(len, config, make)?)
}

/// Joins the loader's items into a batch.
pub fn stage_two_batch(items: Vec<StageTwoItem>) -> StageTwoBatch {
    let mut batch = StageTwoBatch {
        embeddings: Vec::with_capacity(items.len()),
        text_states: Vec::with_capacity(items.len()),
        image_embeddings: Vec::with_capacity(items.len()),
    };
    for (embeddings, text, image) in items {
        batch.embeddings.push(embeddings);
        batch.text_states.push(text);
        batch.image_embeddings.push(image);
    }
    batch
}
