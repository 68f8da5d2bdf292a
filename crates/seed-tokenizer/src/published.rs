//! What a checkpoint in the reference's layout is, and the files a release consists of.
//!
//! Released were, in this order (spec of the files: `keys.rs`):
//!
//! | release | files |
//! |---|---|
//! | SEED v1, July 2023 | `eva_vit_g.pth`, `causal_qformer.pth`, `seed_tokenizer.pth` |
//! | SEED v2, October 2023 | `eva_vit_g.pth`, `seed_quantizer.pt` |
//! | training code, February 2024 | as v2, with a one-query reverse Q-Former instead of the MLP |

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use seed_nn::ConfigError;
use seed_weights::{Checkpoint, LoadReport, WeightsError, load_as};

use crate::{SeedConfig, SeedTokenizer, TokenEncoderConfig, tokenizer_keys};

/// The image tower's file in every release; its keys have no prefix.
const IMAGE_TOWER: &str = "eva_vit_g.pth";
/// Files of a release beside the image tower.
const V1_FILES: [&str; 2] = ["causal_qformer.pth", "seed_tokenizer.pth"];
const V2_FILES: [&str; 1] = ["seed_quantizer.pt"];
/// What this library writes: the whole tokenizer in one file.
pub const TOKENIZER_FILE: &str = "tokenizer.safetensors";
/// Sizes and options beside a checkpoint that is of no preset's size.
const CONFIG_FILE: &str = "config.json";

/// Why a tokenizer could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file is missing, damaged, or of another model.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The files are of a release, and its sizes do not fit them.
    #[error(
        "{source}; the sizes of {release} were assumed: if yours are others, write them into a config.json beside the files"
    )]
    AssumedSizes {
        /// The release that the keys are of.
        release: String,
        /// What does not fit.
        source: Box<WeightsError>,
    },
    /// The config describes no possible model.
    #[error("{name}: {source}")]
    Config {
        /// Where the config was read.
        name: String,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// The config cannot be read.
    #[error("{name}: the tokenizer's config cannot be read: {reason}")]
    UnreadableConfig {
        /// Where it was looked for.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The keys are those of no release.
    #[error(
        "{name} is no SEED tokenizer: it holds neither a text head (`distill_text_proj`, v1) nor an image head (`distill_image_proj`, v2), and no config of ours; `seed inspect` shows what it is"
    )]
    NotATokenizer {
        /// The checkpoint.
        name: String,
    },
    /// A release's other files are not beside the one given.
    #[error(
        "{} holds no whole release: {} is missing (v1 is {IMAGE_TOWER}, {} and {}; v2 is {IMAGE_TOWER} and {})",
        folder.display(), missing.join(" and "), V1_FILES[0], V1_FILES[1], V2_FILES[0]
    )]
    Incomplete {
        /// Where the files were looked for.
        folder: PathBuf,
        /// Those that are not there.
        missing: Vec<&'static str>,
    },
}

/// A checkpoint with the config of the tokenizer in it, not yet loaded.
#[derive(Debug)]
pub struct PublishedTokenizer {
    /// All files as one; keys are the reference's.
    pub checkpoint: Checkpoint,
    /// Sizes and options.
    pub config: SeedConfig,
    /// The folder it is in; other files of it, such as the text tokenizer, lie there.
    pub folder: Option<PathBuf>,
    /// What it is: `SEED v1`, `SEED v2`, or what our own file says.
    pub release: String,
    /// Whether the config is the release's own, since neither the file nor one beside it says more.
    sizes_assumed: bool,
}

impl PublishedTokenizer {
    /// Opens a file of ours, a release's file with the others beside it, or a folder that holds either.
    ///
    /// The sizes come from the file itself if it is ours, else from `config.json` beside it, else they are
    /// the release's own.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let path = path.as_ref();
        let checkpoint = open_release(path)?;
        let folder = if path.is_dir() {
            path
        } else {
            path.parent().unwrap_or(path)
        };
        Self::of(checkpoint, Some(folder.to_owned()))
    }

    /// Recognises a checkpoint that is already open, of files in `folder` if it is of files.
    pub fn of(checkpoint: Checkpoint, folder: Option<PathBuf>) -> Result<Self, TokenizerError> {
        if let Some(text) = checkpoint.metadata().get("config") {
            let config = config_of(checkpoint.name(), text)?;
            let release = "SEED tokenizer of this library".to_owned();
            return Self::checked(checkpoint, config, folder, release, false);
        }
        let (mut config, release) = recognise(&checkpoint)?;
        let config_file = folder.as_ref().map(|folder| folder.join(CONFIG_FILE));
        let config_file = config_file.filter(|file| file.is_file());
        if let Some(file) = &config_file {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).map_err(|error| {
                TokenizerError::UnreadableConfig {
                    name: name.clone(),
                    reason: error.to_string(),
                }
            })?;
            config = config_of(&name, &text)?;
        }
        keep_what_is_there(&mut config, &checkpoint);
        Self::checked(
            checkpoint,
            config,
            folder,
            release.to_owned(),
            config_file.is_none(),
        )
    }

    fn checked(
        checkpoint: Checkpoint,
        config: SeedConfig,
        folder: Option<PathBuf>,
        release: String,
        sizes_assumed: bool,
    ) -> Result<Self, TokenizerError> {
        config.validate().map_err(|source| TokenizerError::Config {
            name: checkpoint.name().to_owned(),
            source,
        })?;
        Ok(Self {
            checkpoint,
            config,
            folder,
            release,
            sizes_assumed,
        })
    }

    /// Loads the tokenizer onto `device`, its linear weights kept as `dtype`.
    pub fn load(
        &self,
        device: &Device,
        dtype: DType,
    ) -> Result<(SeedTokenizer, LoadReport), TokenizerError> {
        let module = self
            .config
            .init(device)
            .map_err(|source| TokenizerError::Config {
                name: self.checkpoint.name().to_owned(),
                source,
            })?;
        load_as(module, &self.checkpoint, &tokenizer_keys(), dtype).map_err(|source| {
            let other_size = matches!(
                source,
                WeightsError::Missing { .. } | WeightsError::Shape { .. }
            );
            if self.sizes_assumed && other_size {
                return TokenizerError::AssumedSizes {
                    release: self.release.clone(),
                    source: Box::new(source),
                };
            }
            source.into()
        })
    }
}

