//! Dropout whose masks cost one pass.

use burn::{module::Module, tensor::Tensor};
use seed_device::fused;

/// Sets elements to zero at random while training; the others are scaled up, so that the mean stays.
///
/// It is active on a device with autodiff alone. The masks follow from the device's random stream.
#[derive(Module, Debug)]
pub struct Dropout {
    /// Probability of zero.
    pub probability: f64,
}

impl Dropout {
    /// A dropout with a probability in `0.0..1.0`, which the configs of models check.
    pub fn new(probability: f64) -> Self {
        Self { probability }
    }

    /// # Shapes
    ///
    /// - input, output: any
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        if self.probability == 0.0 || !x.device().is_autodiff() {
            return x;
        }
        let mask = fused::dropout_mask(x.clone(), self.probability);
        x * mask
    }
}
