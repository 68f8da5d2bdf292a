//! Pseudo linear multistep samplers: DDIM's step along a mean of the last four predictions.
//!
//! - paper: PNDM <https://arxiv.org/abs/2202.09778>, equation 12; the first step is the improved Euler method of
//!   <https://github.com/CompVis/latent-diffusion/pull/51>, which calls the model twice
//! - original code: `PNDMScheduler` of diffusers with `skip_prk_steps`; `ldm/models/diffusion/plms.py` of the v1 release
//!
//! Where the model predicts noise, the two agree but for the length of a list of one step.

use burn::tensor::Tensor;

use super::{path::Path, prediction::Prediction, solver::Solver};

/// What is remembered of a call, which is what the mean is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remembers {
    /// What the model said, converted after the mean is taken (diffusers' PNDM).
    Output,
    /// The noise (the release's PLMS).
    Noise,
}

pub(super) struct Multistep {
    prediction: Prediction,
    remembers: Remembers,
    /// Latest last, four at most.
    said: Vec<Tensor<4>>,
    /// Latents that the first step starts from.
    first: Option<Tensor<4>>,
}

impl Multistep {
    pub(super) fn new(prediction: Prediction, remembers: Remembers) -> Self {
        Self {
            prediction,
            remembers,
            said: Vec::new(),
            first: None,
        }
    }

    /// The mean that the step goes along (Adams-Bashforth, of the order that the memory allows).
    fn mean(&self) -> Option<Tensor<4>> {
        let weights: &[f64] = match self.said.len() {
            0 | 1 => &[1.0],
            2 => &[3.0 / 2.0, -1.0 / 2.0],
            3 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
            _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
        };
        let latest_first = self.said.iter().rev().cloned();
        latest_first
            .zip(weights)
            .map(|(said, weight)| said.mul_scalar(*weight))
            .reduce(|sum, part| sum + part)
    }

    fn step(&self, path: &Path, step: usize, latents: &Tensor<4>, mean: &Tensor<4>) -> Tensor<4> {
        let prediction = match self.remembers {
            Remembers::Output => self.prediction,
            Remembers::Noise => Prediction::Epsilon,
        };
        let (from, to) = (path.alpha_bars[step], path.alpha_bars[step + 1]);
        prediction.transfer(from, to).of(latents, mean)
    }
}

impl Solver for Multistep {
    /// The second call is at the end of the first step. With one step alone PLMS calls again where it was, and PNDM does not.
    fn calls(&self, steps: usize) -> Vec<usize> {
        let again = match (steps, self.remembers) {
            (0, _) | (1, Remembers::Output) => None,
            (1, Remembers::Noise) => Some(0),
            _ => Some(1),
        };
        let first = (0..steps).take(1);
        first.chain(again).chain(1..steps).collect()
    }

    fn advance(
        &mut self,
        path: &Path,
        call: usize,
        latents: &Tensor<4>,
        output: &Tensor<4>,
    ) -> Tensor<4> {
        let step = call.saturating_sub(1);
        let said = match self.remembers {
            Remembers::Output => output.clone(),
            Remembers::Noise => {
                let at = if call == 1 { path.second() } else { step };
                let noise = self.prediction.noise(path.alpha_bars[at]);
                noise.of(latents, output)
            }
        };
        if call == 1
            && let (Some(first), Some(before)) = (self.first.take(), self.said.last())
        {
            // The first step once more, along the mean of both its ends.
            let mean = (before.clone() + said).mul_scalar(0.5);
            return self.step(path, 0, &first, &mean);
        }
        if call == 0 {
            self.first = Some(latents.clone());
        }
        if self.said.len() == 4 {
            self.said.remove(0);
        }
        self.said.push(said.clone());
        let mean = self.mean().unwrap_or(said);
        self.step(path, step, latents, &mean)
    }
}
