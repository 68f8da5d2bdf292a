//! What a trained tokenizer is worth on the held-out sets.

use std::ops::Range;

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;
use seed_data::{DataError, EvalTransform, Normalize, TextTokenizer};
use seed_eval::{
    CodebookHealth, Features, GroundTruth, Neighbour, PixelControl, nearest,
    report::RetrievalResult,
};
use seed_tokenizer::{CodeAutoencoder, SeedTokenizer, TokenEncoder};
use seed_train::StopFlag;

use super::training::{TokenizerTraining, TrainedTokenizer};
use crate::{
    candidates::Candidates,
    error::RecipeError,
    features::FeatureRows,
    frozen::Views,
    splits::EvaluationSet,
    tensors::{stack, tokens},
};

/// Pictures or captions that go through a model at once.
const BATCH: usize = 128;

/// A held-out set as the tokenizer sees it.
pub struct Judged {
    /// Scores beside chance and the pixel control.
    pub result: RetrievalResult,
    /// Codes, row-major `[pictures, positions]`.
    pub codes: Vec<u32>,
    /// The captions that were candidates.
    pub candidates: Candidates,
    /// The five nearest captions of each picture, by their numbers among the candidates.
    pub nearest: Vec<Vec<Neighbour>>,
}

impl TokenizerTraining<'_> {
    /// The pixel control, fitted to the training pictures and the trained features of their first captions.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn pixel_control(&self, trained: &TrainedTokenizer) -> Result<PixelControl, RecipeError> {
        let set = self.splits.train().as_ref();
        let pictures = (0..set.len())
            .map(|index| set.picture(index))
            .collect::<Result<Vec<_>, _>>()?;
        let captions: Vec<&str> = (0..set.len())
            .map(|index| set.captions(index)[0].as_str())
            .collect();
        let texts = self.caption_features(trained, &captions)?;
        Ok(PixelControl::fit(&pictures, &texts, PixelControl::RIDGE)?)
    }

    /// Scores a held-out set: retrieval with embeddings and with codes.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
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
        } = Pictures::of(
            (&trained.tokens, &trained.codes),
            set.len(),
            &self.stop,
            |range| Ok(image_tokens.tensor(0, range, self.device)?),
        )?;

        let candidates = Candidates::of(set);
        let truth = GroundTruth::new(&candidates.shown, &candidates.named)?;
        let texts = self.caption_features(trained, &candidates.texts(set))?;

        let pictures = (0..set.len())
            .map(|index| set.picture(index))
            .collect::<Result<Vec<_>, _>>()?;
        let result = RetrievalResult {
            set: held_out.name.clone(),
            images: set.len(),
            texts: candidates.captions.len(),
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

    fn caption_features(
        &self,
        trained: &TrainedTokenizer,
        captions: &[&str],
    ) -> Result<Features, RecipeError> {
        let length = self.config.text_length;
        let tokenizer = &self.frozen.text.tokenizer;
        caption_features(&trained.tokens, tokenizer, length, self.device, captions)
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
    /// Asks for a stop.
    pub stop: &'a StopFlag,
}

impl RetrievalEvaluation<'_> {
    /// Scores a set: with embeddings, and with codes. `on_batch` hears of each batch of pictures.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn scores(
        &self,
        held_out: &EvaluationSet,
        mut on_batch: impl FnMut(usize),
    ) -> Result<RetrievalResult, RecipeError> {
        let set = held_out.set.as_ref();
        let (transform, size) = (EvalTransform::new(self.image_size as u32), self.image_size);
        let parts = (&self.model.tokens, &self.model.codes);
        let pictures = Pictures::of(parts, set.len(), self.stop, |range| {
            let count = range.len();
            let images = range
                .into_par_iter()
                .map(|index| Ok(transform.tensor(&set.picture(index)?, &Normalize::clip())))
                .collect::<Result<Vec<_>, DataError>>()?;
            on_batch(count);
            let images = stack(images, [count, 3, size, size], self.device);
            Ok(self.model.image.forward(images))
        })?;
        let candidates = Candidates::of(set);
        let truth = GroundTruth::new(&candidates.shown, &candidates.named)?;
        let texts = caption_features(
            &self.model.tokens,
            self.tokenizer,
            self.text_length,
            self.device,
            &candidates.texts(set),
        )?;
        Ok(RetrievalResult {
            set: held_out.name.clone(),
            images: set.len(),
            texts: candidates.captions.len(),
            embeddings: truth.cosine(&pictures.embeddings, &texts)?,
            codes: Some(truth.cosine(&pictures.rebuilt, &texts)?),
            pixels: None,
            chance: truth.chance(),
        })
    }
}

/// Unit-length features of some captions.
pub(crate) fn caption_features(
    encoder: &TokenEncoder,
    tokenizer: &TextTokenizer,
    text_length: usize,
    device: &Device,
    captions: &[&str],
) -> Result<Features, RecipeError> {
    let mut rows = FeatureRows::default();
    for chunk in captions.chunks(BATCH) {
        let (ids, mask) = tokens(tokenizer.encode_batch(chunk, text_length)?, device);
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
        (encoder, autoencoder): (&TokenEncoder, &CodeAutoencoder),
        count: usize,
        stop: &StopFlag,
        mut image_tokens: impl FnMut(Range<usize>) -> Result<Tensor<3>, RecipeError>,
    ) -> Result<Self, RecipeError> {
        let (mut embedded, mut rebuilt) = (FeatureRows::default(), FeatureRows::default());
        let mut codes = Vec::new();
        for start in (0..count).step_by(BATCH) {
            if start > 0 {
                stop.check()?;
            }
            let range = start..(start + BATCH).min(count);
            let embeddings = encoder.forward(image_tokens(range)?);
            let ids = autoencoder.encode(embeddings.clone());
            embedded.push(encoder.image_feature(embeddings));
            rebuilt.push(encoder.image_feature(autoencoder.reconstruct(ids.clone())));
            codes.extend(ids.into_data().iter::<i64>().map(|code| code as u32));
        }
        Ok(Self {
            embeddings: embedded.features()?,
            rebuilt: rebuilt.features()?,
            codes,
        })
    }
}
