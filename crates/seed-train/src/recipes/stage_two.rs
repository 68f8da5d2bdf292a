//! Stage II: causal embeddings become codes, and codes become what was frozen (SEED §2.2.2).

use std::sync::Mutex;

use burn::tensor::{Device, Tensor};
use rand::RngExt;
use seed_data::{DataError, ItemContext, Loader, LoaderConfig};
use seed_tokenizer::{CodeAutoencoder, CodeAutoencoderConfig, StageTwoTargets, StageTwoWeights};
use serde_json::{Value, json};

use super::{FrozenRows, RecipeError, tensors::stack};
use crate::{Losses, Recipe};

/// Causal embeddings with what is to be rebuilt from their codes.
#[derive(Debug)]
pub struct StageTwoBatch {
    /// Frozen causal embeddings, each `[positions, width]`.
    pub embeddings: Vec<Vec<f32>>,
    /// Frozen text states of the captions, each `[length, width]`; empty without a text head.
    pub text_states: Vec<Vec<f32>>,
}

/// Stage II: quantisation, reconstruction, distillation.
#[derive(Debug)]
pub struct StageTwo {
    /// The model's sizes.
    pub codes: CodeAutoencoderConfig,
    /// Shape of one picture's text target.
    pub text_states: Option<[usize; 2]>,
    /// Identifies the frozen part and the data.
    pub inputs: String,
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
        text_states: Option<[usize; 2]>,
        inputs: String,
        weights: StageTwoWeights,
        device: Device,
    ) -> Self {
        Self {
            codes,
            text_states,
            inputs,
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
        json!({ "codes": self.codes, "inputs": self.inputs, "weights": self.weights })
    }

    fn loss(&self, model: &CodeAutoencoder, batch: StageTwoBatch) -> Losses {
        let count = batch.embeddings.len();
        let shape = [count, self.codes.positions, self.codes.width];
        let embeddings = stack(batch.embeddings, shape, &self.device);
        let text = self
            .text_states
            .map(|[length, width]| stack(batch.text_states, [count, length, width], &self.device));
        let targets = StageTwoTargets { text, image: None };
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
        losses
    }

    fn after_update(&self, mut model: CodeAutoencoder, step: u64) -> CodeAutoencoder {
        let mut quantised = self
            .quantised
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let vectors = std::mem::take(&mut *quantised);
        if !vectors.is_empty() {
            // Steps are counted from 1 here, from 0 in the quantiser.
            let step = step.saturating_sub(1) as usize;
            model.quantize = model.quantize.after_step(Tensor::cat(vectors, 0), step);
        }
        model
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

/// One pair of stage II as the loader makes it: causal embeddings, and the text states or nothing.
pub type StageTwoItem = (Vec<f32>, Vec<f32>);

/// A loader that draws a view of each pair: causal embeddings and text states.
pub fn stage_two_loader(
    embeddings: &FrozenRows,
    text_states: Option<&FrozenRows>,
    config: LoaderConfig,
) -> Result<Loader<StageTwoItem, DataError>, RecipeError> {
    let (embeddings, text_states) = (embeddings.clone(), text_states.cloned());
    let len = embeddings.pictures as u32;
    let make = move |item: ItemContext| -> Result<StageTwoItem, DataError> {
        let (index, mut rng) = (item.index as usize, item.rng);
        let view = rng.random_range(0..embeddings.views);
        let text = match &text_states {
            Some(rows) => rows.read(0, index)?,
            None => Vec::new(),
        };
        Ok((embeddings.read(view, index)?, text))
    };
    Ok(Loader::new(len, config, make)?)
}

/// Joins the loader's items into a batch.
pub fn stage_two_batch(items: Vec<StageTwoItem>) -> StageTwoBatch {
    let (embeddings, text_states) = items.into_iter().unzip();
    StageTwoBatch {
        embeddings,
        text_states,
    }
}
