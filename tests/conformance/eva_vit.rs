use burn::module::Module;
use seed_encoders::{EvaVit, EvaVitConfig, interpolate_positions};
use seed_weights::KeyMap;

use crate::fixture::Case;

fn tower(case: &Case) -> EvaVit {
    let config = EvaVitConfig {
        image_size: case.size("image_size"),
        patch_size: case.size("patch_size"),
        width: case.size("width"),
        depth: case.size("depth"),
        heads: case.size("num_heads"),
        mlp_hidden: case.size("mlp_hidden"),
    };
    let keys = KeyMap::identity().nest("", "visual_encoder", &[("", "")]);
    let (tower, report) = seed_weights::load(
        config.init(&case.device).unwrap(),
        &case.file("weights"),
        &keys,
    )
    .unwrap();
    assert_eq!(report.unused, ["ln_vision.bias", "ln_vision.weight"]);
    tower
}

#[test]
fn every_stage_of_the_tower_matches() {
    let case = Case::open("01_eva_vit");
    let tower = tower(&case);
    let images = case.input::<4>("inputs", "image");
    case.check(
        "outputs",
        "patch_embed",
        tower.embed_patches(images.clone()),
    );
    let mut x = tower.embed(images.clone());
    case.check("outputs", "embed_with_cls_and_pos", x.clone());
    for (index, block) in tower.blocks.iter().enumerate() {
        if index == 0 {
            let attention = block.attn.forward(block.norm1.forward(x.clone()));
            case.check("outputs", "block_0_attn", attention.clone());
            let mlp = block
                .mlp
                .forward(block.norm2.forward(x.clone() + attention));
            case.check("outputs", "block_0_mlp", mlp);
        }
        x = block.forward(x);
        case.check("outputs", &format!("block_{index}"), x.clone());
    }
    case.check("outputs", "final", tower.forward(images));
}

#[test]
fn tokens_small_enough_to_show_the_norms_epsilon_match() {
    let case = Case::open("01_eva_vit");
    let small = case.input::<3>("inputs", "small_tokens");
    case.check(
        "outputs",
        "block_0_of_small_tokens",
        tower(&case).blocks[0].forward(small),
    );
}

#[test]
fn training_and_inference_attention_agree() {
    let case = Case::open("01_eva_vit");
    let tower = tower(&case);
    let tokens = tower.embed(case.input::<4>("inputs", "image"));
    // The fused attention runs without autodiff, the plain form with it.
    let trained = tower.blocks[0]
        .clone()
        .train()
        .forward(tokens.clone().autodiff());
    let difference = (trained.inner() - tower.blocks[0].forward(tokens))
        .abs()
        .max();
    assert!(crate::fixture::scalar(difference) < 1e-4);
}

#[test]
fn positions_of_another_grid_are_resized_as_in_the_reference() {
    let case = Case::open("01_eva_vit");
    let positions = case.input::<3>("inputs", "pos_embed_other_grid");
    let grid = case.size("image_size") / case.size("patch_size");
    case.check(
        "outputs",
        "pos_embed_interpolated",
        interpolate_positions(positions, grid),
    );
}
