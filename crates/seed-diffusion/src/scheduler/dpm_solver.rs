//! DPM-Solver++, the multistep form of first or second order.
//!
//! - paper: <https://arxiv.org/abs/2211.01095>, algorithm 2 (2M)
//! - original code: `DPMSolverMultistepScheduler` of diffusers with `dpmsolver++` and `midpoint`

use burn::tensor::Tensor;

use super::{path::Path, prediction::Prediction, solver::Solver};

pub(super) struct DpmSolver {
    prediction: Prediction,
    order: usize,
    /// Whether the last step is of first order.
    careful_end: bool,
    /// The picture as the call before saw it.
    before: Option<Tensor<4>>,
}

/// Half the logarithm of signal to noise; infinite where there is no noise.
fn lambda(alpha_bar: f64) -> f64 {
    0.5 * (alpha_bar / (1.0 - alpha_bar)).ln()
}

impl DpmSolver {
    pub(super) fn new(prediction: Prediction, order: usize, careful_end: bool) -> Self {
        Self {
            prediction,
            order,
            careful_end,
            before: None,
        }
    }

    /// How far the picture is moved on along its last change, in units of that change; none for a step of first order.
    fn lead(&self, path: &Path, call: usize) -> Option<f64> {
        let last = call + 1 == path.steps();
        if self.order == 1 || call == 0 || (last && self.careful_end) {
            return None;
        }
        let [before, here, next] = [call - 1, call, call + 1].map(|at| lambda(path.alpha_bars[at]));
        let lead = 0.5 * (next - here) / (here - before);
        // Many steps name one time step twice, and a step to where there is no noise has no length: both have no slope.
        lead.is_finite().then_some(lead)
    }
}

impl Solver for DpmSolver {
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
        let denoised = self.prediction.denoised(from).of(latents, output);
        let kept = ((1.0 - to) / (1.0 - from)).sqrt();
        // α·(1 − exp(−h)) of the paper, written so that it is finite where no noise is left.
        let moved = to.sqrt() - from.sqrt() * kept;
        let lead = self.lead(path, call);
        let target = match (lead, self.before.take()) {
            (Some(lead), Some(before)) => {
                denoised.clone().mul_scalar(1.0 + lead) - before.mul_scalar(lead)
            }
            _ => denoised.clone(),
        };
        self.before = Some(denoised);
        latents.clone().mul_scalar(kept) + target.mul_scalar(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{FinalNoise, Sampler, SchedulerConfig};

    /// Above 500 steps some time steps repeat, and the last step without noise has no length: no lead is infinite there.
    #[test]
    fn leads_are_finite_at_every_count() {
        let mut config =
            SchedulerConfig::stable_diffusion().with_sampler(Sampler::DpmSolverPlusPlus);
        let schedule = config.noise.init().unwrap();
        for final_sigmas_type in [FinalNoise::Zero, FinalNoise::SigmaMin] {
            config.final_sigmas_type = final_sigmas_type;
            for steps in 1..=1000 {
                let path = Path::new(&config, &schedule, steps).unwrap();
                let solver = DpmSolver::new(Prediction::Epsilon, 2, false);
                let leads: Vec<_> = (0..steps).map(|call| solver.lead(&path, call)).collect();
                assert!(leads.iter().flatten().all(|lead| lead.abs() < 10.0));
                let without = leads.iter().filter(|lead| lead.is_none()).count();
                let ends = usize::from(final_sigmas_type == FinalNoise::Zero && steps > 1);
                assert!(steps > 500 || without == 1 + ends, "{steps}: {without}");
            }
        }
    }
}