/// Our files carry `{"model": config, …}`; a bare config is read as well.
fn config_of(name: &str, text: &str) -> Result<SeedConfig, TokenizerError> {
    let unreadable = |error: serde_json::Error| TokenizerError::UnreadableConfig {
        name: name.to_owned(),
        reason: error.to_string(),
    };
    let mut value: serde_json::Value = serde_json::from_str(text).map_err(unreadable)?;
    if let Some(model) = value.get_mut("model") {
        value = model.take();
    }
    serde_json::from_value(value).map_err(unreadable)
}

/// The release that the keys are of, at its own size.
fn recognise(checkpoint: &Checkpoint) -> Result<(SeedConfig, &'static str), TokenizerError> {
    let has = |key| checkpoint.shape(key).is_some();
    if has("distill_text_proj.weight") {
        return Ok((SeedConfig::seed_v1(), "SEED v1 (arXiv 2307.08041)"));
    }
    if has("image_down.0.weight") {
        return Ok((SeedConfig::seed_v2(), "SEED v2 (arXiv 2310.01218)"));
    }
    if has("distill_image_proj.weight") && has("reverse_tokens") {
        let config = SeedConfig::seed_v2_one_query();
        return Ok((config, "SEED v2, training code of February 2024"));
    }
    Err(TokenizerError::NotATokenizer {
        name: checkpoint.name().to_owned(),
    })
}

/// Drops what a release leaves out and making codes does not need: v2 has no text side and no
/// contrastive heads.
fn keep_what_is_there(config: &mut SeedConfig, checkpoint: &Checkpoint) {
    if let TokenEncoderConfig::QFormer(q_former) = &mut config.tokens {
        if checkpoint
            .shape("Qformer.bert.embeddings.word_embeddings.weight")
            .is_none()
        {
            q_former.q_former.text = None;
        }
        if checkpoint.shape("temp").is_none() {
            q_former.embed_dim = None;
        }
    }
}

/// Opens the file or files that make a whole tokenizer, as [`PublishedTokenizer::open`] finds them,
/// whatever they hold.
pub fn open_release(path: &Path) -> Result<Checkpoint, TokenizerError> {
    if path.is_dir() {
        let whole = path.join(TOKENIZER_FILE);
        if whole.is_file() {
            return Ok(Checkpoint::open(whole)?);
        }
        let is_release = |files: &[&str]| files.iter().any(|file| path.join(file).is_file());
        return match (is_release(&V1_FILES), is_release(&V2_FILES)) {
            (true, _) => join_release(path, &V1_FILES),
            (_, true) => join_release(path, &V2_FILES),
            _ => Ok(Checkpoint::open(path)?),
        };
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = path.file_name().and_then(|name| name.to_str());
    match file {
        Some(name) if V1_FILES.contains(&name) => join_release(folder, &V1_FILES),
        Some(name) if V2_FILES.contains(&name) => join_release(folder, &V2_FILES),
        _ => Ok(Checkpoint::open(path)?),
    }
}

fn join_release(folder: &Path, files: &[&'static str]) -> Result<Checkpoint, TokenizerError> {
    let all = std::iter::once(IMAGE_TOWER).chain(files.iter().copied());
    let missing: Vec<&str> = all.filter(|file| !folder.join(file).is_file()).collect();
    if !missing.is_empty() {
        return Err(TokenizerError::Incomplete {
            folder: folder.to_owned(),
            missing,
        });
    }
    let mut whole = Checkpoint::open(folder.join(IMAGE_TOWER))?.below("visual_encoder");
    for file in files {
        whole = whole.joined(Checkpoint::open(folder.join(file))?)?;
    }
    Ok(whole)
}
