//! Codes as words: their embeddings, and their place behind the text vocabulary.
//!
//! - paper: SEED §3; the author on what enters the projection: the codebook's vectors

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Int, Tensor},
};
use seed_nn::{ConfigError, Linear, LinearConfig, limits};
use serde::{Deserialize, Serialize};

use crate::LmError;

/// How the scores of codes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisualHead {
    /// With the codes' own embeddings, as OPT scores its words.
    #[default]
    Tied,
    /// With rows of their own.
    Free,
    /// With the codes' own embeddings and a row that each adds to its own, at first zero.
    ///
    /// Embeddings alone span no more dimensions than the codes' vectors (8 at nano size, 32 in SEED), and so do the
    /// scores: that either of two distant codes comes next, but none between them, cannot be said with them.
    Offset,
}

/// What stands for a code before the projection.
///
/// SEED's author says: the vectors looked up in the codebook. The paper's figure allows the other reading, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeVectors {
    /// Its vector in the codebook (32 wide in SEED).
    #[default]
    Codebook,
    /// What the tokenizer's own decoding layer makes of it (`decode_task_layer`, 768 wide in SEED).
    Decoded,
}

/// Sizes and options of a [`VisualVocabulary`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisualVocabularyConfig {
    /// Number of codes.
    pub codes: usize,
    /// What stands for a code.
    #[serde(default)]
    pub vectors: CodeVectors,
    /// Width of a code's vector.
    pub code_width: usize,
    /// Codes of an image.
    pub per_image: usize,
    /// How the scores of codes are made.
    pub head: VisualHead,
}

/// Where words and codes have their ids: words from 0, codes behind them, then `IMG` and `/IMG`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisualIds {
    /// Size of the text vocabulary, and the id of code 0.
    pub words: usize,
    /// Number of codes.
    pub codes: usize,
    /// Codes of an image.
    pub per_image: usize,
}

impl VisualIds {
    /// The id of a code.
    ///
    /// # Errors
    ///
    /// [`LmError::CodeOutOfRange`].
    pub fn of_code(&self, code: i64) -> Result<u32, LmError> {
        match usize::try_from(code) {
            Ok(index) if index < self.codes => Ok((self.words + index) as u32),
            _ => Err(LmError::CodeOutOfRange {
                code,
                codes: self.codes,
            }),
        }
    }

    /// The code of an id, if it is one.
    pub fn code(&self, id: u32) -> Option<usize> {
        (id as usize)
            .checked_sub(self.words)
            .filter(|code| *code < self.codes)
    }

    /// The id of `IMG`, which opens an image.
    pub fn open(&self) -> u32 {
        (self.words + self.codes) as u32
    }

    /// The id of `/IMG`, which closes an image.
    pub fn close(&self) -> u32 {
        self.open() + 1
    }

    /// Number of all ids.
    pub fn size(&self) -> usize {
        self.words + self.codes + 2
    }

    /// `IMG`, the codes, `/IMG`.
    ///
    /// # Errors
    ///
    /// [`LmError::CodeOutOfRange`].
    pub fn image(&self, codes: &[i64]) -> Result<Vec<u32>, LmError> {
        let mut ids = vec![self.open()];
        for code in codes {
            ids.push(self.of_code(*code)?);
        }
        ids.push(self.close());
        Ok(ids)
    }

    /// The codes of the first image in a sequence; none unless it is well formed: `IMG`, as many codes as
    /// an image has, `/IMG`.
    pub fn codes_in(&self, ids: &[u32]) -> Option<Vec<i64>> {
        let start = ids.iter().position(|id| *id == self.open())? + 1;
        let codes = ids.get(start..start + self.per_image)?;
        let codes = codes
            .iter()
            .map(|id| self.code(*id).map(|code| code as i64))
            .collect::<Option<Vec<_>>>()?;
        (ids.get(start + self.per_image) == Some(&self.close())).then_some(codes)
    }
}

impl VisualVocabularyConfig {
    /// Checks that the sizes are within their limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "visual vocabulary";
        ConfigError::check_size(part, "codes", self.codes, limits::ROWS)?;
        ConfigError::check_size(part, "code_width", self.code_width, limits::WIDTH)?;
        ConfigError::check_size(part, "per_image", self.per_image, limits::POSITIONS)
    }

    /// Initialises the vocabulary for word embeddings of that width; the codebook is filled by
    /// [`VisualVocabulary::with_codebook`] or from a checkpoint.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a size is 0 or beyond its limit.
    pub fn init(&self, width: usize, device: &Device) -> Result<VisualVocabulary, ConfigError> {
        self.validate()?;
        // Words of OPT have about this deviation.
        let rows = |count| {
            let normal = Initializer::Normal {
                mean: 0.0,
                std: 0.05,
            };
            normal.init([count, width], device)
        };
        let codebook = Initializer::Zeros.init([self.codes, self.code_width], device);
        let count = self.codes + 2;
        Ok(VisualVocabulary {
            codebook: codebook.set_require_grad(false),
            projection: LinearConfig::new(self.code_width, width).init(device),
            marks: rows(2),
            head: match self.head {
                VisualHead::Tied => None,
                VisualHead::Free => Some(rows(count)),
                VisualHead::Offset => Some(Initializer::Zeros.init([count, width], device)),
            },
            scored: self.head,
        })
    }
}

