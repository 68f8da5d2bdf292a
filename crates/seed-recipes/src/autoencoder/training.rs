//! The training of the autoencoder, from pictures to a part of a diffusers folder.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use rand::RngExt;
use rayon::prelude::*;
use seed_data::{DataError, EvalTransform, ItemContext, Loader, LoaderConfig, Normalize, PairSet};
use seed_diffusion::{AutoencoderKl, save_autoencoder};
use seed_train::{
    Averaged, BoxError, Outcome, ProgressMode, Recipe, RunDir, StopFlag, Trained, Trainer,
};
use serde_json::json;

use super::{
    config::AutoencoderTrainingConfig, objective::Objective, opponent::OpponentAxes,
    recipe::AutoencoderRecipe,
};
use crate::{
    batches::batches_from, error::RecipeError, outcome::TrainingOutcome, splits::Splits,
    tensors::stack,
};

/// Pictures that go through the model at once when it is judged or measured.
const BATCH: usize = 32;
/// Every so many pictures of the training set give the colour axes and the latents' deviation.
const MEASURED: usize = 7;
/// Every so many pictures of the held-out set are judged while the training goes on.
const JUDGED: usize = 4;

/// Pixels as the autoencoder takes them: from −1 to 1.
pub fn pixels() -> Normalize {
    Normalize::new([0.5; 3], [0.5; 3])
}

/// The training of an autoencoder.
pub struct AutoencoderTraining<'a> {
    /// Its settings.
    pub config: &'a AutoencoderTrainingConfig,
    /// What it is trained on; the first held-out set is what it is judged by meanwhile.
    pub splits: &'a Splits,
    /// Where to train, without autodiff.
    pub device: &'a Device,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// Asks for a clean stop.
    pub stop: StopFlag,
}

