//! Where each parameter is in the files of CompVis and its successors: `sd-v1-4.ckpt`, `v2-1_768-ema-pruned.ckpt` and the
//! like, with all models in one file.
//!
//! Blocks have one number there, through all levels, so that the maps depend on the config. Such files say nothing of what
//! the model predicts. Some hold the UNet twice, as it was trained last and averaged over the training; which one is meant
//! is for the caller to say.

use seed_weights::{KeyMap, KeyRule, parameters};

use super::diffusers::TRANSFORMER;
use crate::{
    autoencoder_kl::AutoencoderKlConfig,
    unet::{Unet, UnetConfig},
};

/// Where the UNet is in a file.
pub(crate) const UNET: &str = "model.diffusion_model";
/// Where the averaged UNet is in a file.
pub(crate) const AVERAGED_UNET: &str = "model_ema.diffusion_model";
/// Where the autoencoder is in a file.
pub(crate) const AUTOENCODER: &str = "first_stage_model";

/// A residual block of the UNet.
const UNET_RESNET: &[KeyRule] = &[
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
];

/// What is outside of the UNet's blocks.
const UNET_ENDS: &[KeyRule] = &[
    ("conv_in", "input_blocks.0.0"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("class_embedding.linear_1", "label_emb.0.0"),
    ("class_embedding.linear_2", "label_emb.0.2"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
];

/// A residual block of the autoencoder.
const RESNET: &[KeyRule] = &[("conv_shortcut", "nin_shortcut"), ("", "")];

/// The attention of the autoencoder.
const ATTENTION: &[KeyRule] = &[
    ("group_norm", "norm"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
    ("to_out", "proj_out"),
];

/// What is outside of the blocks of an encoder or a decoder.
const ENDS: &[KeyRule] = &[("conv_norm_out", "norm_out"), ("", "")];

/// Keys of [`crate::Unet`] of this config, in the layout of a `.ckpt`.
pub fn compvis_unet_keys(config: &UnetConfig) -> KeyMap {
    let mut keys = KeyMap::identity();
    let theirs = |block: &str, index: usize, part: usize| format!("{UNET}.{block}.{index}.{part}");
    let levels = config.levels.len();

    let mut index = 1;
    for level in 0..levels {
        for layer in 0..config.layers {
            let at = |part: &str| format!("down_blocks.{level}.{part}.{layer}");
            keys = keys
                .nest(
                    &at("resnets"),
                    &theirs("input_blocks", index, 0),
                    UNET_RESNET,
                )
                .nest(
                    &at("attentions"),
                    &theirs("input_blocks", index, 1),
                    TRANSFORMER,
                );
            index += 1;
        }
        let at = theirs("input_blocks", index, 0);
        keys = keys.nest(
            &format!("down_blocks.{level}"),
            &at,
            &[("downsample", "op")],
        );
        index += 1;
    }

    let middle = |part| format!("{UNET}.middle_block.{part}");
    keys = keys
        .nest("mid_block.before", &middle(0), UNET_RESNET)
        .nest("mid_block.attention", &middle(1), TRANSFORMER)
        .nest("mid_block.after", &middle(2), UNET_RESNET);

    let mut index = 0;
    for (block, level) in config.levels.iter().rev().enumerate() {
        for layer in 0..=config.layers {
            let at = |part: &str| format!("up_blocks.{block}.{part}.{layer}");
            keys = keys
                .nest(
                    &at("resnets"),
                    &theirs("output_blocks", index, 0),
                    UNET_RESNET,
                )
                .nest(
                    &at("attentions"),
                    &theirs("output_blocks", index, 1),
                    TRANSFORMER,
                );
            index += 1;
        }
        // Behind the level's last layer, as a further part of its block.
        let at = theirs("output_blocks", index - 1, 1 + usize::from(level.attends));
        keys = keys.nest(&format!("up_blocks.{block}"), &at, &[("upsample", "conv")]);
    }
    keys.nest("", UNET, UNET_ENDS)
}

/// Keys of a [`crate::Unet`] for the averaged weights of a `.ckpt` that holds them apart: below `model_ema`, without the dots
/// of their names (`LitEma` of CompVis). Where they are there, they are what to draw with.
pub fn compvis_averaged_unet_keys(unet: &Unet) -> KeyMap {
    let keys = compvis_unet_keys(unet.config());
    parameters(unet)
        .iter()
        .fold(KeyMap::identity(), |averaged, parameter| {
            let theirs = averaged_key(&keys.key(&parameter.path));
            averaged.nest(&parameter.path, &theirs, &[("", "")])
        })
}

/// The key of an averaged weight of the UNet, by that of the weight itself.
pub(crate) fn averaged_key(key: &str) -> String {
    let name = key.strip_prefix(UNET).unwrap_or(key).replace('.', "");
    format!("{AVERAGED_UNET}{name}")
}

/// Keys of [`crate::AutoencoderKl`] of this config, in the layout of a `.ckpt`. The attention's projections are 1×1
/// convolutions there.
pub fn compvis_autoencoder_kl_keys(config: &AutoencoderKlConfig) -> KeyMap {
    let mut keys = KeyMap::identity();
    for model in ["encoder", "decoder"] {
        let ours = |part: &str| format!("{model}.mid_block.{part}");
        let theirs = |part: &str| format!("{AUTOENCODER}.{model}.mid.{part}");
        keys = keys
            .nest(&ours("before"), &theirs("block_1"), RESNET)
            .nest(&ours("attention"), &theirs("attn_1"), ATTENTION)
            .nest(&ours("after"), &theirs("block_2"), RESNET);
    }
    // The decoder's levels are counted from the finest there.
    let levels = config.channels.len();
    for (block, level) in (0..levels).rev().enumerate() {
        let [ours, theirs] = [
            format!("decoder.up_blocks.{block}"),
            format!("{AUTOENCODER}.decoder.up.{level}"),
        ];
        keys = level_of(keys, &ours, &theirs, &[("upsample", "upsample.conv")]);
    }
    let theirs = format!("{AUTOENCODER}.encoder.down.{{}}");
    let halving: &[KeyRule] = &[("downsample", "downsample.conv")];
    keys = level_of(keys, "encoder.down_blocks.{}", &theirs, halving);
    for model in ["encoder", "decoder"] {
        keys = keys.nest(model, &format!("{AUTOENCODER}.{model}"), ENDS);
    }
    keys.nest("", AUTOENCODER, &[("", "")])
}

/// Adds a level of the autoencoder.
fn level_of(keys: KeyMap, ours: &str, theirs: &str, change: &[KeyRule]) -> KeyMap {
    let block = format!("{theirs}.block.{{}}");
    keys.nest(&format!("{ours}.resnets.{{}}"), &block, RESNET)
        .nest(ours, theirs, change)
}
