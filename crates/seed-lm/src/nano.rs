//! What ships with the library at nano size: an OPT pretrained on text (`experiments/nano-opt`), and what
//! `examples/train_lm` makes of it.

use burn::tensor::{DType, Device};
use seed_weights::Checkpoint;

use crate::{LmError, Opt, OptConfig, SavedLm, SeedLm, saved::config_in};

/// How a saved model names the shipped base.
pub const BASE: &str = "nano";

const OPT: &[u8] = include_bytes!("../weights/nano-opt.safetensors");
const TOKENIZER: &str = include_str!("../weights/nano-bpe.json");
const ADAPTER_CONFIG: &str = include_str!("../weights/nano-lm/adapter/adapter_config.json");
const ADAPTER: &[u8] = include_bytes!("../weights/nano-lm/adapter/adapter_model.safetensors");
const VOCABULARY: &[u8] = include_bytes!("../weights/nano-lm/vocabulary.safetensors");

/// The `tokenizer.json` of the nano OPT: byte-level BPE, 2048 ids, OPT's special tokens.
pub fn tokenizer_json() -> &'static str {
    TOKENIZER
}

/// The shipped nano OPT on `device`, its linear layers' weights kept as `dtype`.
///
/// # Errors
///
/// [`LmError`] if the shipped file is damaged.
pub fn opt(device: &Device, dtype: DType) -> Result<Opt, LmError> {
    opt_from(
        &Checkpoint::from_bytes("the shipped nano OPT", OPT)?,
        device,
        dtype,
    )
}

/// An OPT of the checkpoint that its pretraining wrote, with its sizes in the metadata.
///
/// # Errors
///
/// [`LmError::File`] if the metadata do not say what it is, [`LmError::Weights`].
pub fn opt_from(checkpoint: &Checkpoint, device: &Device, dtype: DType) -> Result<Opt, LmError> {
    let config: OptConfig = config_in(checkpoint)?;
    Ok(config.init(device)?.load(checkpoint, dtype)?.0)
}

/// Hash of the shipped nano OPT.
pub fn opt_identity() -> String {
    blake3::hash(OPT).to_hex().to_string()
}

/// The shipped language model, not yet joined with its base.
///
/// # Errors
///
/// [`LmError`] if a shipped file is damaged.
pub fn saved() -> Result<SavedLm, LmError> {
    SavedLm::of(
        ADAPTER_CONFIG.to_owned(),
        Checkpoint::from_bytes("the shipped nano adapter", ADAPTER)?,
        Checkpoint::from_bytes("the shipped nano vocabulary", VOCABULARY)?,
    )
}

/// The shipped language model on its base.
///
/// # Errors
///
/// [`LmError`] if a shipped file is damaged.
pub fn lm(device: &Device, dtype: DType) -> Result<SeedLm, LmError> {
    saved()?.load(opt(device, dtype)?, &opt_identity(), device)
}
