//! Text tokenizers stored as `tokenizer.json`, with padding and truncation as BERT's and CLIP's
//! training code does them.

use std::path::Path;
use std::str::FromStr;

use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::wordpiece::WordPiece;
use tokenizers::{ModelWrapper, Tokenizer};

use crate::error::DataError;

/// Names of the token that fills a text up, the most specific first. CLIP pads with its end token.
const PAD_NAMES: [&str; 3] = ["[PAD]", "<pad>", "<|endoftext|>"];
/// Names of the token that a text starts with.
const START_NAMES: [&str; 3] = ["[CLS]", "<s>", "<|startoftext|>"];
/// Names of the token that a text ends with.
const END_NAMES: [&str; 3] = ["[SEP]", "</s>", "<|endoftext|>"];
/// BLIP's name of the token that starts a generated text.
const DECODE_NAME: &str = "[DEC]";

/// Ids with a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialIds {
    /// Fills a text up to the common length.
    pub pad: u32,
    /// Starts a text: `[CLS]`, `<|startoftext|>`.
    pub start: u32,
    /// Ends a text: `[SEP]`, `<|endoftext|>`.
    pub end: u32,
    /// Starts a text to generate, `[DEC]` of BLIP-2's Q-Former, where the vocabulary has it.
    pub decode: Option<u32>,
}

/// One text as ids of a fixed length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIds {
    /// The ids, filled up with the padding id.
    pub ids: Vec<u32>,
    /// True where `ids` holds text, false where it holds padding.
    pub mask: Vec<bool>,
}

/// Several texts as ids, ready to become integer tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBatch {
    /// The ids, `[texts, length]` row-major.
    pub ids: Vec<i64>,
    /// 1 for text and 0 for padding, `[texts, length]` row-major.
    pub mask: Vec<i64>,
    /// Number of texts and length of each.
    pub shape: [usize; 2],
}

/// A tokenizer of captions.
#[derive(Clone, Debug)]
pub struct TextTokenizer {
    inner: Tokenizer,
    special: SpecialIds,
    /// What CLIP's BPE puts at the end of each word; decoding makes it a space.
    end_of_word: Option<String>,
}

impl TextTokenizer {
    /// Reads a `tokenizer.json`.
    pub fn from_file(path: &Path) -> Result<Self, DataError> {
        let json = std::fs::read_to_string(path).map_err(DataError::io(path))?;
        Self::from_json(&json).map_err(|error| match error {
            DataError::Tokenizer { source } => DataError::Tokenizer {
                source: format!("{}: {source}", path.display()).into(),
            },
            other => other,
        })
    }

    /// Reads the text of a `tokenizer.json`.
    pub fn from_json(json: &str) -> Result<Self, DataError> {
        Self::new(Tokenizer::from_str(json).map_err(tokenizer_error)?)
    }

    /// Wraps a tokenizer of the `tokenizers` crate. Its own padding and truncation are turned off.
    pub fn new(mut inner: Tokenizer) -> Result<Self, DataError> {
        inner.with_padding(None);
        inner.with_truncation(None).map_err(tokenizer_error)?;
        if let Some(DecoderWrapper::WordPiece(decoder)) = inner.get_decoder() {
            // The reference's decoder leaves the spaces before punctuation.
            let plain = WordPiece::new(decoder.prefix.clone(), false);
            inner.with_decoder(Some(plain));
        }
        let find = |names: [&str; 3], what: &str| {
            let id = names.iter().find_map(|name| inner.token_to_id(name));
            id.ok_or_else(|| DataError::Tokenizer {
                source: format!("the vocabulary has no {what} token ({})", names.join(", ")).into(),
            })
        };
        // What is put around an empty text says more than names: OPT's vocabulary has `<s>`, and its texts start
        // with `</s>`.
        let around = inner.encode_fast("", true).map_err(tokenizer_error)?;
        let around = around.get_ids();
        let special = SpecialIds {
            pad: find(PAD_NAMES, "padding")?,
            start: match around.first() {
                Some(&start) => start,
                None => find(START_NAMES, "start")?,
            },
            end: match around.last() {
                Some(&end) => end,
                None => find(END_NAMES, "end")?,
            },
            decode: inner.token_to_id(DECODE_NAME),
        };
        let end_of_word = match inner.get_model() {
            ModelWrapper::BPE(model) => model.end_of_word_suffix.clone(),
            _ => None,
        };
        Ok(Self {
            inner,
            special,
            end_of_word,
        })
    }

