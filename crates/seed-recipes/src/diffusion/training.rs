//! The training of the UNet, from pictures and captions to a whole model in a diffusers folder.

use std::sync::Arc;

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use rand::{Rng, RngExt};
use seed_data::{Cache, DataError, ItemContext, Loader, LoaderConfig, PairSet};
use seed_diffusion::{
    AutoencoderKl, ImageNormalizer, Noise, NoiseUse, Sampler, SchedulerConfig, Unet,
    save_autoencoder, save_image_normalizer, save_scheduler, save_unet,
};
use seed_train::{
    Averaged, BoxError, ConfigError, Outcome, ProgressMode, Recipe, RunDir, StopFlag, Trained,
    Trainer,
};
use serde_json::{Value, json};

use super::{
    config::{ConditionShares, DiffusionTrainingConfig},
    recipe::{DiffusionItem, DiffusionRecipe, Given},
    wordings::Wordings,
};
use crate::{
    batches::batches_from,
    error::RecipeError,
    frozen::{FrozenCache, FrozenParts, FrozenRows, ImageEmbedding, Views, module_identity},
    outcome::TrainingOutcome,
    splits::Splits,
    tensors::tokens,
};

/// Held-out pictures that are judged while the training goes on.
const JUDGED: usize = 256;
/// Time steps at which each of them is judged: an eighth of the pictures at each.
const JUDGED_AT: u64 = 8;

/// A trained UNet, on a device without autodiff, and what makes its class labels.
pub struct LatentDiffusion {
    /// The UNet.
    pub unet: Unet,
    /// Makes class labels of image embeddings, where the UNet takes them.
    pub normalizer: Option<ImageNormalizer>,
}

/// The training of a UNet on the latents of an autoencoder.
pub struct DiffusionTraining<'a> {
    /// Its settings.
    pub config: &'a DiffusionTrainingConfig,
    /// The autoencoder, without autodiff.
    pub autoencoder: &'a AutoencoderKl,
    /// What pictures are drawn from: text tower, image tower and image embedding.
    pub frozen: &'a FrozenParts,
    /// What it is trained on; the first held-out set is what it is judged by meanwhile.
    pub splits: &'a Splits,
    /// Where frozen outputs are kept.
    pub cache: &'a Cache,
    /// Where to train, without autodiff.
    pub device: &'a Device,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// Asks for a clean stop.
    pub stop: StopFlag,
}

/// What the frozen parts say of a set's pictures and texts.
#[derive(Clone)]
struct Rows {
    latents: FrozenRows,
    embeddings: Option<FrozenRows>,
    texts: FrozenRows,
    /// For each pair the rows of its texts.
    wordings: Arc<Vec<Vec<usize>>>,
}

impl Rows {
    /// A picture in a view, by one of its texts.
    fn item(
        &self,
        (view, pair): (usize, usize),
        text: usize,
        given: Given,
        (timestep, level): (usize, usize),
    ) -> Result<DiffusionItem, DataError> {
        let text = if given.text() { text } else { Wordings::EMPTY };
        Ok(DiffusionItem {
            latents: self.latents.read(view, pair)?,
            context: self.texts.read(0, text)?,
            embedding: match &self.embeddings {
                Some(embeddings) => embeddings.read(view, pair)?,
                None => Vec::new(),
            },
            given,
            timestep,
            level,
        })
    }
}

