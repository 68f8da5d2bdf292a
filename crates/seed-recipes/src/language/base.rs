//! A language model that is to be frozen, with its text tokenizer.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::tensor::Device;
use seed_data::{TextTokenizer, byte_bpe_of_files};
use seed_device::Precision;
use seed_lm::{LmError, Opt, OptConfig};
use seed_weights::Checkpoint;

use crate::{error::RecipeError, frozen::checkpoint_identity};

/// A language model that is to be frozen, with its text tokenizer.
pub struct BaseLm {
    /// The model, on the device to train on, with autodiff.
    pub opt: Opt,
    /// Its text tokenizer.
    pub tokenizer: Arc<TextTokenizer>,
    /// How it is named in what is saved: `nano`, or where it came from.
    pub name: String,
    /// Hash of its weights.
    pub identity: String,
}

impl BaseLm {
    /// The nano OPT that ships with the library, its weights kept in `weights`.
    ///
    /// # Errors
    ///
    /// [`RecipeError`] if a shipped file is damaged.
    pub fn nano(weights: Precision, device: &Device) -> Result<Self, RecipeError> {
        Ok(Self {
            opt: seed_lm::nano::opt(device, weights.dtype())?,
            tokenizer: Arc::new(TextTokenizer::from_json(seed_lm::nano::tokenizer_json())?),
            name: seed_lm::nano::BASE.to_owned(),
            identity: seed_lm::nano::opt_identity(),
        })
    }

    /// A folder of transformers' files: `config.json`, the weights in any of their layouts, and `tokenizer.json` or
    /// `vocab.json` with `merges.txt`. The weights of linear layers are kept in `weights`.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn open(folder: &Path, weights: Precision, device: &Device) -> Result<Self, RecipeError> {
        let file = folder.join("config.json");
        let text = std::fs::read_to_string(&file)
            .map_err(|error| RecipeError::LanguageData(format!("{}: {error}", file.display())))?;
        let checkpoint = Checkpoint::open(weights_in(folder))?;
        let (opt, _) = OptConfig::from_published(&text)?
            .init(device)?
            .load(&checkpoint, weights.dtype())?;
        let json = folder.join("tokenizer.json");
        let tokenizer = if json.is_file() {
            TextTokenizer::from_file(&json)?
        } else {
            byte_bpe_of_files(&folder.join("vocab.json"), &folder.join("merges.txt"))?
        };
        let (known, rows) = (tokenizer.vocab_size(), opt.config().vocab_size);
        if known > rows {
            return Err(RecipeError::LanguageData(format!(
                "{}: the tokenizer has {known} tokens and the model {rows}: they do not belong together",
                folder.display()
            )));
        }
        Ok(Self {
            identity: checkpoint_identity(&checkpoint)?,
            opt,
            tokenizer: Arc::new(tokenizer),
            name: folder.display().to_string(),
        })
    }
}

/// A text tokenizer as templates want it.
pub fn encode(tokenizer: &TextTokenizer) -> impl Fn(&str) -> Result<Vec<u32>, LmError> + '_ {
    |text| {
        tokenizer
            .encode_plain(text)
            .map_err(|error| LmError::Text(error.to_string()))
    }
}

/// The weights among a folder's files, in the order in which transformers looks for them; the folder itself if there
/// are none, so that the error names it.
fn weights_in(folder: &Path) -> PathBuf {
    const FILES: [&str; 4] = [
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ];
    let candidates = FILES.map(|name| folder.join(name));
    let found = candidates.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| folder.to_owned())
}
