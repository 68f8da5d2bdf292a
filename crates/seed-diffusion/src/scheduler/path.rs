//! The time steps that are visited, and how noisy each is.

use super::{
    config::{Sampler, SchedulerConfig, Spacing},
    noise_schedule::NoiseSchedule,
};
use crate::error::DiffusionError;

/// ᾱ of DPM-Solver++ where nothing of the picture is left: it takes logarithms of it (diffusers has the same number).
const ALMOST_NOTHING: f64 = 1.0 / (1u64 << 24) as f64;

/// Steps from the noisiest time step down.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path {
    /// The time step of each step.
    pub(super) timesteps: Vec<usize>,
    /// ᾱ of each step, and of where the last step leads.
    pub(super) alpha_bars: Vec<f64>,
}

impl Path {
    /// # Errors
    ///
    /// [`DiffusionError::Setting`] for no steps, more than there are time steps, or a spacing that leaves the schedule.
    pub(super) fn new(
        config: &SchedulerConfig,
        schedule: &NoiseSchedule,
        steps: usize,
    ) -> Result<Self, DiffusionError> {
        let all = schedule.alpha_bars();
        let count = all.len();
        let sound = (1..=count).contains(&steps);
        DiffusionError::require(sound, "steps", steps, format!("between 1 and {count}"))?;
        let timesteps = timesteps(config, count, steps);
        let within = timesteps.first().is_some_and(|first| *first < count);
        // Leading steps of DPM-Solver++ may be a whole number below 1 apart.
        let falls = timesteps.last() != timesteps.first() || steps == 1;
        let expected = format!(
            "fewer: with {:?} spacing and steps_offset {} so many do not fit into {count} time steps",
            config.spacing(),
            config.steps_offset
        );
        DiffusionError::require(within && falls, "steps", steps, expected)?;
        let end = if config.ends_clean() { 1.0 } else { all[0] };
        let logarithms = config.sampler == Sampler::DpmSolverPlusPlus;
        let least = if logarithms && config.noise.rescale_betas_zero_snr {
            ALMOST_NOTHING
        } else {
            0.0
        };
        let here = timesteps.iter().map(|timestep| all[*timestep].max(least));
        let alpha_bars = here.chain([end]).collect();
        Ok(Self {
            timesteps,
            alpha_bars,
        })
    }

    pub(super) fn steps(&self) -> usize {
        self.timesteps.len()
    }

    /// Where the first step leads, if that is a step.
    pub(super) fn second(&self) -> usize {
        1.min(self.steps() - 1)
    }

    /// Without the first `skipped` steps.
    pub(super) fn after(&self, skipped: usize) -> Self {
        Self {
            timesteps: self.timesteps[skipped..].to_vec(),
            alpha_bars: self.alpha_bars[skipped..].to_vec(),
        }
    }
}

/// Time steps from the noisiest down, exactly `steps`, as numpy rounds them in diffusers' `set_timesteps`.
fn timesteps(config: &SchedulerConfig, count: usize, steps: usize) -> Vec<usize> {
    // DPM-Solver++ leaves out the cleanest of one more, but with trailing spacing.
    let spare = usize::from(config.sampler == Sampler::DpmSolverPlusPlus);
    let visited = steps + spare;
    match config.spacing() {
        Spacing::Leading => (spare..visited)
            .rev()
            .map(|index| index * (count / visited) + config.steps_offset)
            .collect(),
        Spacing::Linspace => {
            let last = (count - 1) as f64;
            let apart = last / (visited - 1).max(1) as f64;
            let at = |index: usize| (index as f64 * apart).round_ties_even() as usize;
            (spare..visited).rev().map(at).collect()
        }
        Spacing::Trailing => {
            let count = count as f64;
            // As `np.arange` goes on: by the difference of its first two numbers.
            let apart = (count - count / steps as f64) - count;
            let at = |index: usize| (count + index as f64 * apart).round_ties_even() as usize;
            (0..steps)
                .map(|index| at(index).saturating_sub(1))
                .collect()
        }
    }
}