impl DiffusionTraining<'_> {
    /// Trains, or goes on where the run stopped. The run's folder then is a whole model as diffusers saves one, autoencoder,
    /// scheduler and image normaliser with it.
    ///
    /// # Errors
    ///
    /// [`RecipeError`]; settings that cannot be obeyed are told before work begins.
    pub fn train(&self, run: &mut RunDir) -> Result<TrainingOutcome<LatentDiffusion>, RecipeError> {
        self.config.validate()?;
        self.check_fits()?;
        let training = self.rows(&self.splits.renderings, &self.views())?;
        let normalizer = normalizer_of(&training, self.device)?;
        let device = self.device.clone().autodiff();
        let config = &self.config.train;
        seed_device::seed(&device, config.seed);
        let recipe = DiffusionRecipe {
            unet: self.config.unet.clone(),
            schedule: self.config.noise.init()?,
            prediction: self.config.prediction_type,
            snr_gamma: self.config.snr_gamma,
            normalizer: normalizer_of(&training, &device)?,
            context_noise: self.config.context_noise * deviation(&training.texts)?,
            tokens: self.config.text_length,
            average_decay: self.config.average_decay,
            device: device.clone(),
            identity: self.identity(),
        };
        let loader = self.loader(&training)?;
        let batches = |step| batches_from(loader.start_at(step), Ok);
        let judged = self.judged()?;
        let evaluate = |model: &Averaged<Unet>, _| -> Result<_, BoxError> {
            let Some(items) = &judged else {
                return Ok(Vec::new());
            };
            let error = self.validation_error(&recipe, &model.average, items)?;
            Ok(vec![("validation_error".to_owned(), error)])
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
        let unet = model.average.to_device(self.device).valid();
        let folder = run.path();
        save_unet(&unet, folder)?;
        save_autoencoder(self.autoencoder, folder)?;
        if let Some(normalizer) = &normalizer {
            save_image_normalizer(normalizer, folder)?;
        }
        save_scheduler(&self.scheduler(), normalizer.is_some(), folder)?;
        let trained = LatentDiffusion { unet, normalizer };
        Ok(TrainingOutcome::Finished(Box::new(trained)))
    }

    /// How pictures are drawn with it by default.
    pub(super) fn scheduler(&self) -> SchedulerConfig {
        SchedulerConfig {
            noise: self.config.noise.clone(),
            ..SchedulerConfig::stable_diffusion()
                .with_sampler(Sampler::DpmSolverPlusPlus)
                .with_prediction(self.config.prediction_type)
        }
    }

    /// Refuses a UNet that does not fit the autoencoder or the frozen parts.
    fn check_fits(&self) -> Result<(), RecipeError> {
        let (unet, autoencoder) = (&self.config.unet, self.autoencoder.config());
        let side = autoencoder.sample_size / autoencoder.factor();
        let text = &self.frozen.text.config;
        let image = &self.frozen.image.config;
        let equal = [
            (
                "unet.sample_size",
                unet.sample_size,
                side,
                "the side of the autoencoder's latents",
            ),
            (
                "unet.input_channels",
                unet.input_channels,
                autoencoder.latent_channels,
                "the channels of the autoencoder's latents",
            ),
            (
                "unet.context_width",
                unet.context_width,
                text.width,
                "the width of the text tower",
            ),
            (
                "transform.size",
                self.config.transform.size as usize,
                image.image_size,
                "the side of the image tower's pictures",
            ),
            (
                "transform.size",
                self.config.transform.size as usize,
                autoencoder.sample_size,
                "the side of the autoencoder's pictures",
            ),
        ];
        for (key, found, expected, what) in equal {
            let rule = format!("{expected}, {what}");
            ConfigError::require(found == expected, key, found, &rule)?;
        }
        let longest = text.max_length;
        let length = self.config.text_length;
        let rule = format!("at most the text tower's {longest} positions");
        ConfigError::require(length <= longest, "text_length", length, &rule)?;
        if let Some(width) = unet.class_width() {
            let embedding = self
                .frozen
                .image_embedding
                .as_ref()
                .map_or(0, ImageEmbedding::width);
            let rule = format!(
                "{}: an image embedding of {embedding} and its noise level",
                2 * embedding
            );
            let fits = embedding > 0 && width == 2 * embedding;
            ConfigError::require(fits, "unet.class_embedding", width, &rule)?;
        }
        Ok(())
    }

    /// All that decides what is trained, but for the step loop.
    fn identity(&self) -> Value {
        json!({
            "settings": self.config.identity(),
            "data": self.splits.identity(),
            "autoencoder": self.autoencoder_identity(),
            "text": self.frozen.text.identity,
            "image": self.frozen.image.identity,
        })
    }

    fn autoencoder_identity(&self) -> String {
        module_identity(self.autoencoder, self.autoencoder.config(), 1)
    }

    /// Text states of some captions, `[captions, tokens, context_width]`.
    pub(super) fn states(&self, captions: &[String]) -> Result<Tensor<3>, RecipeError> {
        let text = &self.frozen.text;
        let batch = text
            .tokenizer
            .encode_batch(captions, self.config.text_length)?;
        let (ids, _) = tokens(batch, self.device);
        Ok(text.model.forward(ids, None).last_hidden_state)
    }

    fn views(&self) -> Views {
        Views::Random {
            count: self.config.views,
            transform: self.config.transform.clone(),
            seed: self.config.train.seed,
        }
    }

    fn rows(&self, renderings: &[Arc<dyn PairSet>], views: &Views) -> Result<Rows, RecipeError> {
        let cache = FrozenCache {
            cache: self.cache,
            device: self.device,
            show_progress: self.progress != ProgressMode::Quiet,
            stop: &self.stop,
        };
        let identity = self.autoencoder_identity();
        let latents = cache.latents(self.autoencoder, &identity, renderings, views)?;
        let embeddings = match &self.frozen.image_embedding {
            Some(embedding) if self.config.unet.class_width().is_some() => {
                let tokens = cache.image_tokens(&self.frozen.image, renderings, views)?;
                let identity = embedding.identity();
                Some(cache.image_embeddings(embedding, &identity, &tokens)?)
            }
            _ => None,
        };
        let set = renderings[0].as_ref();
        let Wordings { texts, of_pair } =
            Wordings::of(set, self.config.wordings, self.config.train.seed);
        let texts = cache.states_of_texts(&self.frozen.text, &texts, self.config.text_length)?;
        Ok(Rows {
            latents,
            embeddings,
            texts,
            wordings: Arc::new(of_pair),
        })
    }

    /// A loader that draws a view, a text, a time step and what is given of each training picture.
    fn loader(&self, rows: &Rows) -> Result<Loader<DiffusionItem, DataError>, RecipeError> {
        let rows = rows.clone();
        let shares = self.config.shares;
        let timesteps = self.config.noise.num_train_timesteps;
        let levels = self.config.image_noise_level;
        let pictures = rows.latents.pictures as u32;
        let make = move |item: ItemContext| {
            let (pair, mut rng) = (item.index as usize, item.rng);
            let view = rng.random_range(0..rows.latents.views);
            let texts = &rows.wordings[pair];
            let text = texts[rng.random_range(0..texts.len())];
            let at = (rng.random_range(0..timesteps), rng.random_range(0..=levels));
            let given = drawn(&shares, &mut rng);
            rows.item((view, pair), text, given, at)
        };
        let train = &self.config.train;
        let config = LoaderConfig::new(train.batch_size, train.seed);
        Ok(Loader::new(pictures, config, make)?)
    }

    /// Held-out pictures with their first texts, at time steps spread evenly; none without a held-out set.
    fn judged(&self) -> Result<Option<Vec<DiffusionItem>>, RecipeError> {
        let Some(held_out) = self.splits.evaluations.first() else {
            return Ok(None);
        };
        let rows = self.rows(&[Arc::clone(&held_out.set)], &Views::Plain)?;
        let pictures = rows.latents.pictures;
        let count = pictures.min(JUDGED);
        let timesteps = self.config.noise.num_train_timesteps as u64;
        let items = (0..count).map(|index| {
            let pair = index * pictures / count;
            let place = index as u64 % JUDGED_AT;
            let timestep = ((2 * place + 1) * timesteps / (2 * JUDGED_AT)) as usize;
            rows.item(
                (0, pair),
                rows.wordings[pair][0],
                Given::Text,
                (timestep, 0),
            )
        });
        Ok(Some(items.collect::<Result<_, _>>()?))
    }

    /// Mean of the weighted errors of held-out pictures, whose noise is the same each time.
    ///
    /// `unet` is on a device without autodiff.
    fn validation_error(
        &self,
        recipe: &DiffusionRecipe,
        unet: &Unet,
        items: &[DiffusionItem],
    ) -> Result<f64, RecipeError> {
        let recipe = DiffusionRecipe {
            normalizer: recipe.normalizer.as_ref().map(|n| n.on(self.device)),
            ..recipe.clone()
        };
        let batch = self.config.train.batch_size;
        let mut sum = 0.0;
        for (index, items) in items.chunks(batch).enumerate() {
            let shape = recipe.latent_shape(items.len());
            let noise = Noise::new(self.config.train.seed).from_picture((index * batch) as u64);
            let draw = |purpose| noise.draw(purpose, shape, self.device);
            let noise = [draw(NoiseUse::Posterior), draw(NoiseUse::Latents)];
            let errors = recipe.validation_errors(unet, items.to_vec(), noise, self.device)?;
            sum += errors.iter().sum::<f64>();
        }
        Ok(sum / items.len().max(1) as f64)
    }
}