    /// Pads with another token, as Stable Diffusion 2 does with `!`.
    ///
    /// # Errors
    ///
    /// [`DataError::Tokenizer`] if the vocabulary does not have it.
    pub fn with_padding(mut self, token: &str) -> Result<Self, DataError> {
        let id = self.inner.token_to_id(token);
        self.special.pad = id.ok_or_else(|| DataError::Tokenizer {
            source: format!("the vocabulary has no `{token}`, which texts are to be padded with")
                .into(),
        })?;
        Ok(self)
    }

    /// The ids with a meaning of their own.
    pub fn special(&self) -> SpecialIds {
        self.special
    }

    /// Number of ids, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The ids of a text with its start and end tokens, of whatever length.
    pub fn encode_all(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let encoding = self
            .inner
            .encode_fast(text, true)
            .map_err(tokenizer_error)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of a text alone, without start and end tokens: what continues another text.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(tokenizer_error)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of a text with its start and end tokens, padded to `length` or cut to it; the end
    /// token stays last when text is cut off.
    pub fn encode(&self, text: &str, length: usize) -> Result<TokenIds, DataError> {
        let mut ids = self.encode_all(text)?;
        if ids.len() > length {
            let end = ids.last().copied().filter(|&id| id == self.special.end);
            ids.truncate(length);
            if let (Some(last), Some(end)) = (ids.last_mut(), end) {
                *last = end;
            }
        }
        let used = ids.len();
        ids.resize(length, self.special.pad);
        let mask = (0..length).map(|position| position < used).collect();
        Ok(TokenIds { ids, mask })
    }

    /// [`TextTokenizer::encode`] for several texts, in rows.
    pub fn encode_batch<S: AsRef<str>>(
        &self,
        texts: &[S],
        length: usize,
    ) -> Result<TokenBatch, DataError> {
        let mut batch = TokenBatch {
            ids: Vec::with_capacity(texts.len() * length),
            mask: Vec::with_capacity(texts.len() * length),
            shape: [texts.len(), length],
        };
        for text in texts {
            let row = self.encode(text.as_ref(), length)?;
            batch.ids.extend(row.ids.into_iter().map(i64::from));
            batch.mask.extend(row.mask.into_iter().map(i64::from));
        }
        Ok(batch)
    }

    /// The text of some ids, without special tokens.
    pub fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        let text = self.inner.decode(ids, true).map_err(tokenizer_error)?;
        // As `CLIPTokenizerFast` does it, since the library's decoder leaves the mark in.
        Ok(match self.end_of_word.as_deref() {
            Some(mark) if !mark.is_empty() => text.replace(mark, " ").trim().to_owned(),
            _ => text,
        })
    }

    /// The text of some ids, special tokens included; bytes that are no UTF-8 become U+FFFD.
    pub fn decode_all(&self, ids: &[u32]) -> Result<String, DataError> {
        self.inner.decode(ids, false).map_err(tokenizer_error)
    }

    /// The text of its `tokenizer.json`, the same for the same tokenizer on every run.
    pub fn to_json(&self) -> Result<String, DataError> {
        self.inner.to_string(true).map_err(tokenizer_error)
    }

    /// Writes its `tokenizer.json`, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let json = self.to_json()?;
        seed_files::write_file(path, json.as_bytes()).map_err(DataError::io(path))
    }
}

pub(crate) fn tokenizer_error(source: tokenizers::Error) -> DataError {
    DataError::Tokenizer { source }
}
