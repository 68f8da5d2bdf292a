//! DDIM without fresh noise (η = 0).
//!
//! - paper: <https://arxiv.org/abs/2010.02502>
//! - original code: `DDIMScheduler` of diffusers

use burn::tensor::Tensor;

use super::{path::Path, prediction::Prediction, solver::Solver};

pub(super) struct Ddim {
    pub(super) prediction: Prediction,
}

impl Solver for Ddim {
    fn calls(&self, steps: usize) -> Vec<usize> {
        (0..steps).collect()
    }

    fn advance(
        &mut self,
        path: &Path,
        call: usize,
        latents: &Tensor<4>,
        output: &Tensor<4>,
    ) -> Tensor<4> {
        let (from, to) = (path.alpha_bars[call], path.alpha_bars[call + 1]);
        self.prediction.transfer(from, to).of(latents, output)
    }
}
