//! Stage I: the Causal Q-Former learns to say, with its last query, what the caption says
//! (SEED §2.2.1).

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use rand::RngExt;
use seed_data::{DataError, ItemContext, Loader, LoaderConfig, PairSet, TextTokenizer, TokenBatch};
use seed_tokenizer::{
    TokenEncoder, TokenEncoderConfig, concept_targets, contrast, contrast_of_best_query,
    diagonal_targets,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    FrozenRows, RecipeError,
    tensors::{stack, tokens},
};
use crate::{Losses, Recipe};

/// Which captions of a batch count as right for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positives {
    /// Its own alone: the reference, right where captions are unique.
    Own,
    /// Those of all pairs that show the same concept.
    #[default]
    Concept,
}

/// How near a picture is to a caption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// As near as its last query: SEED.
    #[default]
    LastQuery,
    /// As near as the best of its queries: BLIP-2.
    BestQuery,
}

/// Image tokens with captions.
#[derive(Debug)]
pub struct StageOneBatch {
    /// Frozen image tokens, each `[1 + patches, width]`.
    pub image_tokens: Vec<Vec<f32>>,
    /// Captions.
    pub captions: TokenBatch,
    /// What each pair shows.
    pub concepts: Vec<usize>,
}

/// Stage I: image-text contrast.
#[derive(Debug, Clone)]
pub struct StageOne {
    /// The model's sizes.
    pub tokens: TokenEncoderConfig,
    /// Shape of one picture's image tokens.
    pub image_tokens: [usize; 2],
    /// Identifies the frozen part and the data.
    pub inputs: String,
    /// Which captions count as right.
    pub positives: Positives,
    /// How near a picture is to a caption.
    pub similarity: Similarity,
    /// Label smoothing of the contrast.
    pub label_smoothing: f64,
    /// Where tensors are made: the training device.
    pub device: Device,
}

impl Recipe for StageOne {
    type Model = TokenEncoder;
    type Batch = StageOneBatch;

    fn name(&self) -> &'static str {
        "stage-1"
    }

    fn config(&self) -> Value {
        json!({
            "tokens": self.tokens,
            "inputs": self.inputs,
            "positives": self.positives,
            "similarity": self.similarity,
            "label_smoothing": self.label_smoothing,
        })
    }

    fn loss(&self, model: &TokenEncoder, batch: StageOneBatch) -> Losses {
        let count = batch.concepts.len();
        let [tokens_per_image, width] = self.image_tokens;
        let image_tokens: Tensor<3> = stack(
            batch.image_tokens,
            [count, tokens_per_image, width],
            &self.device,
        );
        let (ids, mask) = tokens(batch.captions, &self.device);
        let targets = match self.positives {
            Positives::Own => diagonal_targets(count, &self.device),
            Positives::Concept => concept_targets(&batch.concepts, &self.device),
        };
        let embeddings = model.forward(image_tokens);
        let (texts, temperature) = (model.text_feature(ids, mask), model.temperature());
        let smoothing = self.label_smoothing;
        let contrast = match self.similarity {
            Similarity::LastQuery => {
                let images = model.image_feature(embeddings);
                contrast(images, texts, temperature, targets, smoothing)
            }
            Similarity::BestQuery => {
                let images = model.query_features(embeddings);
                contrast_of_best_query(images, texts, temperature, targets, smoothing)
            }
        };
        Losses::new(contrast.loss.clone())
            .with("itc", contrast.loss)
            .with("accuracy", contrast.accuracy)
            .with("temperature", model.temperature())
    }
}

/// One pair of stage I as the loader makes it: image tokens, caption, concept.
pub type StageOneItem = (Vec<f32>, String, usize);

/// A loader that draws a view and a caption of each pair.
pub fn stage_one_loader(
    set: &Arc<dyn PairSet>,
    image_tokens: &FrozenRows,
    config: LoaderConfig,
) -> Result<Loader<StageOneItem, DataError>, RecipeError> {
    let (set, rows) = (Arc::clone(set), image_tokens.clone());
    let len = set.len() as u32;
    let make = move |item: ItemContext| -> Result<StageOneItem, DataError> {
        let (index, mut rng) = (item.index as usize, item.rng);
        let view = rng.random_range(0..rows.views);
        let captions = set.captions(index);
        let caption = captions[rng.random_range(0..captions.len())].clone();
        Ok((rows.read(view, index)?, caption, set.concept(index)))
    };
    Ok(Loader::new(len, config, make)?)
}

/// Joins the loader's items into a batch.
pub fn stage_one_batch(
    items: Vec<StageOneItem>,
    tokenizer: &TextTokenizer,
    text_length: usize,
) -> Result<StageOneBatch, DataError> {
    let captions: Vec<&str> = items
        .iter()
        .map(|(_, caption, _)| caption.as_str())
        .collect();
    let captions = tokenizer.encode_batch(&captions, text_length)?;
    let concepts = items.iter().map(|(_, _, concept)| *concept).collect();
    let image_tokens = items.into_iter().map(|(tokens, _, _)| tokens).collect();
    Ok(StageOneBatch {
        image_tokens,
        captions,
        concepts,
    })
}
