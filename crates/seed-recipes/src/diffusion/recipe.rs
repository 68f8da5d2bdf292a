//! The step of the UNet's training.

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use seed_diffusion::{ImageNormalizer, NoiseSchedule, Prediction, Unet, UnetConfig};
use seed_nn::ConfigError;
use seed_train::{Averaged, Losses, Recipe, Updated};
use serde_json::Value;

use crate::tensors::stack;

/// What a picture is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// Its text alone.
    Text,
    /// Its image embedding alone.
    Image,
    /// Both.
    Both,
    /// Neither.
    Neither,
}

impl Given {
    /// Whether the text is.
    pub fn text(self) -> bool {
        matches!(self, Self::Text | Self::Both)
    }

    /// Whether the image embedding is.
    pub fn image(self) -> bool {
        matches!(self, Self::Image | Self::Both)
    }
}

/// One picture of a batch, as plain numbers.
#[derive(Debug, Clone)]
pub struct DiffusionItem {
    /// Means, then deviations of the latents: `[2 · channels, side · side]`.
    pub latents: Vec<f32>,
    /// Text states `[tokens, context_width]`: of the empty text where no text is given.
    pub context: Vec<f32>,
    /// Image embedding `[width]`; empty for a UNet without class labels.
    pub embedding: Vec<f32>,
    /// What is given.
    pub given: Given,
    /// Time step.
    pub timestep: usize,
    /// Level of the noise on the image embedding.
    pub level: usize,
}

/// Latents are noised, and the UNet says with what.
#[derive(Debug, Clone)]
pub struct DiffusionRecipe {
    /// Sizes of the UNet.
    pub unet: UnetConfig,
    /// How noisy each time step is.
    pub schedule: NoiseSchedule,
    /// What the UNet predicts.
    pub prediction: Prediction,
    /// Bound on the signal-to-noise ratio in the weight of a time step.
    pub snr_gamma: Option<f64>,
    /// Makes class labels, where the UNet takes them.
    pub normalizer: Option<ImageNormalizer>,
    /// Deviation of the noise on text states, not in units of theirs.
    pub context_noise: f64,
    /// Tokens of a context.
    pub tokens: usize,
    /// Decay of the weights' moving average.
    pub average_decay: f64,
    /// Where tensors are made.
    pub device: Device,
    /// Everything beside the step loop that decides what is computed.
    pub identity: Value,
}

