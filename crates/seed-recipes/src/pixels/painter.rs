//! Codes become pictures.

use burn::tensor::{Device, Int, Tensor, TensorData};
use image::RgbImage;
use seed_diffusion::{
    Condition, DiffusionError, Drawing, Guidance, Noise, NoiseUse, Scheduler, StableDiffusion, Step,
};
use seed_tokenizer::{CODE_VERSION, CodeAutoencoder, CodeAutoencoderConfig};

use super::{
    diffusion::DiffusionModel,
    error::PixelError,
    prompts::Prompts,
    settings::{Form, PixelSettings},
};
use crate::frozen::module_identity;

/// Pixels that the autoencoder makes at once: sixteen of Stable Diffusion's pictures would take 30 GB.
const DECODED_AT_ONCE: usize = 512 * 512;

/// A tokenizer's way back and the diffusion model that it conditions, with settings that have been held against both.
///
/// What a picture looks like is decided by its codes, its number and the settings, not by what is drawn beside it.
///
/// A prefix of the codes is decoded as if the sequence ended there: the others are not masked, they are absent, from the
/// attention of the blocks before a head as from that of its reverse Q-Former. Tokenizers are trained on whole sequences.
#[derive(Debug, Clone)]
pub struct Painter {
    codes: CodeAutoencoder,
    positions: usize,
    codebook: usize,
    /// How many codes count.
    count: usize,
    form: Form,
    diffusion: DiffusionModel,
    scheduler: Scheduler,
    steps: usize,
    guidance: Guidance,
    settings: PixelSettings,
    tokenizer_identity: String,
    /// What an image embedding stands beside.
    empty: Option<Tensor<3>>,
    /// What guidance leads away from, where there is guidance.
    negative: Option<Condition>,
    device: Device,
}

