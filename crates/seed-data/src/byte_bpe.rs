//! Byte-level BPE as OPT has it: GPT-2's, with OPT's special tokens and a `</s>` before every text.

use std::path::Path;

use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer, models::TrainerWrapper};

use crate::error::DataError;
use crate::text::{TextTokenizer, tokenizer_error};

/// OPT's special tokens in the order of their ids.
const SPECIAL: [&str; 4] = ["<s>", "<pad>", "</s>", "<unk>"];
/// Starts every text, and ends it.
const MARK: &str = SPECIAL[2];

/// Trains a byte-level BPE of `vocab_size` ids on some lines.
///
/// # Errors
///
/// [`DataError::Tokenizer`].
pub fn train_byte_bpe<S: AsRef<str> + Send>(
    lines: impl Iterator<Item = S> + Send,
    vocab_size: usize,
) -> Result<TextTokenizer, DataError> {
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    let trainer = BpeTrainerBuilder::new()
        .vocab_size(vocab_size)
        .show_progress(false)
        .special_tokens(
            SPECIAL
                .iter()
                .map(|name| AddedToken::from(*name, true))
                .collect(),
        )
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer
        .train(&mut TrainerWrapper::from(trainer), lines)
        .map_err(tokenizer_error)?;
    as_opt(tokenizer)
}

/// The tokenizer of a published OPT, which has `vocab.json` and `merges.txt`.
///
/// # Errors
///
/// [`DataError::Tokenizer`] if a file is missing, is not what it should be, or lacks OPT's special tokens.
pub fn byte_bpe_of_files(vocab: &Path, merges: &Path) -> Result<TextTokenizer, DataError> {
    let model = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy())
        .unk_token(SPECIAL[3].to_owned())
        .build()
        .map_err(|error| DataError::Tokenizer {
            source: format!("{} with {}: {error}", vocab.display(), merges.display()).into(),
        })?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    let known: Vec<AddedToken> = SPECIAL
        .iter()
        .filter(|name| tokenizer.token_to_id(name).is_some())
        .map(|name| AddedToken::from(*name, true))
        .collect();
    tokenizer.add_special_tokens(&known);
    as_opt(tokenizer)
}

/// OPT's decoder, and the mark before every text.
fn as_opt(mut tokenizer: Tokenizer) -> Result<TextTokenizer, DataError> {
    tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
    let Some(mark) = tokenizer.token_to_id(MARK) else {
        return Err(DataError::Tokenizer {
            source: format!("the vocabulary has no `{MARK}`, which starts every text of OPT")
                .into(),
        });
    };
    let mut template = TemplateProcessing::builder();
    template
        .try_single(format!("{MARK} $A"))
        .and_then(|template| template.try_pair(format!("{MARK} $A $B")))
        .map_err(|error| tokenizer_error(error.into()))?
        .special_tokens(vec![(MARK.to_owned(), mark)]);
    let template = template
        .build()
        .map_err(|error| tokenizer_error(error.into()))?;
    tokenizer.with_post_processor(Some(template));
    TextTokenizer::new(tokenizer)
}
