//! A trained language model on disk: the adapter in PEFT's files, and the visual vocabulary beside it.
//!
//! The base model is not in it, as with every adapter: it is named, and known by its hash.

use std::path::Path;

use burn::{
    module::Module,
    tensor::{DType, Device},
};
use seed_weights::{About, Checkpoint, WeightsError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    ADAPTER_CONFIG_FILE, ADAPTER_FILE, Adapter, LmError, Opt, SeedLm, SeedLmConfig, Templates,
    VisualVocabulary, visual_vocabulary_keys,
};

/// Folder of the adapter's two files.
pub const ADAPTER_FOLDER: &str = "adapter";
/// File of the visual vocabulary; its metadata say what it belongs to.
pub const VOCABULARY_FILE: &str = "vocabulary.safetensors";

/// What a trained language model is, beside its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LmAbout {
    /// The base model: `nano` for the one that ships with the library, else what was asked for.
    pub base: String,
    /// Hash of the base's weights, as whoever trained it took it ([`crate::nano::opt_identity`] for `nano`).
    pub base_identity: String,
    /// Sizes.
    pub model: SeedLmConfig,
    /// How its sequences were put together.
    pub templates: Templates,
}

/// A trained language model, not yet joined with its base.
#[derive(Debug)]
pub struct SavedLm {
    /// What it is.
    pub about: LmAbout,
    adapter_config: String,
    adapter: Checkpoint,
    vocabulary: Checkpoint,
}

impl SavedLm {
    /// Opens a folder that [`save_lm`] wrote.
    ///
    /// # Errors
    ///
    /// [`LmError::File`] if something is missing or is not what it should be, [`LmError::Weights`].
    pub fn open(folder: &Path) -> Result<Self, LmError> {
        let adapter = folder.join(ADAPTER_FOLDER);
        let path = adapter.join(ADAPTER_CONFIG_FILE);
        let config = std::fs::read_to_string(&path).map_err(|error| LmError::File {
            path: path.display().to_string(),
            reason: format!("{error}; a trained language model's folder has `{ADAPTER_FOLDER}` and `{VOCABULARY_FILE}`"),
        })?;
        Self::of(
            config,
            Checkpoint::open(adapter.join(ADAPTER_FILE))?,
            Checkpoint::open(folder.join(VOCABULARY_FILE))?,
        )
    }

    /// Joins the three parts.
    ///
    /// # Errors
    ///
    /// [`LmError::File`] if the vocabulary's metadata do not say what it is, [`LmError::Config`] if they name impossible
    /// sizes.
    pub fn of(
        adapter_config: String,
        adapter: Checkpoint,
        vocabulary: Checkpoint,
    ) -> Result<Self, LmError> {
        let about: LmAbout = config_in(&vocabulary)?;
        about.model.validate()?;
        about.templates.validate()?;
        Ok(Self {
            about,
            adapter_config,
            adapter,
            vocabulary,
        })
    }

    /// The model on top of its base, whose weights have the hash `base_identity`.
    ///
    /// # Errors
    ///
    /// [`LmError::OtherBase`] if it was trained on another base, and those of [`Adapter::read`].
    pub fn load(
        &self,
        mut base: Opt,
        base_identity: &str,
        device: &Device,
    ) -> Result<SeedLm, LmError> {
        if base_identity != self.about.base_identity {
            let short = |hash: &str| hash.chars().take(12).collect::<String>();
            return Err(LmError::OtherBase {
                reason: format!(
                    "it was trained on {} of hash {}, and this base has hash {}: name the folder of its own base with \
                     --base, or leave --base out for the nano OPT",
                    self.about.base,
                    short(&self.about.base_identity),
                    short(base_identity)
                ),
            });
        }
        let (found, expected) = (base.config(), &self.about.model.opt);
        let sizes = |config: &crate::OptConfig| {
            [
                config.vocab_size,
                config.embed_width,
                config.width,
                config.depth,
            ]
        };
        if sizes(found) != sizes(expected) {
            return Err(LmError::OtherBase {
                reason: format!(
                    "vocabulary, embedding width, width and depth are {:?}, it was trained on {:?}",
                    sizes(found),
                    sizes(expected)
                ),
            });
        }
        let name = self.adapter.name();
        let adapter = Adapter::read(
            name,
            &self.adapter_config,
            &self.adapter,
            &base.linears_mut(),
            device,
        )?;
        let width = base.config().embed_width;
        let vocabulary = self.about.model.visual.init(width, device)?;
        let keys = visual_vocabulary_keys();
        let (vocabulary, _) = seed_weights::load(vocabulary, &self.vocabulary, &keys)?;
        adapter.attach(base.linears_mut())?;
        Ok(SeedLm::new(base, vocabulary, self.about.model.ids()))
    }
}

/// The `config` in a checkpoint's metadata.
pub(crate) fn config_in<T: DeserializeOwned>(checkpoint: &Checkpoint) -> Result<T, LmError> {
    let bad = |reason: String| LmError::File {
        path: checkpoint.name().to_owned(),
        reason: format!("no usable `config` in its metadata ({reason})"),
    };
    let text = checkpoint.metadata().get("config");
    let text = text.ok_or_else(|| bad("missing".to_owned()))?;
    serde_json::from_str(text).map_err(|error| bad(error.to_string()))
}

/// Writes an adapter and a visual vocabulary into `folder`.
///
/// # Errors
///
/// [`LmError::File`], [`LmError::Weights`].
pub fn save_lm(
    folder: &Path,
    adapter: &Adapter,
    vocabulary: &VisualVocabulary,
    about: &LmAbout,
    dtype: DType,
) -> Result<(), LmError> {
    adapter.save(&folder.join(ADAPTER_FOLDER), &about.base)?;
    let config = serde_json::to_string(about).map_err(|error| LmError::File {
        path: VOCABULARY_FILE.to_owned(),
        reason: error.to_string(),
    })?;
    let path = folder.join(VOCABULARY_FILE);
    let keys = visual_vocabulary_keys();
    let vocabulary = vocabulary.clone().valid();
    let saved: Result<(), WeightsError> =
        seed_weights::save(&vocabulary, path, &keys, dtype, About::config(config));
    Ok(saved?)
}