impl Painter {
    /// Checks that codes, diffusion model and settings go together, and prepares what all pictures share.
    ///
    /// # Errors
    ///
    /// [`PixelError`], by what does not fit.
    pub fn new(
        codes: CodeAutoencoder,
        config: &CodeAutoencoderConfig,
        diffusion: DiffusionModel,
        settings: &PixelSettings,
        device: &Device,
    ) -> Result<Self, PixelError> {
        let form = form(config, settings)?;
        let count = settings.prefix.unwrap_or(config.positions);
        if !(1..=config.positions).contains(&count) {
            return Err(PixelError::Prefix {
                prefix: count,
                positions: config.positions,
            });
        }
        let scheduler = match settings.sampler {
            Some(sampler) => diffusion.scheduler.clone().with_sampler(sampler),
            None => diffusion.scheduler.clone(),
        };
        let steps = settings.steps.unwrap_or(diffusion.steps);
        let scheduler = scheduler.init(steps)?;
        let guidance = Guidance::new(settings.guidance.unwrap_or(diffusion.guidance))?;
        if !guidance.is_on() && !settings.negative.is_empty() {
            return Err(PixelError::NegativeWithoutGuidance);
        }
        parts_fit(&diffusion.model)?;
        let length = match form {
            Form::Text => text_fits(config, &diffusion.model, settings)?,
            Form::Image => image_fits(config, &diffusion, settings)?,
        };
        let states = |text: &str, need: &'static str| {
            let prompts = prompts(&diffusion, need)?;
            let (found, expected) = (prompts.width(), diffusion.model.unet.config().context_width);
            if found != expected {
                let what = "text tower's states";
                return Err(PixelError::Width {
                    what,
                    found,
                    expected,
                });
            }
            prompts.states(text, length.unwrap_or(prompts.length()))
        };
        let empty = match form {
            Form::Text => None,
            Form::Image => Some(states("", "stand beside an image embedding")?),
        };
        let negative = if guidance.is_on() {
            let context = states(&settings.negative, "are what guidance leads away from")?;
            Some(unlabelled(&diffusion.model, context))
        } else {
            None
        };
        Ok(Self {
            tokenizer_identity: module_identity(&codes, config, CODE_VERSION),
            positions: config.positions,
            codebook: config.quantizer.codes,
            settings: settings.clone(),
            device: device.clone(),
            codes,
            count,
            form,
            diffusion,
            scheduler,
            steps,
            guidance,
            empty,
            negative,
        })
    }

    /// How often the UNet is called for a batch, whatever its size.
    pub fn calls(&self) -> usize {
        self.scheduler.timesteps().len()
    }

    /// Width and height of the pictures.
    pub fn size(&self) -> [u32; 2] {
        let StableDiffusion { unet, autoencoder } = &self.diffusion.model;
        let side = unet.config().sample_size * autoencoder.config().factor();
        [side as u32; 2]
    }

    /// What decides a picture beside its codes and its number, by name.
    pub fn about(&self) -> Vec<(&'static str, String)> {
        let mut about = vec![
            ("form", self.form.to_string()),
            ("seed", self.settings.seed.to_string()),
            ("steps", self.steps.to_string()),
            ("guidance", self.guidance.scale().to_string()),
            ("scheduler", self.scheduler.config().sampler.to_string()),
            ("diffusion", self.diffusion.name.clone()),
            ("diffusion_identity", self.diffusion.identity.clone()),
            ("tokenizer_identity", self.tokenizer_identity.clone()),
        ];
        if self.guidance.is_on() {
            about.push(("negative", self.settings.negative.clone()));
        }
        if self.count < self.positions {
            about.push(("prefix", self.count.to_string()));
        }
        if self.form == Form::Image {
            about.push(("noise_level", self.settings.noise_level.to_string()));
        }
        about
    }

    /// Checks one image's codes: as many as the tokenizer makes, or with a prefix at least that many.
    ///
    /// # Errors
    ///
    /// [`PixelError::CodeCount`], [`PixelError::Code`].
    pub fn check(&self, codes: &[i64]) -> Result<(), PixelError> {
        if !(self.count..=self.positions).contains(&codes.len()) {
            let expected = if self.count < self.positions {
                format!(
                    "{}, of which the first {} are enough",
                    self.positions, self.count
                )
            } else {
                self.positions.to_string()
            };
            return Err(PixelError::CodeCount {
                found: codes.len(),
                expected,
            });
        }
        let known = |code: i64| usize::try_from(code).is_ok_and(|code| code < self.codebook);
        match codes.iter().position(|code| !known(*code)) {
            Some(position) => Err(PixelError::Code {
                code: codes[position],
                position: position + 1,
                codes: self.codebook,
            }),
            None => Ok(()),
        }
    }

    /// Pictures of a batch of codes; `numbers` are theirs, which choose their noise. `heard` hears of each call of the UNet; it
    /// ends when `heard` says `false`, and then there are none.
    ///
    /// # Errors
    ///
    /// [`PixelError::CodeCount`] and [`PixelError::Code`], before anything is computed; [`PixelError::NotFinite`].
    ///
    /// # Panics
    ///
    /// If there is not a number for each image.
    pub fn paint(
        &self,
        codes: &[Vec<i64>],
        numbers: &[u64],
        heard: impl FnMut(&Step<'_>) -> bool,
    ) -> Result<Option<Vec<RgbImage>>, PixelError> {
        assert_eq!(codes.len(), numbers.len(), "a number for each image");
        codes.iter().try_for_each(|codes| self.check(codes))?;
        if codes.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let condition = self.condition(codes, numbers)?;
        let config = self.diffusion.model.unet.config();
        let side = config.sample_size;
        let shape = [1, config.input_channels, side, side];
        let drawing = Drawing {
            // Not looked at where there is no guidance.
            negative: self.negative.clone().unwrap_or_else(|| condition.clone()),
            condition,
            guidance: self.guidance,
            scheduler: self.scheduler.clone(),
            start: self.noise(NoiseUse::Latents, numbers, shape),
        };
        let latents = self.diffusion.model.draw(&drawing, heard)?;
        latents
            .map(|latents| self.developed(latents, numbers))
            .transpose()
    }

    /// What the codes say to the UNet.
    fn condition(&self, codes: &[Vec<i64>], numbers: &[u64]) -> Result<Condition, PixelError> {
        let model = &self.diffusion.model;
        let rows: Vec<i64> = codes
            .iter()
            .flat_map(|codes| codes[..self.count].iter().copied())
            .collect();
        let rows = TensorData::new(rows, [codes.len(), self.count]);
        let u = self
            .codes
            .decode(Tensor::<2, Int>::from_data(rows, &self.device));
        match self.form {
            Form::Text => {
                let Some(head) = &self.codes.text_head else {
                    return Err(no_head(Form::Text, self.codes.image_head.is_some()));
                };
                Ok(unlabelled(model, head.forward(u)))
            }
            Form::Image => {
                let (Some(head), Ok(normalizer), Some(empty)) = (
                    &self.codes.image_head,
                    &self.diffusion.normalizer,
                    &self.empty,
                ) else {
                    return Err(no_head(Form::Image, self.codes.text_head.is_some()));
                };
                let shape = [1, normalizer.width()];
                let noise = self.noise(NoiseUse::Embedding, numbers, shape);
                let level = self.settings.noise_level;
                let labels = normalizer.class_labels(head.forward(u), noise, level)?;
                let [_, length, width] = empty.dims();
                let context = empty.clone().expand([codes.len(), length, width]);
                Ok(Condition::context(context).with_class_labels(labels))
            }
        }
    }

    /// Noise of these pictures, `[pictures, ..]`; `shape` is that of one.
    fn noise<const D: usize>(
        &self,
        purpose: NoiseUse,
        numbers: &[u64],
        shape: [usize; D],
    ) -> Tensor<D> {
        let noise = Noise::new(self.settings.seed);
        let each = numbers.iter().map(|number| {
            let noise = noise.from_picture(*number);
            noise.draw(purpose, shape, &self.device)
        });
        Tensor::cat(each.collect(), 0)
    }

    /// Latents as pictures.
    fn developed(&self, latents: Tensor<4>, numbers: &[u64]) -> Result<Vec<RgbImage>, PixelError> {
        let [width, height] = self.size();
        let values = 3 * (width * height) as usize;
        let at_once = (DECODED_AT_ONCE / (width * height) as usize).max(1);
        let mut pictures = Vec::with_capacity(numbers.len());
        for (first, numbers) in numbers.chunks(at_once).enumerate() {
            let some = latents.clone().narrow(0, first * at_once, numbers.len());
            // Channels last, as a picture has them.
            let pixels = self.diffusion.model.pictures(some).permute([0, 2, 3, 1]);
            let pixels: Vec<f32> = pixels.into_data().iter::<f32>().collect();
            for (pixels, &picture) in pixels.chunks(values).zip(numbers) {
                if !pixels.iter().all(|value| value.is_finite()) {
                    return Err(PixelError::NotFinite { picture });
                }
                let bytes = pixels.iter().map(|value| (value * 255.0).round() as u8);
                pictures.extend(RgbImage::from_raw(width, height, bytes.collect()));
            }
        }
        Ok(pictures)
    }
}

