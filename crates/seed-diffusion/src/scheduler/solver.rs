//! What the samplers have in common.

use burn::tensor::Tensor;

use super::path::Path;

/// A way of going from one step to the next; it may remember what the model said before.
pub(super) trait Solver {
    /// Which steps of a path of so many the model is called at, in order.
    fn calls(&self, steps: usize) -> Vec<usize>;

    /// The latents after the call of that number.
    ///
    /// # Shapes
    ///
    /// - latents that the model was given, its output, result: `[batch, channels, height, width]`
    fn advance(
        &mut self,
        path: &Path,
        call: usize,
        latents: &Tensor<4>,
        output: &Tensor<4>,
    ) -> Tensor<4>;
}
