//! How the time step, and a class label, steer the blocks.

use burn::{
    module::Module,
    tensor::{Device, Tensor, activation::silu},
};
use seed_nn::{Linear, LinearConfig};

/// The longest wave of the features, in time steps over 2π.
const LONGEST: f32 = 10_000.0;

/// Cosines of the time step at `features / 2` frequencies, then sines (`get_timestep_embedding` with `flip_sin_to_cos` and
/// without a shift).
///
/// # Shapes
///
/// - timesteps: `[batch]`, whole or not
/// - output: `[batch, features]`
pub(super) fn time_features(timesteps: Tensor<1>, features: usize) -> Tensor<2> {
    let half = features / 2;
    // In f32, as the reference computes them and the published weights were trained on.
    let frequencies: Vec<f32> = (0..half)
        .map(|index| (-LONGEST.ln() * index as f32 / half as f32).exp())
        .collect();
    let frequencies = Tensor::<1>::from_floats(frequencies.as_slice(), &timesteps.device());
    let [batch] = timesteps.dims();
    let phases = timesteps.reshape([batch, 1]) * frequencies.reshape([1, half]);
    Tensor::cat(vec![phases.clone().cos(), phases.sin()], 1)
}

/// Two linear layers with SiLU between them (`TimestepEmbedding`). Field names are the checkpoint's.
#[derive(Module, Debug)]
pub(super) struct TimeEmbedding {
    linear_1: Linear,
    linear_2: Linear,
}

impl TimeEmbedding {
    /// Initialises the layers on `device`.
    pub(super) fn init(input: usize, output: usize, device: &Device) -> Self {
        Self {
            linear_1: LinearConfig::new(input, output).init(device),
            linear_2: LinearConfig::new(output, output).init(device),
        }
    }

    /// # Shapes
    ///
    /// - x: `[batch, input]`
    /// - output: `[batch, output]`
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.linear_2.forward(silu(self.linear_1.forward(x)))
    }
}
