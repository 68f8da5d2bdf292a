//! The parts together: a condition in, latents and pixels out.
//!
//! - original code: `StableDiffusionPipeline` of diffusers; SEED's `pipeline_stable_unclip_img2img.py`

use burn::tensor::Tensor;

use crate::{
    autoencoder_kl::AutoencoderKl,
    error::DiffusionError,
    guidance::Guidance,
    scheduler::{Scheduler, Step},
    unet::Unet,
};

/// UNet and autoencoder of one model.
#[derive(Debug, Clone)]
pub struct StableDiffusion {
    /// Removes noise from latents.
    pub unet: Unet,
    /// Latents to pixels, and back.
    pub autoencoder: AutoencoderKl,
}

/// What a batch of pictures shows.
#[derive(Debug, Clone)]
pub struct Condition {
    /// States of a text, or SEED's generation embeddings in their place: `[batch, tokens, context_width]`.
    pub context: Tensor<3>,
    /// unCLIP's class labels `[batch, class_width]` ([`ImageNormalizer`](crate::ImageNormalizer)), with a model that has
    /// them.
    pub class_labels: Option<Tensor<2>>,
}

impl Condition {
    /// A context alone.
    pub fn context(context: Tensor<3>) -> Self {
        Self {
            context,
            class_labels: None,
        }
    }

    /// With the class labels of image embeddings.
    pub fn with_class_labels(self, labels: Tensor<2>) -> Self {
        Self {
            class_labels: Some(labels),
            ..self
        }
    }

    /// As many rows as there are pictures: one row is for all of them.
    fn expanded(&self, batch: usize) -> Self {
        let [rows, tokens, width] = self.context.dims();
        let one = rows == 1 && batch > 1;
        let context = self.context.clone();
        let labels = self.class_labels.clone().map(|labels| {
            let [rows, width] = labels.dims();
            if rows == 1 && batch > 1 {
                labels.expand([batch, width])
            } else {
                labels
            }
        });
        Self {
            context: if one {
                context.expand([batch, tokens, width])
            } else {
                context
            },
            class_labels: labels,
        }
    }

    /// The rows of both, these first.
    fn followed_by(self, other: Self) -> Self {
        let labels = self.class_labels.zip(other.class_labels);
        Self {
            context: Tensor::cat(vec![self.context, other.context], 0),
            class_labels: labels.map(|(first, second)| Tensor::cat(vec![first, second], 0)),
        }
    }
}

/// How pictures are drawn.
#[derive(Debug, Clone)]
pub struct Drawing {
    /// What they show. Of one row, all of them.
    pub condition: Condition,
    /// What guidance leads away from: the states of an empty text, of a negative one, or for unCLIP zero class labels. Not
    /// looked at where guidance is off.
    pub negative: Condition,
    /// How strongly the condition is followed.
    pub guidance: Guidance,
    /// The steps.
    pub scheduler: Scheduler,
    /// Noise, or for a start from a picture [`Scheduler::start`]: `[batch, channels, height, width]`.
    pub start: Tensor<4>,
}

impl StableDiffusion {
    /// Latents of pictures, `[batch, channels, height, width]`. `heard` hears of each call of the UNet; it ends when `heard`
    /// says `false`, and then there are none.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Shape`] if a condition or the start does not fit the UNet, before anything is computed.
    pub fn draw(
        &self,
        drawing: &Drawing,
        heard: impl FnMut(&Step<'_>) -> bool,
    ) -> Result<Option<Tensor<4>>, DiffusionError> {
        let start = drawing.start.clone();
        let [batch, channels, ..] = start.dims();
        let config = self.unet.config();
        DiffusionError::check_shape(
            "the start's channels",
            &[channels],
            &[config.input_channels],
        )?;
        let condition = drawing.condition.expanded(batch);
        self.check("the condition", &condition, batch)?;
        let condition = if drawing.guidance.is_on() {
            let negative = drawing.negative.expanded(batch);
            self.check("the negative condition", &negative, batch)?;
            // They go through the UNet side by side.
            DiffusionError::check_shape(
                "the negative condition",
                &negative.context.dims(),
                &condition.context.dims(),
            )?;
            negative.followed_by(condition)
        } else {
            condition
        };
        let model = |latents: Tensor<4>, timestep: usize| {
            drawing.guidance.guided(latents, |latents| {
                let timestep = Tensor::from_floats([timestep as f32], &latents.device());
                let Condition {
                    context,
                    class_labels,
                } = condition.clone();
                Ok(self.unet.forward(latents, timestep, context, class_labels))
            })
        };
        drawing.scheduler.sample(start, model, heard)
    }

    /// Pictures of latents, values between 0 and 1.
    ///
    /// # Shapes
    ///
    /// - latents: `[batch, channels, height, width]`
    /// - output: `[batch, 3, factor · height, factor · width]`
    pub fn pictures(&self, latents: Tensor<4>) -> Tensor<4> {
        let scaled = latents.div_scalar(self.autoencoder.scaling_factor());
        let pixels = self.autoencoder.decode(scaled);
        pixels.div_scalar(2.0).add_scalar(0.5).clamp(0.0, 1.0)
    }

    fn check(
        &self,
        part: &'static str,
        condition: &Condition,
        batch: usize,
    ) -> Result<(), DiffusionError> {
        let config = self.unet.config();
        let found = condition.context.dims();
        let expected = [batch, found[1].max(1), config.context_width];
        DiffusionError::check_shape(part, &found, &expected)?;
        let labels = condition.class_labels.as_ref();
        let found: Vec<usize> = labels.map_or(Vec::new(), |labels| labels.dims().to_vec());
        let width = config.class_width();
        let expected: Vec<usize> = width.map_or(Vec::new(), |width| vec![batch, width]);
        DiffusionError::check_shape("class labels", &found, &expected)
    }
}
