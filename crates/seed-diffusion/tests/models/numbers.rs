//! Golden numbers, state by state.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use seed_device::test_device;
use seed_diffusion::{AutoencoderKlConfig, ClassEmbedding, autoencoder_kl_keys};
use seed_weights::load;

use crate::golden::{
    SAMPLE, WEIGHTS, assert_golden, autoencoder, beside, distance, states, tensor, timesteps, unet,
    unet_config,
};

/// Tolerances of the fixture's table.
const STATES: &[(&str, f32)] = &[
    ("conv_in", 5e-5),
    ("down_block_0_resnet_0", 5e-5),
    ("down_block_0_attention_0", 1e-4),
    ("down_block_0", 1e-4),
    ("down_block_1", 2e-4),
    ("down_block_2", 2e-4),
    ("mid_block", 2e-4),
    ("up_block_0", 2e-4),
    ("up_block_1", 5e-4),
    ("up_block_2", 1e-3),
    ("conv_norm_out", 1e-4),
];
#[test]
fn the_unet_gives_the_numbers_of_diffusers_at_each_state() {
    let device = test_device();
    let states = states(&unet("unet", &device), &device);
    assert_golden("unet", "time_proj", states.time_proj, 1e-5);
    assert_golden("unet", "time_embedding", states.time_embedding, 2e-5);
    let maps: BTreeMap<String, Tensor<4>> = states.maps.into_iter().collect();
    for &(name, atol) in STATES {
        assert_golden("unet", name, maps[name].clone(), atol);
    }
    assert_golden("unet", "sample", states.sample, SAMPLE);
}

#[test]
fn what_is_watched_is_what_is_computed() {
    let device = test_device();
    let unet = unet("unet", &device);
    let watched = states(&unet, &device).sample;
    let plain = unet.forward(
        tensor("inputs", "latents", &device),
        timesteps("timesteps", &device),
        tensor("inputs", "context", &device),
        None,
    );
    let off = distance(&plain.into_data(), &watched.into_data());
    assert!(off < 1e-5, "{off}");
}

#[test]
fn the_unet_of_unclip_takes_class_labels_and_has_linear_projections() {
    let device = test_device();
    let config = unet_config("unclip_unet");
    let label = ClassEmbedding::Projection { width: 20 };
    assert_eq!(config.class_embedding, Some(label));
    assert_eq!(
        config
            .levels
            .iter()
            .map(|level| level.heads)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    let context: Tensor<3> = tensor("inputs", "unclip_context", &device);
    let sample = unet("unclip_unet", &device).forward(
        tensor("inputs", "unclip_latents", &device),
        timesteps("unclip_timestep", &device),
        context.expand([2, 5, 12]),
        Some(tensor("unclip", "class_labels_level_0", &device)),
    );
    assert_golden("unclip", "unet_sample", sample, 1e-4);
}

#[test]
fn the_autoencoder_gives_the_numbers_of_diffusers() {
    let device = test_device();
    for weights in [WEIGHTS, "old_attention_names"] {
        let model = autoencoder(weights, &device);
        let moments = model.encode(tensor("inputs", "image", &device));
        let both = vec![moments.mean.clone(), moments.log_variance.clone()];
        assert_golden("vae", "moments", Tensor::cat(both, 1), 5e-5);
        assert_golden("vae", "mean", moments.mean.clone(), 5e-5);
        assert_golden("vae", "std", moments.std(), 5e-5);
        let sample = moments.sample(tensor("inputs", "vae_noise", &device));
        assert_golden("vae", "sample", sample.clone(), 5e-5);
        let scaled = sample.mul_scalar(model.scaling_factor());
        assert_golden("vae", "scaled_latents", scaled, 1e-5);
        let decoded = model.decode(tensor("inputs", "latents_in", &device));
        assert_golden("vae", "decoded", decoded, 5e-5);
        let reconstruction = model.decode(moments.mean);
        assert_golden("vae", "reconstruction", reconstruction, 5e-5);
    }
}

#[track_caller]
fn assert_beside(key: &str, output: Tensor<4>) {
    let off = distance(&output.into_data(), &beside("models").float(key).unwrap());
    println!("{key}: {off:.1e} of 5e-5");
    assert!(off <= 5e-5, "{key}: {off}");
}

/// Sides that the levels cannot halve evenly.
#[test]
fn odd_sides_give_the_numbers_of_diffusers() {
    let device = test_device();
    let latents = beside("models").float("odd_latents").unwrap();
    let sample = unet("unet", &device).forward(
        Tensor::from_data(latents, &device),
        timesteps("timesteps", &device),
        tensor("inputs", "context", &device),
        None,
    );
    assert_beside("odd_sample", sample);
}

/// Each halving of the encoder sees a border right and below, which more than one of them tells from a border around.
#[test]
fn an_autoencoder_of_three_levels_gives_the_numbers_of_diffusers() {
    let device = test_device();
    let config = AutoencoderKlConfig {
        sample_size: 32,
        channels: vec![4, 8, 8],
        groups: 2,
        ..AutoencoderKlConfig::sd()
    };
    let weights = beside("three_levels");
    let keys = autoencoder_kl_keys(&weights);
    let (model, _) = load(config.init(&device).unwrap(), &weights, &keys).unwrap();
    let image = beside("models").float("image").unwrap();
    let moments = model.encode(Tensor::from_data(image, &device));
    assert_beside("mean", moments.mean.clone());
    assert_beside("log_variance", moments.log_variance);
    assert_beside("decoded", model.decode(moments.mean));
}
