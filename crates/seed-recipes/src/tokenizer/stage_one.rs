//! Stage I: the Causal Q-Former learns to say, with its last query, what the caption says
//! (SEED §2.2.1).

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::RngExt;
use seed_data::{DataError, ItemContext, Loader, LoaderConfig, PairSet, TextTokenizer, TokenBatch};
use seed_tokenizer::{
    TokenEncoder, captioning_loss, concept_targets, contrast, contrast_of_best_query,
    diagonal_targets,
};
use seed_train::{Losses, Recipe};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    captions::vary_caption,
    error::RecipeError,
    frozen::FrozenRows,
    tensors::{stack, tokens},
};

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

/// BLIP-2's captioning beside the contrast: the text side is to produce each caption from all queries, so that
/// they do not all say the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Captioning {
    /// Weight of its loss beside the contrast's 1.
    pub weight: f64,
    /// Id that a caption begins with instead of its start token.
    pub decode: u32,
}

impl Captioning {
    /// `[DEC]` begins captions if the vocabulary has it, else the start token does.
    pub fn new(weight: f64, tokenizer: &TextTokenizer) -> Self {
        let special = tokenizer.special();
        let decode = special.decode.unwrap_or(special.start);
        Self { weight, decode }
    }
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

/// Stage I: image-text contrast, and captioning if asked for.
#[derive(Debug, Clone)]
pub struct StageOne {
    /// Shape of one picture's image tokens.
    pub image_tokens: [usize; 2],
    /// Everything beside the step loop that decides what is computed.
    pub identity: Value,
    /// Which captions count as right.
    pub positives: Positives,
    /// How near a picture is to a caption.
    pub similarity: Similarity,
    /// Captioning beside the contrast; none in SEED. The model needs a language head.
    pub captioning: Option<Captioning>,
    /// Label smoothing of both.
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
        self.identity.clone()
    }

    fn loss(&self, model: &TokenEncoder, batch: StageOneBatch) -> Losses {
        let count = batch.concepts.len();
        let [tokens_per_image, width] = self.image_tokens;
        let image_tokens: Tensor<3> = stack(
            batch.image_tokens,
            [count, tokens_per_image, width],
            &self.device,
        );
        let captioning = self
            .captioning
            .map(|captioning| (captioning, NextWords::of(&batch.captions)));
        let (ids, mask) = tokens(batch.captions, &self.device);
        let targets = match self.positives {
            Positives::Own => diagonal_targets(count, &self.device),
            Positives::Concept => concept_targets(&batch.concepts, &self.device),
        };
        let (embeddings, captioning) = match captioning {
            None => (model.forward(image_tokens), None),
            Some((Captioning { weight, decode }, next)) => {
                let first = Tensor::full([count, 1], decode, &self.device);
                let ids = ids.clone().slice_assign([0..count, 0..1], first);
                let [positions, words] = next.tensors(&self.device);
                let (embeddings, scores) = model.caption(image_tokens, ids, positions);
                let loss = captioning_loss(scores, words, self.label_smoothing);
                (embeddings, Some((weight, loss)))
            }
        };
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
        let mut total = contrast.loss.clone();
        if let Some((weight, loss)) = &captioning {
            total = total + loss.clone().mul_scalar(*weight);
        }
        let losses = Losses::new(total)
            .with("itc", contrast.loss)
            .with("accuracy", contrast.accuracy)
            .with("temperature", model.temperature());
        match captioning {
            Some((_, loss)) => losses.with("captioning", loss),
            None => losses,
        }
    }
}

/// The words of a batch of captions, each with the place before it.
struct NextWords {
    /// Places in the flat `[texts · length]` captions.
    positions: Vec<i64>,
    /// The words that follow there.
    words: Vec<i64>,
}

impl NextWords {
    fn of(captions: &TokenBatch) -> Self {
        let length = captions.shape[1];
        let is_word = |place: &usize| !place.is_multiple_of(length) && captions.mask[*place] == 1;
        let places: Vec<usize> = (0..captions.ids.len()).filter(is_word).collect();
        Self {
            positions: places.iter().map(|&place| place as i64 - 1).collect(),
            words: places.iter().map(|&place| captions.ids[place]).collect(),
        }
    }

    fn tensors(self, device: &Device) -> [Tensor<1, Int>; 2] {
        [self.positions, self.words].map(|values| {
            let shape = [values.len()];
            Tensor::from_data(TensorData::new(values, shape), device)
        })
    }
}

/// One pair of stage I as the loader makes it: image tokens, caption, concept.
pub type StageOneItem = (Vec<f32>, String, usize);

/// A loader that draws a view and a caption of each pair; with `vary_captions` the label and some of its keywords in
/// random order instead of the whole caption.
pub fn stage_one_loader(
    set: &Arc<dyn PairSet>,
    image_tokens: &FrozenRows,
    vary_captions: bool,
    config: LoaderConfig,
) -> Result<Loader<StageOneItem, DataError>, RecipeError> {
    let (set, rows) = (Arc::clone(set), image_tokens.clone());
    let len = set.len() as u32;
    let make = move |item: ItemContext| -> Result<StageOneItem, DataError> {
        let (index, mut rng) = (item.index as usize, item.rng);
        let view = rng.random_range(0..rows.views);
        let captions = set.captions(index);
        let mut caption = captions[rng.random_range(0..captions.len())].clone();
        if vary_captions {
            caption = vary_caption(&caption, &mut rng);
        }
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