/// The form that was asked for, or the tokenizer's own.
fn form(config: &CodeAutoencoderConfig, settings: &PixelSettings) -> Result<Form, PixelError> {
    let heads = [config.text_head.is_some(), config.image_head.is_some()];
    match (settings.form, heads) {
        (Some(Form::Text) | None, [true, _]) => Ok(Form::Text),
        (Some(Form::Image) | None, [_, true]) => Ok(Form::Image),
        (Some(Form::Text), [false, other]) => Err(no_head(Form::Text, other)),
        (Some(Form::Image), [other, false]) => Err(no_head(Form::Image, other)),
        (None, [false, false]) => Err(no_head(Form::Text, false)),
    }
}

fn no_head(form: Form, has_other: bool) -> PixelError {
    let have = match (form, has_other) {
        (_, false) => {
            "it leads to nothing else either: stage II trained it without heads".to_owned()
        }
        (Form::Text, true) => "it draws by form `image`".to_owned(),
        (Form::Image, true) => "it draws by form `text`".to_owned(),
    };
    PixelError::NoHead { form, have }
}

fn prompts<'a>(
    diffusion: &'a DiffusionModel,
    need: &'static str,
) -> Result<&'a Prompts, PixelError> {
    diffusion
        .prompts
        .as_ref()
        .ok_or_else(|| PixelError::NoPrompts {
            name: diffusion.name.clone(),
            need,
        })
}

