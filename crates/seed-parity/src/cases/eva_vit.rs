//! The EVA-CLIP image tower, followed by `ln_vision` (`eva_vit.py` of the SEED repository).

use burn::module::Module;
use seed_encoders::{EvaVitConfig, interpolate_positions};
use seed_nn::{LayerNorm, LayerNormConfig};
use seed_weights::KeyMap;

use crate::{
    case::{ANY, Case},
    error::ParityError,
    outputs::Recorder,
};

/// The norm under the name that it has in a checkpoint.
#[derive(Module, Debug)]
struct LnVision {
    ln_vision: LayerNorm,
}

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let config = EvaVitConfig {
        image_size: case.size("image_size")?,
        patch_size: case.size("patch_size")?,
        width: case.size("width")?,
        depth: case.size("depth")?,
        heads: case.size("num_heads")?,
        mlp_hidden: case.size("mlp_hidden")?,
    };
    let weights = case.weights("weights")?;
    let keys = KeyMap::identity().nest("", "visual_encoder", &[("", "")]);
    let (tower, _) = seed_weights::load(config.init(case.device)?, &weights, &keys)?;
    let norm = LnVision {
        ln_vision: LayerNormConfig::new(config.width).init(case.device),
    };
    let (norm, _) = seed_weights::load(norm, &weights, &KeyMap::identity())?;

    let images = case.input("image", [ANY, 3, config.image_size, config.image_size])?;
    out.tensor(
        "outputs",
        "patch_embed",
        tower.embed_patches(images.clone()),
    )?;
    let mut x = tower.embed(images.clone());
    out.tensor("outputs", "embed_with_cls_and_pos", x.clone())?;
    for (index, block) in tower.blocks.iter().enumerate() {
        let attention = block.attn.forward(block.norm1.forward(x.clone()));
        out.tensor("outputs", &format!("block_{index}_attn"), attention.clone())?;
        let mlp = block
            .mlp
            .forward(block.norm2.forward(x.clone() + attention));
        out.tensor("outputs", &format!("block_{index}_mlp"), mlp)?;
        x = block.forward(x);
        out.tensor("outputs", &format!("block_{index}"), x.clone())?;
    }
    let tokens = tower.forward(images);
    out.tensor("outputs", "final", tokens.clone())?;
    out.tensor("outputs", "ln_vision", norm.ln_vision.forward(tokens))?;

    // Small enough to show the epsilon of the norms.
    if case.has_input("small_tokens")? {
        let small = case.input("small_tokens", [ANY, ANY, config.width])?;
        let block = tower.blocks[0].forward(small.clone());
        out.tensor("outputs", "block_0_of_small_tokens", block)?;
        let norm = norm.ln_vision.forward(small);
        out.tensor("outputs", "ln_vision_of_small_tokens", norm)?;
    }
    if case.has_input("pos_embed_other_grid")? {
        let other = case.size("other_grid")?;
        let positions = case.input("pos_embed_other_grid", [1, 1 + other * other, config.width])?;
        let positions = interpolate_positions(positions, config.grid());
        out.tensor("outputs", "pos_embed_interpolated", positions)?;
    }
    Ok(())
}
