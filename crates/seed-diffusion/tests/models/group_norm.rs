//! GroupNorm against its meaning in 64 bits.

use burn::tensor::{Distribution, Tensor, TensorData};
use seed_device::test_device;
use seed_diffusion::GroupNormConfig;

use crate::golden::distance;

/// The epsilon is added to the variance, under the root: where a group hardly varies it decides the result.
#[test]
fn a_group_that_hardly_varies_is_normalised_as_in_64_bits() {
    const SHAPE: [usize; 4] = [2, 6, 5, 7];
    const GROUPS: usize = 3;
    let device = test_device();
    for epsilon in [1e-5, 1e-6] {
        // Deviations about as large as the root of the epsilon, around a level that is large beside them.
        let count = SHAPE.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|i: usize| 0.75 + (i * 37 % 101) as f32 * 2e-5 * (1 + i / 70) as f32)
            .collect();
        let [scale, shift] = [
            [0.5, -1.0, 2.0, 1.0, 3.0, -0.25],
            [0.1, 0.2, -0.3, 0.0, 1.0, 2.0],
        ];
        let config = GroupNormConfig {
            groups: GROUPS,
            channels: SHAPE[1],
            epsilon,
        };
        let mut norm = config.init(&device);
        norm.gamma = norm.gamma.map(|_| Tensor::from_floats(scale, &device));
        norm.beta = norm.beta.map(|_| Tensor::from_floats(shift, &device));
        let input = Tensor::<4>::from_data(TensorData::new(values.clone(), SHAPE), &device);
        let found = norm.forward(input).into_data();

        let places = SHAPE[2] * SHAPE[3];
        let group = SHAPE[1] / GROUPS * places;
        let expected = values.chunks(group).enumerate().flat_map(|(index, group)| {
            let count = group.len() as f64;
            let mean = group.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
            let squares = group.iter().map(|&x| (f64::from(x) - mean).powi(2));
            let inverse = (squares.sum::<f64>() / count + epsilon).sqrt().recip();
            let first = index % GROUPS * (SHAPE[1] / GROUPS);
            group.iter().enumerate().map(move |(i, &x)| {
                let channel = first + i / places;
                let normal = (f64::from(x) - mean) * inverse;
                (normal * scale[channel] + shift[channel]) as f32
            })
        });
        let expected = TensorData::new(expected.collect::<Vec<f32>>(), SHAPE);
        let off = distance(&found, &expected);
        // A rounding of the mean, 3e-8, over a deviation of at least 1e-3.
        assert!(off < 3e-4, "{epsilon}: {off}");
    }
}

/// Wide groups of the autoencoder: the mean of a quarter of a million values, ten deviations from 0. `wgpu` adds them up in
/// f32 one after the other: at forty deviations its mean is off by 3e-3 of one.
#[test]
fn a_wide_group_is_normalised() {
    let device = test_device();
    let config = GroupNormConfig {
        groups: 2,
        channels: 2,
        epsilon: 1e-6,
    };
    let shape = [1, 2, 512, 512];
    let noise = Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let found = config.init(&device).forward(noise * 0.5 + 5.0);
    let mean = found.clone().mean().into_scalar::<f32>();
    let square = found.square().mean().into_scalar::<f32>();
    assert!(
        mean.abs() < 1e-3 && (square - 1.0).abs() < 1e-3,
        "{mean} {square}"
    );
}