/// UNet and autoencoder have the same latents, which become colours.
fn parts_fit(model: &StableDiffusion) -> Result<(), PixelError> {
    let (unet, autoencoder) = (model.unet.config(), model.autoencoder.config());
    let latents = autoencoder.latent_channels;
    let unfit = |reason: String| Err(PixelError::Parts { reason });
    if [unet.input_channels, unet.output_channels] != [latents; 2] {
        return unfit(format!(
            "the UNet reads {} channels and writes {}, and the autoencoder's latents have {latents}",
            unet.input_channels, unet.output_channels
        ));
    }
    if autoencoder.image_channels != 3 {
        let channels = autoencoder.image_channels;
        return unfit(format!(
            "pictures of {channels} channels, and colours have 3"
        ));
    }
    Ok(())
}

/// The number of positions of the context, which the generation embeddings give.
fn text_fits(
    config: &CodeAutoencoderConfig,
    model: &StableDiffusion,
    settings: &PixelSettings,
) -> Result<Option<usize>, PixelError> {
    if settings.noise_level > 0 {
        return Err(PixelError::NoiseLevelOfText);
    }
    let expected = model.unet.config().context_width;
    let head = config.text_head.as_ref();
    let found = head.map_or(0, |head| head.target_width);
    if found != expected {
        let what = "tokenizer's generation embeddings";
        return Err(PixelError::Width {
            what,
            found,
            expected,
        });
    }
    Ok(head.map(|head| head.reverse.queries))
}

/// The number of positions of the context, which is the text tower's own.
fn image_fits(
    config: &CodeAutoencoderConfig,
    diffusion: &DiffusionModel,
    settings: &PixelSettings,
) -> Result<Option<usize>, PixelError> {
    let refused = |reason: &str| PixelError::NoImageEmbeddings {
        reason: reason.to_owned(),
    };
    let labels = diffusion.model.unet.config().class_width();
    let labels = labels.ok_or_else(|| refused("its UNet has no class embedding"))?;
    let normalizer = diffusion.normalizer.as_ref();
    let normalizer = normalizer.map_err(|reason| refused(reason))?;
    let found = config
        .image_head
        .as_ref()
        .map_or(0, |head| head.target_width);
    for (what, found, expected) in [
        ("tokenizer's image embeddings", found, normalizer.width()),
        (
            "image embeddings with their noise levels",
            2 * found,
            labels,
        ),
    ] {
        if found != expected {
            return Err(PixelError::Width {
                what,
                found,
                expected,
            });
        }
    }
    let (level, levels) = (settings.noise_level, normalizer.levels());
    if level < levels {
        return Ok(None);
    }
    Err(PixelError::Diffusion(DiffusionError::Setting {
        setting: "noise level",
        value: level.to_string(),
        expected: format!("below {levels}"),
    }))
}

/// A context with class labels of zero, where the UNet takes any: no image embedding.
fn unlabelled(model: &StableDiffusion, context: Tensor<3>) -> Condition {
    let rows = context.dims()[0];
    let device = context.device();
    let condition = Condition::context(context);
    match model.unet.config().class_width() {
        Some(width) => condition.with_class_labels(Tensor::zeros([rows, width], &device)),
        None => condition,
    }
}
