//! What a trained tokenizer is worth on the held-out sets.

use std::ops::Range;

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;
use seed_data::{DataError, EvalTransform, Normalize, PairSet, TextTokenizer};
use seed_eval::{
    CodebookHealth, Features, GroundTruth, Neighbour, PixelControl, nearest,
    report::RetrievalResult,
};
use seed_tokenizer::{CodeAutoencoder, SeedTokenizer, TokenEncoder};

use super::{
    EvaluationSet, FrozenRows, RecipeError, TokenizerTraining, TrainedTokenizer, Views,
    tensors::{stack, tokens},
};

/// Pictures or captions that go through a model at once.
pub(super) const BATCH: usize = 128;

/// A held-out set as the tokenizer sees it.
pub struct Judged {
    /// Scores beside chance and the pixel control.
    pub result: RetrievalResult,
    /// Codes, row-major `[pictures, positions]`.
    pub codes: Vec<u32>,
    /// The captions that were candidates: index of a pair that bears it.
    pub candidates: Vec<usize>,
    /// The five nearest captions of each picture, as rows of `candidates`.
    pub nearest: Vec<Vec<Neighbour>>,
}

impl TokenizerTraining<'_> {
    /// The pixel control, fitted to the training pictures and the trained caption features.
    pub fn pixel_control(&self, trained: &TrainedTokenizer) -> Result<PixelControl, RecipeError> {
        let set = self.splits.train().as_ref();
        let indices: Vec<usize> = (0..set.len()).collect();
        let pictures = indices
            .iter()
            .map(|&index| set.picture(index))
            .collect::<Result<Vec<_>, _>>()?;
        let texts = self.caption_features(trained, set, &indices)?;
        Ok(PixelControl::fit(&pictures, &texts, PixelControl::RIDGE)?)
    }

    /// Scores a held-out set: retrieval with causal embeddings and with codes.
    pub fn judge(
        &self,
        trained: &TrainedTokenizer,
        held_out: &EvaluationSet,
        pixels: &PixelControl,
    ) -> Result<Judged, RecipeError> {
        let set = held_out.set.as_ref();
        let image_tokens = self.image_tokens(std::slice::from_ref(&held_out.set), &Views::Plain)?;
        let Pictures {
            embeddings,
            rebuilt,
            codes,
        } = self.encode(trained, &image_tokens)?;

        let (candidates, concepts, text_concepts) = candidates_of(set);
        let truth = GroundTruth::new(&concepts, &text_concepts)?;
        let texts = self.caption_features(trained, set, &candidates)?;

        let pictures = (0..set.len())
            .map(|index| set.picture(index))
            .collect::<Result<Vec<_>, _>>()?;
        let result = RetrievalResult {
            set: held_out.name.clone(),
            images: set.len(),
            texts: candidates.len(),
            embeddings: truth.cosine(&embeddings, &texts)?,
            codes: Some(truth.cosine(&rebuilt, &texts)?),
            pixels: Some(truth.cosine(&pixels.predict(&pictures)?, &texts)?),
            chance: truth.chance(),
        };
        let nearest = nearest(&embeddings, &texts, 5)?;
        Ok(Judged {
            result,
            codes,
            candidates,
            nearest,
        })
    }

    /// Usage of the codebook by a set's codes.
    pub fn codebook_health(&self, codes: &[u32]) -> Result<CodebookHealth, RecipeError> {
        let config = &self.config.model.codes;
        Ok(CodebookHealth::measure(
            codes,
            config.positions,
            config.quantizer.codes,
        )?)
    }

    /// Unit-length features of the first captions of some pairs.
    fn caption_features(
        &self,
        trained: &TrainedTokenizer,
        set: &dyn PairSet,
        indices: &[usize],
    ) -> Result<Features, RecipeError> {
        caption_features(
            &trained.tokens,
            &self.frozen.tokenizer,
            self.config.text_length,
            self.device,
            (set, indices),
        )
    }

    fn encode(
        &self,
        trained: &TrainedTokenizer,
        image_tokens: &FrozenRows,
    ) -> Result<Pictures, RecipeError> {
        Pictures::of(
            &trained.tokens,
            &trained.codes,
            image_tokens.pictures,
            |range| Ok(image_tokens.tensor(0, range, self.device)?),
        )
    }
}

/// Retrieval by a whole tokenizer, from pictures, without a cache.
pub struct RetrievalEvaluation<'a> {
    /// The tokenizer, with contrastive heads and a text side.
    pub model: &'a SeedTokenizer,
    /// Side of its pictures in pixels.
    pub image_size: usize,
    /// Its text tokenizer.
    pub tokenizer: &'a TextTokenizer,
    /// Longest caption in tokens.
    pub text_length: usize,
    /// Where the model is, without autodiff.
    pub device: &'a Device,
}