impl AutoencoderTraining<'_> {
    /// Trains, or goes on where the run stopped. The run's folder then has the folder `vae`, as diffusers saves one.
    ///
    /// # Errors
    ///
    /// [`RecipeError`]; settings that cannot be obeyed are told before work begins.
    pub fn train(&self, run: &mut RunDir) -> Result<TrainingOutcome<AutoencoderKl>, RecipeError> {
        self.config.validate()?;
        let device = self.device.clone().autodiff();
        let config = &self.config.train;
        seed_device::seed(&device, config.seed);
        let recipe = AutoencoderRecipe {
            model: self.config.model.clone(),
            objective: Objective {
                weights: self.config.objective,
                axes: self.axes()?.matrix(&device),
            },
            latent_noise: self.config.latent_noise,
            average_decay: self.config.average_decay,
            size: self.config.model.sample_size,
            device,
            identity: json!({
                "settings": self.config.identity(),
                "data": self.splits.identity(),
            }),
        };
        let loader = self.loader()?;
        let batches = |step| batches_from(loader.start_at(step), Ok);
        let judged = self
            .splits
            .evaluations
            .first()
            .map(|held_out| &held_out.set);
        let evaluate = |model: &Averaged<AutoencoderKl>, _| -> Result<_, BoxError> {
            let Some(set) = judged else {
                return Ok(Vec::new());
            };
            let indices: Vec<usize> = (0..set.len()).step_by(JUDGED).collect();
            let decibels = self.decibels(&model.average, set.as_ref(), &indices)?;
            Ok(vec![("validation_psnr".to_owned(), decibels)])
        };
        let Trained { model, outcome, .. } = Trainer::new(&recipe, config)
            .progress(self.progress)
            .stop(self.stop.clone())
            .steps_per_epoch(loader.steps_per_epoch())
            .on_evaluate(self.config.evaluate_every, evaluate)
            .train(recipe.init()?, batches, run)?;
        if let Outcome::Interrupted { step } = outcome {
            let stage = recipe.name();
            return Ok(TrainingOutcome::Interrupted { stage, step });
        }
        let model = self.standardized(model.average.to_device(self.device).valid())?;
        save_autoencoder(&model, run.path())?;
        Ok(TrainingOutcome::Finished(Box::new(model)))
    }

    /// Axes on which the colours of the training pictures differ equally.
    fn axes(&self) -> Result<OpponentAxes, RecipeError> {
        let set = self.splits.train();
        let indices: Vec<usize> = (0..set.len()).step_by(MEASURED).collect();
        let pictures = indices
            .into_par_iter()
            .map(|index| set.picture(index))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(OpponentAxes::of(&pictures))
    }

    /// The model with latents of mean 0 and deviation 1 over the training pictures.
    fn standardized(&self, model: AutoencoderKl) -> Result<AutoencoderKl, RecipeError> {
        let set = self.splits.train();
        let indices: Vec<usize> = (0..set.len()).step_by(MEASURED).collect();
        let channels = model.config().latent_channels;
        let (mut count, mut sums) = (0.0, vec![[0.0f64; 2]; channels]);
        for indices in indices.chunks(BATCH) {
            let pictures = plain_pictures(set.as_ref(), indices, self.size(), self.device)?;
            let moments = model.encode(pictures);
            let [batch, _, height, width] = moments.mean.dims();
            let places = batch * height * width;
            count += places as f64;
            // What is decoded is drawn from the distribution, so that its variance counts.
            let squares = moments.mean.clone().square() + moments.std().square();
            for (index, sums_of) in [moments.mean, squares].into_iter().enumerate() {
                let of_channels: Tensor<2> = sums_of.swap_dims(0, 1).flatten(1, 3);
                let of_channels = of_channels.sum_dim(1).into_data();
                for (sum, value) in sums.iter_mut().zip(of_channels.iter::<f64>()) {
                    sum[index] += value;
                }
            }
        }
        let mean: Vec<f32> = sums.iter().map(|[sum, _]| (sum / count) as f32).collect();
        let deviation: Vec<f32> = sums
            .iter()
            .map(|[sum, square]| (square / count - (sum / count).powi(2)).max(0.0).sqrt() as f32)
            .collect();
        Ok(model.standardized(&mean, &deviation)?)
    }

    fn size(&self) -> usize {
        self.config.model.sample_size
    }

    /// Mean peak signal-to-noise ratio of rebuilt pictures, in decibels.
    ///
    /// `model` is on a device without autodiff.
    pub(super) fn decibels(
        &self,
        model: &AutoencoderKl,
        set: &dyn PairSet,
        indices: &[usize],
    ) -> Result<f64, RecipeError> {
        let mut sum = 0.0;
        for chunk in indices.chunks(BATCH) {
            let originals = plain_pictures(set, chunk, self.size(), self.device)?;
            let difference = (rebuilt(model, originals.clone()) - originals).div_scalar(2.0);
            let squares: Tensor<2> = difference.square().flatten(1, 3);
            let errors = squares.mean_dim(1).into_data();
            sum += errors
                .iter::<f64>()
                .map(|error| -10.0 * error.max(1e-10).log10())
                .sum::<f64>();
        }
        Ok(sum / indices.len().max(1) as f64)
    }

    /// A loader that draws a style and a crop of each training picture.
    fn loader(&self) -> Result<Loader<Vec<f32>, DataError>, RecipeError> {
        let renderings = self.splits.renderings.clone();
        let transform = self.config.transform.clone();
        let share = self.config.restyled_share;
        let normalize = pixels();
        let pictures = renderings[0].len() as u32;
        let make = move |item: ItemContext| -> Result<Vec<f32>, DataError> {
            let (index, mut rng) = (item.index as usize, item.rng);
            let restyled = renderings.len() > 1 && rng.random_range(0.0..1.0) < share;
            let style = if restyled {
                rng.random_range(1..renderings.len())
            } else {
                0
            };
            let picture = renderings[style].picture(index)?;
            Ok(transform.tensor(&picture, &normalize, &mut rng))
        };
        let train = &self.config.train;
        let config = LoaderConfig::new(train.batch_size, train.seed);
        Ok(Loader::new(pictures, config, make)?)
    }
}

/// Pictures of a set as the autoencoder takes them, squashed to squares, `[pictures, 3, size, size]` from −1 to 1.
///
/// # Errors
///
/// [`DataError`] if a picture cannot be read.
pub fn plain_pictures(
    set: &dyn PairSet,
    indices: &[usize],
    size: usize,
    device: &Device,
) -> Result<Tensor<4>, DataError> {
    let (transform, normalize) = (EvalTransform::new(size as u32), pixels());
    let pictures = indices
        .par_iter()
        .map(|&index| Ok(transform.tensor(&set.picture(index)?, &normalize)))
        .collect::<Result<Vec<_>, DataError>>()?;
    Ok(stack(pictures, [indices.len(), 3, size, size], device))
}

/// Pictures through the latents' means and back, clamped: the best that latents can give.
///
/// # Shapes
///
/// - pictures, output: `[batch, 3, height, width]` from −1 to 1
pub fn rebuilt(model: &AutoencoderKl, pictures: Tensor<4>) -> Tensor<4> {
    model.decode(model.encode(pictures).mean).clamp(-1.0, 1.0)
}