/// A normaliser by the image embeddings of the training pictures.
fn normalizer_of(rows: &Rows, device: &Device) -> Result<Option<ImageNormalizer>, RecipeError> {
    let Some(embeddings) = &rows.embeddings else {
        return Ok(None);
    };
    let (mean, deviation) = moments(embeddings)?;
    Ok(Some(ImageNormalizer::new(&mean, &deviation, device)?))
}

/// What is given, drawn by the shares.
fn drawn(shares: &ConditionShares, rng: &mut impl Rng) -> Given {
    let at: f64 = rng.random_range(0.0..1.0);
    let ConditionShares {
        text, image, both, ..
    } = *shares;
    match at {
        at if at < text => Given::Text,
        at if at < text + image => Given::Image,
        at if at < text + image + both => Given::Both,
        _ => Given::Neither,
    }
}

/// Mean and deviation of each number of the rows.
fn moments(rows: &FrozenRows) -> Result<(Vec<f32>, Vec<f32>), DataError> {
    let width = rows.shape[0] * rows.shape[1];
    let (mut sums, mut squares) = (vec![0.0; width], vec![0.0; width]);
    for view in 0..rows.views {
        for picture in 0..rows.pictures {
            let row = rows.read(view, picture)?;
            for ((sum, square), value) in sums.iter_mut().zip(&mut squares).zip(row) {
                *sum += f64::from(value);
                *square += f64::from(value).powi(2);
            }
        }
    }
    let count = (rows.views * rows.pictures) as f64;
    let of = sums.iter().zip(&squares).map(|(sum, square)| {
        let mean = sum / count;
        // A number that never changes says nothing, and is not to be divided by 0.
        let deviation = (square / count - mean * mean).max(1e-12).sqrt();
        (mean as f32, deviation as f32)
    });
    Ok(of.unzip())
}

/// Root of the mean variance of all numbers of the rows.
fn deviation(rows: &FrozenRows) -> Result<f64, DataError> {
    let (_, deviations) = moments(rows)?;
    let squares: f64 = deviations.iter().map(|&d| f64::from(d).powi(2)).sum();
    Ok((squares / deviations.len().max(1) as f64).sqrt())
}
