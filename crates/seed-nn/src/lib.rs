//! Blocks shared by two or more models: attention, the ViT block, its MLP, and small tensor
//! helpers that the field writes the same way everywhere.

mod attention;
mod dropout;
mod error;
mod layer_norm;
mod linear;
mod lora;
mod mlp;
mod vit_block;

pub use attention::{
    AttentionBias, causal_bias, causal_bias_after, l2_normalize, merge_heads, padding_bias,
    scaled_dot_product, split_heads, visibility_bias,
};
pub use dropout::Dropout;
pub use error::{ConfigError, limits};
pub use layer_norm::{LayerNorm, LayerNormConfig};
pub use linear::{Linear, LinearConfig};
pub use lora::LoraBranch;
pub use mlp::{Activation, Mlp, MlpConfig};
pub use seed_device::fused::{keeps_eight_bit, product};
pub use vit_block::{QkvBias, VitAttention, VitBlock, VitBlockConfig};