impl DiffusionRecipe {
    /// A UNet with random weights, and its average.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self) -> Result<Averaged<Unet>, ConfigError> {
        Ok(Averaged::new(self.unet.init(&self.device)?))
    }

    /// Mean squared error of each picture's prediction, weighted by its time step, `[batch]`. `noise` is of the latents,
    /// `[batch, channels, side, side]`.
    ///
    /// # Errors
    ///
    /// [`seed_diffusion::DiffusionError`] for a time step or a level that there is not.
    fn errors(
        &self,
        unet: &Unet,
        batch: Vec<DiffusionItem>,
        [posterior, noise]: [Tensor<4>; 2],
        device: &Device,
    ) -> Result<Tensor<1>, seed_diffusion::DiffusionError> {
        let count = batch.len();
        let [_, channels, side, _] = noise.dims();
        let timesteps: Vec<usize> = batch.iter().map(|item| item.timestep).collect();
        let levels: Vec<usize> = batch.iter().map(|item| item.level).collect();
        let given: Vec<f32> = batch
            .iter()
            .map(|item| f32::from(u8::from(item.given.image())))
            .collect();
        let (mut latents, mut contexts, mut embeddings) = (Vec::new(), Vec::new(), Vec::new());
        for item in batch {
            latents.push(item.latents);
            contexts.push(item.context);
            embeddings.push(item.embedding);
        }
        let moments = stack(latents, [count, 2 * channels, side, side], device);
        let mean = moments.clone().narrow(1, 0, channels);
        let clean = mean + moments.narrow(1, channels, channels) * posterior;
        let context = stack(
            contexts,
            [count, self.tokens, self.unet.context_width],
            device,
        );
        let context = self.noised_context(context);
        let labels = match &self.normalizer {
            Some(normalizer) => {
                let width = normalizer.width();
                let embeddings = stack(embeddings, [count, width], device);
                let noise = Tensor::random([count, width], Distribution::Normal(0.0, 1.0), device);
                let labels = normalizer.class_labels_at(embeddings, noise, &levels)?;
                let given = Tensor::<2>::from_data(TensorData::new(given, [count, 1]), device);
                Some(labels * given)
            }
            None => None,
        };
        let noisy = self
            .schedule
            .add_noise(clean.clone(), noise.clone(), &timesteps)?;
        let target = match self.prediction {
            Prediction::Epsilon => noise,
            Prediction::Velocity => self.schedule.velocity(clean, noise, &timesteps)?,
            Prediction::Sample => clean,
        };
        let weights = timesteps
            .iter()
            .map(|&timestep| Ok(self.weight(self.schedule.signal_to_noise(timestep)?) as f32))
            .collect::<Result<Vec<_>, seed_diffusion::DiffusionError>>()?;
        let row =
            |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [count]), device);
        let at = row(timesteps.iter().map(|&timestep| timestep as f32).collect());
        let predicted = unet.forward(noisy, at, context, labels);
        let squares: Tensor<2> = (predicted - target).square().flatten(1, 3);
        Ok(squares.mean_dim(1).reshape([count]) * row(weights))
    }

    /// min(SNR, γ) in units of what the prediction's own error means for the picture.
    fn weight(&self, ratio: f64) -> f64 {
        let Some(gamma) = self.snr_gamma else {
            return 1.0;
        };
        ratio.min(gamma)
            / match self.prediction {
                Prediction::Epsilon => ratio,
                Prediction::Velocity => ratio + 1.0,
                Prediction::Sample => 1.0,
            }
    }

    fn noised_context(&self, context: Tensor<3>) -> Tensor<3> {
        if self.context_noise <= 0.0 {
            return context;
        }
        let normal = Distribution::Normal(0.0, self.context_noise);
        let noise = Tensor::random(context.shape(), normal, &context.device());
        context + noise
    }

    /// Weighted errors of pictures whose noise is that of their place in the batch, the same at each call.
    ///
    /// # Errors
    ///
    /// [`seed_diffusion::DiffusionError`] for a time step or a level that there is not.
    pub(super) fn validation_errors(
        &self,
        unet: &Unet,
        batch: Vec<DiffusionItem>,
        noise: [Tensor<4>; 2],
        device: &Device,
    ) -> Result<Vec<f64>, seed_diffusion::DiffusionError> {
        let still = Self {
            context_noise: 0.0,
            ..self.clone()
        };
        let errors = still.errors(unet, batch, noise, device)?;
        Ok(errors.into_data().iter::<f64>().collect())
    }

    /// Shape of the latents of so many pictures.
    pub(super) fn latent_shape(&self, count: usize) -> [usize; 4] {
        let side = self.unet.sample_size;
        [count, self.unet.input_channels, side, side]
    }
}

impl Recipe for DiffusionRecipe {
    type Model = Averaged<Unet>;
    type Batch = Vec<DiffusionItem>;

    fn name(&self) -> &'static str {
        "unet"
    }

    fn config(&self) -> Value {
        self.identity.clone()
    }

    /// # Panics
    ///
    /// If an item has a time step or a level that there is not, which the training never makes.
    fn loss(&self, model: &Self::Model, batch: Self::Batch) -> Losses {
        let shape = self.latent_shape(batch.len());
        let normal = || Tensor::random(shape, Distribution::Normal(0.0, 1.0), &self.device);
        let texts = batch
            .iter()
            .filter(|item| item.given == Given::Text)
            .count();
        let from_text: Vec<f32> = batch
            .iter()
            .map(|item| f32::from(u8::from(item.given == Given::Text)))
            .collect();
        let count = batch.len();
        let errors = self
            .errors(&model.model, batch, [normal(), normal()], &self.device)
            .expect("time steps and levels are drawn from those that there are");
        let from_text = Tensor::<1>::from_data(TensorData::new(from_text, [count]), &self.device);
        let of_texts = (errors.clone() * from_text)
            .sum()
            .div_scalar(texts.max(1) as f64);
        let losses = Losses::new(errors.mean());
        if texts == 0 {
            return losses;
        }
        losses.with_mean_of(texts as f64, "from_text", of_texts)
    }

    fn after_update(&self, model: Self::Model, step: u64) -> Updated<Self::Model> {
        Updated::new(model.moved(self.average_decay, step))
    }
}
