//! The frozen parts of the nano models, shipped with the library.
//!
//! `experiments/nano-clip` has the command, the time and the scores that made them.

use std::borrow::Cow;

use burn::tensor::Device;
use seed_weights::{Checkpoint, WeightsError};

use crate::{Clip, ClipConfig, clip_keys};

const WEIGHTS: &[u8] = include_bytes!("../weights/nano-clip.safetensors");
const TOKENIZER: &str = include_str!("../weights/nano-tokenizer.json");

/// Why the shipped parts, or parts in their place, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NanoError {
    /// The weights do not fit or are damaged.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The config in the weights' metadata is missing or not valid.
    #[error("{name}: no usable `config` in its metadata ({reason})")]
    Config {
        /// File or resource name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The nano CLIP: both towers, in contrast.
#[derive(Debug, Clone)]
pub struct NanoClip {
    /// The towers, without autodiff.
    pub clip: Clip,
    /// Their sizes.
    pub config: ClipConfig,
    /// Hash of the weights.
    pub identity: String,
}

/// The `tokenizer.json` of the nano models' captions: WordPiece, 2048 ids.
pub fn tokenizer_json() -> &'static str {
    TOKENIZER
}

/// The shipped nano CLIP on `device`.
pub fn clip(device: &Device) -> Result<NanoClip, NanoError> {
    clip_from(
        "nano-clip.safetensors (embedded)",
        Cow::Borrowed(WEIGHTS),
        device,
    )
}

/// The shipped image tower alone, under `visual_encoder`, for checkpoints that come without it.
pub fn image_tower() -> Result<Checkpoint, WeightsError> {
    let checkpoint = Checkpoint::from_bytes("the shipped nano CLIP", WEIGHTS)?;
    Ok(checkpoint.only("visual_encoder"))
}

/// A nano CLIP of other weights, such as a new training's.
pub fn clip_from(
    name: &str,
    bytes: Cow<'static, [u8]>,
    device: &Device,
) -> Result<NanoClip, NanoError> {
    let identity = blake3::hash(&bytes).to_hex().to_string();
    let checkpoint = Checkpoint::from_bytes(name, bytes)?;
    let bad = |reason: String| NanoError::Config {
        name: name.to_owned(),
        reason,
    };
    let text = checkpoint
        .metadata()
        .get("config")
        .ok_or_else(|| bad("missing".to_owned()))?;
    let config: ClipConfig = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
    let clip = config
        .init(device)
        .map_err(|error| bad(error.to_string()))?;
    let (clip, _) = seed_weights::load(clip, &checkpoint, &clip_keys())?;
    Ok(NanoClip {
        clip,
        config,
        identity,
    })
}