impl RetrievalEvaluation<'_> {
    /// Scores a set: with causal embeddings, and with codes. `on_batch` hears of each batch of pictures.
    pub fn scores(
        &self,
        held_out: &EvaluationSet,
        mut on_batch: impl FnMut(usize),
    ) -> Result<RetrievalResult, RecipeError> {
        let set = held_out.set.as_ref();
        let (transform, size) = (EvalTransform::new(self.image_size as u32), self.image_size);
        let pictures = Pictures::of(&self.model.tokens, &self.model.codes, set.len(), |range| {
            let count = range.len();
            let images = range
                .into_par_iter()
                .map(|index| Ok(transform.tensor(&set.picture(index)?, &Normalize::clip())))
                .collect::<Result<Vec<_>, DataError>>()?;
            on_batch(count);
            let images = stack(images, [count, 3, size, size], self.device);
            Ok(self.model.image.forward(images))
        })?;
        let (candidates, concepts, text_concepts) = candidates_of(set);
        let truth = GroundTruth::new(&concepts, &text_concepts)?;
        let texts = caption_features(
            &self.model.tokens,
            self.tokenizer,
            self.text_length,
            self.device,
            (set, &candidates),
        )?;
        Ok(RetrievalResult {
            set: held_out.name.clone(),
            images: set.len(),
            texts: candidates.len(),
            embeddings: truth.cosine(&pictures.embeddings, &texts)?,
            codes: Some(truth.cosine(&pictures.rebuilt, &texts)?),
            pixels: None,
            chance: truth.chance(),
        })
    }
}

/// The captions that pictures choose among, as pairs that bear them; then what each picture shows, and
/// what each caption names.
pub(super) fn candidates_of(set: &dyn PairSet) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
    let concepts: Vec<usize> = (0..set.len()).map(|index| set.concept(index)).collect();
    let candidates = first_of_each(&concepts);
    let named = candidates.iter().map(|&index| concepts[index]).collect();
    (candidates, concepts, named)
}

/// Unit-length features of the first captions of some pairs.
pub(super) fn caption_features(
    encoder: &TokenEncoder,
    tokenizer: &TextTokenizer,
    text_length: usize,
    device: &Device,
    (set, indices): (&dyn PairSet, &[usize]),
) -> Result<Features, RecipeError> {
    let mut rows = Rows::default();
    for chunk in indices.chunks(BATCH) {
        let captions: Vec<&str> = chunk
            .iter()
            .map(|&index| set.captions(index)[0].as_str())
            .collect();
        let (ids, mask) = tokens(tokenizer.encode_batch(&captions, text_length)?, device);
        rows.push(encoder.text_feature(ids, mask));
    }
    rows.features()
}

/// A set's pictures as features and codes.
struct Pictures {
    embeddings: Features,
    rebuilt: Features,
    codes: Vec<u32>,
}

impl Pictures {
    /// Reads the image tokens of `count` pictures, a batch at a time.
    fn of(
        encoder: &TokenEncoder,
        autoencoder: &CodeAutoencoder,
        count: usize,
        mut image_tokens: impl FnMut(Range<usize>) -> Result<Tensor<3>, RecipeError>,
    ) -> Result<Self, RecipeError> {
        let (mut embeddings, mut rebuilt, mut codes) = (Rows::default(), Rows::default(), vec![]);
        for start in (0..count).step_by(BATCH) {
            let range = start..(start + BATCH).min(count);
            let causal = encoder.forward(image_tokens(range)?);
            let ids = autoencoder.encode(causal.clone());
            embeddings.push(encoder.image_feature(causal));
            rebuilt.push(encoder.image_feature(autoencoder.reconstruct(ids.clone())));
            codes.extend(ids.into_data().iter::<i64>().map(|code| code as u32));
        }
        Ok(Self {
            embeddings: embeddings.features()?,
            rebuilt: rebuilt.features()?,
            codes,
        })
    }
}

/// Feature rows gathered batch by batch.
#[derive(Default)]
pub(super) struct Rows {
    count: usize,
    values: Vec<f32>,
}

impl Rows {
    pub(super) fn push(&mut self, batch: Tensor<2>) {
        self.count += batch.dims()[0];
        self.values.extend(batch.into_data().iter::<f32>());
    }

    pub(super) fn features(self) -> Result<Features, RecipeError> {
        let dim = self.values.len() / self.count.max(1);
        Ok(Features::new(self.count, dim, self.values)?)
    }
}

/// The first index of each distinct value.
pub(super) fn first_of_each(concepts: &[usize]) -> Vec<usize> {
    let mut seen = std::collections::HashSet::new();
    (0..concepts.len())
        .filter(|&index| seen.insert(concepts[index]))
        .collect()
}
