//! What a trained tokenizer is worth on the held-out sets.

use burn::tensor::Tensor;
use seed_data::PairSet;
use seed_eval::{
    CodebookHealth, Features, GroundTruth, Neighbour, PixelControl, nearest,
    report::RetrievalResult,
};

use super::{
    EvaluationSet, FrozenRows, RecipeError, TokenizerTraining, TrainedTokenizer, Views,
    tensors::tokens,
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

        let concepts: Vec<usize> = (0..set.len()).map(|index| set.concept(index)).collect();
        let candidates = first_of_each(&concepts);
        let text_concepts: Vec<usize> = candidates.iter().map(|&index| concepts[index]).collect();
        let texts = self.caption_features(trained, set, &candidates)?;
        let truth = GroundTruth::new(&concepts, &text_concepts)?;

        let pictures = (0..set.len())
            .map(|index| set.picture(index))
            .collect::<Result<Vec<_>, _>>()?;
        let result = RetrievalResult {
            split: held_out.split.to_owned(),
            source: held_out.source.clone(),
            concepts: held_out.concepts.to_owned(),
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
        let mut rows = Rows::default();
        for chunk in indices.chunks(BATCH) {
            let captions: Vec<&str> = chunk
                .iter()
                .map(|&index| set.captions(index)[0].as_str())
                .collect();
            let batch = self
                .frozen
                .tokenizer
                .encode_batch(&captions, self.config.text_length)?;
            let (ids, mask) = tokens(batch, self.device);
            rows.push(trained.tokens.text_feature(ids, mask));
        }
        rows.features()
    }

    fn encode(
        &self,
        trained: &TrainedTokenizer,
        image_tokens: &FrozenRows,
    ) -> Result<Pictures, RecipeError> {
        let (mut embeddings, mut rebuilt, mut codes) = (Rows::default(), Rows::default(), vec![]);
        for start in (0..image_tokens.pictures).step_by(BATCH) {
            let range = start..(start + BATCH).min(image_tokens.pictures);
            let causal = trained
                .tokens
                .forward(image_tokens.tensor(0, range, self.device)?);
            let ids = trained.codes.encode(causal.clone());
            embeddings.push(trained.tokens.image_feature(causal));
            rebuilt.push(
                trained
                    .tokens
                    .image_feature(trained.codes.reconstruct(ids.clone())),
            );
            codes.extend(ids.into_data().iter::<i64>().map(|code| code as u32));
        }
        Ok(Pictures {
            embeddings: embeddings.features()?,
            rebuilt: rebuilt.features()?,
            codes,
        })
    }
}

/// A set's pictures as features and codes.
struct Pictures {
    embeddings: Features,
    rebuilt: Features,
    codes: Vec<u32>,
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
