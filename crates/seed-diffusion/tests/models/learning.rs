//! Gradients: what is trained later is this code.

use std::collections::BTreeMap;

use burn::tensor::{Distribution, Tensor, TensorData};
use seed_device::test_device;
use seed_diffusion::AutoencoderKlConfig;
use seed_weights::{KeyMap, gradients, parameters};

use crate::golden::{beside, tensor, timesteps, unet, unet_config};

/// Each parameter of both models learns.
#[test]
fn gradients_reach_each_parameter() {
    let device = test_device().autodiff();
    let config = unet_config("unclip_unet");
    let model = config.init(&device).unwrap();
    let noise =
        |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let context = Tensor::random([2, 5, 12], Distribution::Normal(0.0, 1.0), &device);
    let labels = Tensor::random([2, 20], Distribution::Normal(0.0, 1.0), &device);
    let times = Tensor::from_floats([3.0, 700.0], &device);
    let sample = model.forward(noise([2, 4, 8, 8]), times, context, Some(labels));
    let found = gradients(
        &model,
        &sample.square().mean().backward(),
        &KeyMap::identity(),
    );
    assert_learns(&found, parameters(&model).len());

    let config = AutoencoderKlConfig {
        sample_size: 16,
        channels: vec![8, 12],
        layers: 1,
        groups: 4,
        ..AutoencoderKlConfig::sd()
    };
    let model = config.init(&device).unwrap();
    let moments = model.encode(noise([2, 3, 16, 16]));
    let decoded = model.decode(moments.sample(noise([2, 4, 8, 8])));
    let loss = decoded.square().mean() + moments.mean.square().mean();
    let found = gradients(&model, &loss.backward(), &KeyMap::identity());
    assert_learns(&found, parameters(&model).len());
}

/// The slope of a loss along a direction of the latents, against the difference of two losses.
#[test]
fn gradients_are_those_of_the_function() {
    const STEP: f64 = 2e-3;
    let device = test_device().autodiff();
    let unet = unet("unet", &device);
    // Sides that are cut back on the way up.
    let latents = Tensor::<4>::from_data(beside("models").float("odd_latents").unwrap(), &device);
    let direction = latents.clone().flip([0, 1, 2]);
    let loss = |latents: Tensor<4>| {
        let (times, context) = (
            timesteps("timesteps", &device),
            tensor("inputs", "context", &device),
        );
        unet.forward(latents, times, context, None).square().sum()
    };
    let latents = latents.require_grad();
    let gradients = loss(latents.clone()).backward();
    let gradient = latents.grad(&gradients).unwrap();
    let slope = (gradient * direction.clone().inner())
        .sum()
        .into_scalar::<f32>();
    let at = |step: f64| {
        let moved = latents.clone().detach() + direction.clone().mul_scalar(step);
        f64::from(loss(moved).into_scalar::<f32>())
    };
    let found = (at(STEP) - at(-STEP)) / (2.0 * STEP);
    let off = (found - f64::from(slope)).abs() / found.abs().max(10.0);
    println!("{slope} of {found}");
    assert!(off < 0.02, "{slope} of {found}");
}

#[track_caller]
fn assert_learns(gradients: &BTreeMap<String, TensorData>, parameters: usize) {
    assert_eq!(gradients.len(), parameters);
    for (key, gradient) in gradients {
        let values = gradient.try_to_vec::<f32>().unwrap();
        assert!(values.iter().all(|value| value.is_finite()), "{key}");
        // Adding to all keys adds the same to all scores of a query, which the softmax takes away again.
        let flat = key.contains("to_k") && key.ends_with("bias");
        assert!(flat || values.iter().any(|&value| value != 0.0), "{key}");
    }
}
