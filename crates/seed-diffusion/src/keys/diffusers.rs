//! Where each parameter is in the files of diffusers (`diffusion_pytorch_model.safetensors`).

use seed_weights::{Checkpoint, KeyMap, KeyRule};

const DOWN_BLOCK: &[KeyRule] = &[("downsample", "downsamplers.0.conv")];
const UP_BLOCK: &[KeyRule] = &[("upsample", "upsamplers.0.conv")];
const MID_BLOCK: &[KeyRule] = &[("before", "resnets.0"), ("after", "resnets.1")];

/// What is inside a transformer; CompVis has the same names.
pub(super) const TRANSFORMER: &[KeyRule] = &[
    ("block.attn1.to_out", "transformer_blocks.0.attn1.to_out.0"),
    ("block.attn2.to_out", "transformer_blocks.0.attn2.to_out.0"),
    (
        "block.feed_forward.value_and_gate",
        "transformer_blocks.0.ff.net.0.proj",
    ),
    ("block.feed_forward.output", "transformer_blocks.0.ff.net.2"),
    ("block", "transformer_blocks.0"),
    ("", ""),
];

/// The projections of the autoencoder's attention.
const ATTENTION: &[KeyRule] = &[("to_out", "to_out.0"), ("", "")];

/// The same in the first files, as `CompVis/stable-diffusion-v1-4` has them; in whole names: renaming `q` to `to_q` wherever
/// it stands once gave `to_to_k`.
const OLD_ATTENTION: &[KeyRule] = &[
    ("to_q", "query"),
    ("to_k", "key"),
    ("to_v", "value"),
    ("to_out", "proj_attn"),
    ("", ""),
];

/// Keys of [`crate::Unet`], in the layout of diffusers' `unet/`.
pub fn unet_keys() -> KeyMap {
    let attentions = ["down_blocks.{}.attentions.{}", "up_blocks.{}.attentions.{}"];
    attentions
        .into_iter()
        .fold(KeyMap::identity(), |keys, attention| {
            keys.nest(attention, attention, TRANSFORMER)
        })
        .nest("mid_block.attention", "mid_block.attentions.0", TRANSFORMER)
        .nest("mid_block", "mid_block", MID_BLOCK)
        .nest("down_blocks.{}", "down_blocks.{}", DOWN_BLOCK)
        .nest("up_blocks.{}", "up_blocks.{}", UP_BLOCK)
}

/// Keys of [`crate::AutoencoderKl`], in the layout of diffusers' `vae/`.
///
/// The first files name the attention's projections `query`, `key`, `value` and `proj_attn`, later ones `to_q`, `to_k`,
/// `to_v` and `to_out.0`: the map is that of the names in `checkpoint`.
pub fn autoencoder_kl_keys(checkpoint: &Checkpoint) -> KeyMap {
    let is_old = |key: &str| key.ends_with(".mid_block.attentions.0.query.weight");
    with_attention(if checkpoint.keys().any(is_old) {
        OLD_ATTENTION
    } else {
        ATTENTION
    })
}

/// Keys of [`crate::AutoencoderKl`] by the names of today, which is how one is saved.
pub(crate) fn saved_autoencoder_kl_keys() -> KeyMap {
    with_attention(ATTENTION)
}

fn with_attention(attention: &'static [KeyRule]) -> KeyMap {
    ["encoder.mid_block", "decoder.mid_block"]
        .into_iter()
        .fold(KeyMap::identity(), |keys, block| {
            let at = |part: &str| format!("{block}.{part}");
            keys.nest(&at("attention"), &at("attentions.0"), attention)
                .nest(block, block, MID_BLOCK)
        })
        .nest(
            "encoder.down_blocks.{}",
            "encoder.down_blocks.{}",
            DOWN_BLOCK,
        )
        .nest("decoder.up_blocks.{}", "decoder.up_blocks.{}", UP_BLOCK)
}