/// The parameter with other values, cut off from what they were computed from.
fn replaced<const D: usize>(parameter: Param<Tensor<D>>, values: Tensor<D>) -> Param<Tensor<D>> {
    let (id, device) = (parameter.id, parameter.lazy_device());
    parameter.transform_for_load(Tensor::from_data(values.into_data(), &device), id)
}

/// The rows that a language model's vocabulary grows by: `projection(codebook)`, `IMG`, `/IMG`.
#[derive(Module, Debug)]
pub struct VisualVocabulary {
    /// The vectors of the tokenizer's codes `[codes, code_width]`, frozen.
    pub codebook: Param<Tensor<2>>,
    /// `[code_width → width of word embeddings]`
    pub projection: Linear,
    /// Embeddings of `IMG` and `/IMG`, `[2, width]`.
    pub marks: Param<Tensor<2>>,
    /// Rows of the output head `[codes + 2, width]`, or what they add to the embeddings; none where they are those.
    pub head: Option<Param<Tensor<2>>>,
    #[module(skip)]
    scored: VisualHead,
}

impl VisualVocabulary {
    /// The same with that codebook.
    ///
    /// # Errors
    ///
    /// [`LmError::OtherBase`] if it has another shape.
    ///
    /// # Shapes
    ///
    /// - codebook: `[codes, code_width]`
    pub fn with_codebook(mut self, codebook: Tensor<2>) -> Result<Self, LmError> {
        let expected = self.codebook.lazy_shape().to_vec();
        if codebook.dims().as_slice() != expected.as_slice() {
            return Err(LmError::OtherBase {
                reason: format!(
                    "the codebook is {:?}, the vocabulary was made for {expected:?}",
                    codebook.dims()
                ),
            });
        }
        self.codebook = replaced(self.codebook, codebook);
        Ok(self)
    }

    /// The same with the projection set so that what it reads enters the language model as words do: around zero, and
    /// as large.
    ///
    /// Vectors of codes have much in common (twice as much, at nano size, as tells them apart): scaled without
    /// centring, the language model sees almost the same word everywhere.
    ///
    /// # Shapes
    ///
    /// - vectors: `[any, code_width]`, the codebook or a sample of what is read in its place
    /// - deviation: of the language model's word embeddings
    pub fn calibrated(mut self, vectors: Tensor<2>, deviation: f64) -> Self {
        let weight = self.projection.weight.val();
        let mean = vectors.clone().mean_dim(0);
        let centred = (vectors - mean.clone()).matmul(weight.clone());
        let own = centred.square().mean().sqrt().into_data();
        let own = own.iter::<f64>().next().unwrap_or(0.0);
        if own > 0.0 {
            let scaled = weight.mul_scalar(deviation / own);
            let offset = mean.matmul(scaled.clone()).neg().squeeze_dim(0);
            self.projection.weight = replaced(self.projection.weight, scaled);
            self.projection.bias = self.projection.bias.map(|bias| replaced(bias, offset));
        }
        self
    }

    /// Embeddings of all codes, `IMG` and `/IMG`: `[codes + 2, width]`.
    pub fn table(&self) -> Tensor<2> {
        let codes = self.projection.forward(self.codebook.val());
        Tensor::cat(vec![codes, self.marks.val()], 0)
    }

    /// Rows of the output head, `[codes + 2, width]`.
    pub fn head(&self) -> Tensor<2> {
        match (&self.head, self.scored) {
            (None, _) => self.table(),
            (Some(offsets), VisualHead::Offset) => self.table() + offsets.val(),
            (Some(rows), _) => rows.val(),
        }
    }

    /// Embeddings of vectors that were not quantised, between the two marks: what a model reads that has no
    /// codes.
    ///
    /// # Shapes
    ///
    /// - vectors: `[batch, positions, code_width]`
    /// - output: `[batch, positions, width]`
    pub fn project(&self, vectors: Tensor<3>) -> Tensor<3> {
        self.projection.forward(vectors)
    }

    /// Embeddings of visual ids.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, length]`, counted from the first code
    /// - output: `[batch, length, width]`
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [batch, length] = ids.dims();
        let rows = self.table().select(0, ids.reshape([batch * length]));
        let width = rows.dims()[1];
        rows.reshape([batch, length, width])
    }
}
