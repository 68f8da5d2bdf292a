//! Encoders that SEED takes from others and keeps frozen: the EVA-CLIP image tower and the CLIP text
//! tower, at full size and at nano size, and the contrastive pair of the two that nano is trained as. CLIP's own image
//! tower judges pictures, and gives unCLIP what it draws from. EfficientNet-Lite judges pictures, too, and has nothing in
//! common with them.

mod clip;
mod clip_layer;
mod clip_text;
mod clip_vision;
mod config_json;
mod efficientnet_lite;
mod eva_vit;
pub mod nano;

pub use clip::{Clip, ClipConfig, clip_keys};
pub use clip_text::{ClipText, ClipTextConfig, ClipTextOutput, EndOfText, clip_text_keys};
pub use clip_vision::{ClipVision, ClipVisionConfig, ClipVisionOutput, clip_vision_keys};
pub use config_json::EncoderConfigError;
pub use efficientnet_lite::{
    EfficientNetError, EfficientNetLite, EfficientNetLiteConfig, EfficientNetStage, IMAGENET_MEAN,
    IMAGENET_STD, efficientnet_keys,
};
pub use eva_vit::{EvaVit, EvaVitConfig, interpolate_positions};

/// Version of what these encoders compute. Raise it when the same weights give other outputs: what was kept of the old ones
/// is then computed anew.
pub const CODE_VERSION: u32 = 1;
