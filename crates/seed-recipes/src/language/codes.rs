//! Codes of a set, extracted once: two bytes a code, so that a language model's training touches no image.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use seed_data::{CacheKey, DataError, PairSet, RowWriter, Rows, TextTokenizer};
use seed_lm::CodeVectors;
use seed_tokenizer::{CODE_VERSION, PublishedTokenizer, SeedTokenizer};

use crate::{
    error::RecipeError,
    frozen::{FrozenCache, FrozenRows, FrozenTower, Views, module_identity},
};

/// Pictures that are encoded at once.
const BATCH: usize = 64;

/// An image tokenizer that is used as it is.
pub struct FrozenTokenizer {
    /// The tokenizer, without autodiff.
    pub model: SeedTokenizer,
    /// What it was loaded from.
    pub published: PublishedTokenizer,
    /// Its image tower: tokenizers on the same tower share what it gives.
    tower: FrozenTower,
    /// Hash of the encoder's weights and config.
    encoder_identity: String,
    /// Hash of the quantiser's and all that is around it.
    codes_identity: String,
    /// Where it is.
    pub device: Device,
}

impl FrozenTokenizer {
    /// Loads a tokenizer.
    ///
    /// # Errors
    ///
    /// Those of [`PublishedTokenizer::load`], and [`RecipeError::TooManyCodes`] for a codebook that two bytes
    /// cannot number.
    pub fn load(published: PublishedTokenizer, device: &Device) -> Result<Self, RecipeError> {
        let codes = published.config.codes.quantizer.codes;
        if codes > usize::from(u16::MAX) + 1 {
            return Err(RecipeError::TooManyCodes { codes });
        }
        let (model, _) = published.load(device, burn::tensor::DType::F32)?;
        let config = &published.config;
        Ok(Self {
            tower: FrozenTower::new(model.image.clone(), config.image.clone()),
            encoder_identity: module_identity(&model.tokens, &config.tokens, CODE_VERSION),
            codes_identity: module_identity(&model.codes, &config.codes, CODE_VERSION),
            model,
            published,
            device: device.clone(),
        })
    }

    /// Hash of all that decides its codes.
    pub fn identity(&self) -> String {
        let parts = [
            &self.tower.identity,
            &self.encoder_identity,
            &self.codes_identity,
        ];
        let parts = parts.map(String::as_str).join(" ");
        blake3::hash(parts.as_bytes()).to_hex().to_string()
    }

    /// The text tokenizer of the captions it was trained with; none if it has no text side to compare captions with,
    /// as the released v2 file.
    ///
    /// # Errors
    ///
    /// Those of [`text_tokenizer`].
    pub fn text_tokenizer(&self) -> Result<Option<TextTokenizer>, RecipeError> {
        let reads_text = self.published.config.tokens.reads_text();
        reads_text
            .then(|| text_tokenizer(&self.published))
            .transpose()
    }

    /// Codes of each picture of a set in each view; `renderings` are the same pairs drawn in several styles.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Data`], [`RecipeError::Stopped`].
    pub fn codes(
        &self,
        frozen: &FrozenCache<'_>,
        renderings: &[Arc<dyn PairSet>],
        views: &Views,
    ) -> Result<CodeRows, RecipeError> {
        let embeddings = self.embeddings(frozen, renderings, views)?;
        let positions = embeddings.shape[0];
        let key = CacheKey::new("codes", 2 * positions)
            .part("weights", &self.codes_identity)
            .part("embeddings", &embeddings.identity);
        let (pictures, views) = (embeddings.pictures, embeddings.views);
        let build = |writer: &mut RowWriter<'_>| -> Result<(), RecipeError> {
            for view in 0..views {
                for start in (0..pictures).step_by(BATCH) {
                    if (view, start) > (0, 0) {
                        frozen.stop.check()?;
                    }
                    let range = start..(start + BATCH).min(pictures);
                    let batch = embeddings.tensor(view, range, &self.device)?;
                    let codes: Vec<u16> = self
                        .model
                        .codes
                        .encode(batch)
                        .into_data()
                        .iter::<i64>()
                        .map(|code| code as u16)
                        .collect();
                    for row in codes.chunks(positions) {
                        let bytes: Vec<u8> =
                            row.iter().flat_map(|code| code.to_le_bytes()).collect();
                        writer.push(&bytes)?;
                    }
                }
            }
            Ok(())
        };
        let rows = frozen.cache.get_or_build(&key, pictures * views, build)?;
        Ok(CodeRows {
            rows: Arc::new(rows),
            pictures,
            views,
            identity: key.name(),
        })
    }

    /// Embeddings of each picture of a set in each view: what codes are made of.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Data`], [`RecipeError::Stopped`].
    pub fn embeddings(
        &self,
        frozen: &FrozenCache<'_>,
        renderings: &[Arc<dyn PairSet>],
        views: &Views,
    ) -> Result<FrozenRows, RecipeError> {
        let config = &self.published.config.tokens;
        let image_tokens = frozen.image_tokens(&self.tower, renderings, views)?;
        let shape = [config.tokens(), config.width()];
        let weights = &self.encoder_identity;
        frozen.embeddings(&self.model.tokens, weights, &image_tokens, shape)
    }
}

/// Codes of each picture of a set in each view, on disk.
#[derive(Clone)]
pub struct CodeRows {
    rows: Arc<Rows>,
    /// Number of pictures.
    pub pictures: usize,
    /// Number of views of each picture.
    pub views: usize,
    /// Hash of all that the codes depend on.
    pub identity: String,
}

impl CodeRows {
    /// The codes of one picture in one view.
    pub fn read(&self, view: usize, picture: usize) -> Result<Vec<i64>, DataError> {
        let bytes = self.rows.row(view * self.pictures + picture)?;
        Ok(bytes
            .chunks_exact(2)
            .map(|pair| i64::from(u16::from_le_bytes([pair[0], pair[1]])))
            .collect())
    }
}

/// What stands for each code of a tokenizer in a language model's vocabulary, `[codes, width]`.
pub fn code_vectors(tokenizer: &SeedTokenizer, vectors: CodeVectors) -> Tensor<2> {
    let codebook = tokenizer.codes.quantize.codebook();
    match vectors {
        CodeVectors::Codebook => codebook,
        CodeVectors::Decoded => tokenizer
            .codes
            .decode_vectors(codebook.unsqueeze::<3>())
            .squeeze_dim(0),
    }
}

/// The text tokenizer of an image tokenizer: the file beside its weights; the nano one's is built in.
///
/// # Errors
///
/// [`RecipeError::NoTextTokenizer`] if no file is there, [`RecipeError::Data`] if it is no tokenizer.
pub fn text_tokenizer(published: &PublishedTokenizer) -> Result<TextTokenizer, RecipeError> {
    let Some(folder) = &published.folder else {
        return Ok(TextTokenizer::from_json(
            seed_encoders::nano::tokenizer_json(),
        )?);
    };
    let file = folder.join("tokenizer.json");
    if !file.is_file() {
        return Err(RecipeError::NoTextTokenizer { file });
    }
    Ok(TextTokenizer::from_file(&file)?)
}
