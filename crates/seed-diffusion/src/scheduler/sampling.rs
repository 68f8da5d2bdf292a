//! All steps, from the noisiest to the picture.

use burn::tensor::{DType, Tensor};

use super::{
    config::{FinalNoise, Sampler, SchedulerConfig},
    ddim::Ddim,
    dpm_solver::DpmSolver,
    multistep::{Multistep, Remembers},
    noise_schedule::NoiseSchedule,
    path::Path,
    prediction::Mix,
    solver::Solver,
};
use crate::error::DiffusionError;

/// Below so many steps DPM-Solver++'s last one is of first order, if `lower_order_final` says so.
const FEW_STEPS: usize = 15;

impl SchedulerConfig {
    /// A scheduler of so many steps.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Sizes`] if settings do not go together; [`DiffusionError::Setting`] for no steps, more than the
    /// model was trained with, or so many that they do not fit at this spacing.
    pub fn init(&self, steps: usize) -> Result<Scheduler, DiffusionError> {
        self.validate()?;
        let schedule = self.noise.init()?;
        let path = Path::new(self, &schedule, steps)?;
        Ok(Scheduler {
            config: self.clone(),
            schedule,
            path,
            skipped: 0,
        })
    }
}

/// Walks from noise to latents in a number of steps.
///
/// Each step leads to the time step of the next one. diffusers' DDIM and PNDM go by a fixed stride instead, which is another
/// place where spacing is linspace, or trailing with a count that does not divide the time steps
/// (<https://github.com/huggingface/diffusers/issues/12633>).
///
/// ```
/// # use burn::tensor::Tensor;
/// # use seed_diffusion::{DiffusionError, Noise, NoiseUse, SchedulerConfig};
/// # let device = seed_device::test_device();
/// # let unet = |latents: Tensor<4>, _timestep: usize| latents;
/// let scheduler = SchedulerConfig::stable_diffusion().init(20)?;
/// let start = Noise::new(7).draw(NoiseUse::Latents, [1, 4, 8, 8], &device);
/// let model = |latents, timestep| Ok::<_, DiffusionError>(unet(latents, timestep));
/// let latents = scheduler.sample(start, model, |step| {
///     println!("{} of {}", step.call + 1, step.calls);
///     true
/// })?;
/// assert!(latents.is_some());
/// # Ok::<(), DiffusionError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Scheduler {
    config: SchedulerConfig,
    schedule: NoiseSchedule,
    path: Path,
    /// Steps that are left out at the start.
    skipped: usize,
}

/// What is known after a call of the model.
#[derive(Debug)]
pub struct Step<'a> {
    /// Which call it was, from 0.
    pub call: usize,
    /// How many calls there are.
    pub calls: usize,
    /// The time step that the model was called at.
    pub timestep: usize,
    /// What the model said, `[batch, channels, height, width]`.
    pub output: &'a Tensor<4>,
    /// The latents that follow, `[batch, channels, height, width]`.
    pub latents: &'a Tensor<4>,
    before: &'a Tensor<4>,
    denoised: Mix,
}

impl Step<'_> {
    /// The latents without noise as the model sees them after this call: a preview,
    /// `[batch, channels, height, width]`.
    pub fn denoised(&self) -> Tensor<4> {
        self.denoised.of(self.before, self.output)
    }
}

impl Scheduler {
    /// Its settings.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// How noisy each time step is.
    pub fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// Starts later, from a picture: of all steps only the last share `strength` is done, rounded down.
    ///
    /// The samplers begin anew there. In diffusers' image-to-image PNDM takes its second call for the third step instead.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Setting`] unless it is above 0, at most 1, and leaves a step.
    pub fn with_strength(self, strength: f64) -> Result<Self, DiffusionError> {
        let steps = self.path.steps();
        let sound = strength > 0.0 && strength <= 1.0;
        DiffusionError::require(sound, "strength", strength, "above 0 and at most 1")?;
        let done = (steps as f64 * strength) as usize;
        let expected = format!("such that at least one of {steps} steps is left");
        DiffusionError::require(done > 0, "strength", strength, expected)?;
        Ok(Self {
            skipped: steps - done.min(steps),
            ..self
        })
    }

    /// The time step of each call of the model, in order: PNDM calls twice at the second step, so that 50 steps are 51 calls.
    pub fn timesteps(&self) -> Vec<usize> {
        let path = self.path.after(self.skipped);
        let calls = self.solver(&path).calls(path.steps());
        calls.into_iter().map(|at| path.timesteps[at]).collect()
    }

    /// What [`sample`](Self::sample) starts from for a picture: its latents, noised to the first step.
    ///
    /// Without a picture it starts from noise alone.
    ///
    /// # Shapes
    ///
    /// - clean, noise, output: `[batch, channels, height, width]`
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Shape`].
    pub fn start(&self, clean: Tensor<4>, noise: Tensor<4>) -> Result<Tensor<4>, DiffusionError> {
        DiffusionError::check_shape("noise", &noise.dims(), &clean.dims())?;
        let alpha_bar = self.path.alpha_bars[self.skipped];
        let mix = Mix::new(alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        Ok(mix.of(&clean, &noise))
    }

    /// Walks all steps, and gives the latents of the picture.
    ///
    /// `model` is given latents in f32 and a time step, and gives its prediction (guided, if there is guidance). `heard` hears
    /// of each call; it ends when `heard` says `false`, and then there are no latents.
    ///
    /// # Shapes
    ///
    /// - start, latents and prediction of the model, output: `[batch, channels, height, width]`
    ///
    /// # Errors
    ///
    /// Those of `model`; [`DiffusionError::Shape`] if it gives another shape than it was given.
    pub fn sample<E: From<DiffusionError>>(
        &self,
        start: Tensor<4>,
        mut model: impl FnMut(Tensor<4>, usize) -> Result<Tensor<4>, E>,
        mut heard: impl FnMut(&Step<'_>) -> bool,
    ) -> Result<Option<Tensor<4>>, E> {
        let path = self.path.after(self.skipped);
        let mut solver = self.solver(&path);
        let calls = solver.calls(path.steps());
        let mut latents = start.cast(DType::F32);
        for (call, at) in calls.iter().enumerate() {
            let timestep = path.timesteps[*at];
            let output = model(latents.clone(), timestep)?;
            DiffusionError::check_shape("the prediction", &output.dims(), &latents.dims())?;
            let output = output.cast(DType::F32);
            let before = latents;
            latents = solver.advance(&path, call, &before, &output);
            let step = Step {
                call,
                calls: calls.len(),
                timestep,
                output: &output,
                latents: &latents,
                before: &before,
                denoised: self.config.prediction_type.denoised(path.alpha_bars[*at]),
            };
            if !heard(&step) {
                return Ok(None);
            }
        }
        Ok(Some(latents))
    }

    fn solver(&self, path: &Path) -> Box<dyn Solver> {
        let SchedulerConfig {
            prediction_type: prediction,
            solver_order,
            lower_order_final,
            final_sigmas_type,
            ..
        } = self.config;
        match self.config.sampler {
            Sampler::Ddim => Box::new(Ddim { prediction }),
            Sampler::Pndm => Box::new(Multistep::new(prediction, Remembers::Output)),
            Sampler::Plms => Box::new(Multistep::new(prediction, Remembers::Noise)),
            Sampler::DpmSolverPlusPlus => {
                let few = path.steps() + self.skipped < FEW_STEPS;
                let careful_end =
                    final_sigmas_type == FinalNoise::Zero || (lower_order_final && few);
                Box::new(DpmSolver::new(prediction, solver_order, careful_end))
            }
        }
    }
}
