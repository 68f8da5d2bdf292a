//! All models of a Stable Diffusion in one file, as CompVis and Stability published them: `sd-v1-4.ckpt`,
//! `v1-5-pruned-emaonly.safetensors`, `v2-1_768-ema-pruned.ckpt`, `sd21-unclip-h.ckpt`.
//!
//! Such a file holds weights alone. Which family it is of is told by shapes; what its UNet predicts, and which of two UNets is
//! meant, is told by nothing in it, and is never guessed.

use std::{fmt, path::Path, str::FromStr};

use burn::tensor::Device;
use seed_weights::{Checkpoint, load};

use crate::{
    autoencoder_kl::AutoencoderKlConfig,
    error::DiffusionError,
    image_normalizer::ImageNormalizer,
    keys::{
        AUTOENCODER, AVERAGED_UNET, UNET, averaged_key, compvis_autoencoder_kl_keys,
        compvis_averaged_unet_keys, compvis_unet_keys,
    },
    scheduler::{Prediction, Sampler, SchedulerConfig},
    stable_diffusion::StableDiffusion,
    unet::{ClassEmbedding, UnetConfig},
};

/// The statistics of image embeddings, where a file of unCLIP has them.
const STATISTICS: [&str; 2] = ["noise_augmentor.data_mean", "noise_augmentor.data_std"];
/// By the widths of these two a family is known.
const CONTEXT: &str = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight";
const CLASS_LABELS: &str = "label_emb.0.0.weight";

/// Which of the UNets that a file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// As they were trained last, below `model.diffusion_model`; in a file of one UNet, whichever its makers kept.
    Plain,
    /// Averaged over the training, below `model_ema`: what to draw with.
    Averaged,
}

impl Weights {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Averaged];

    /// What every key of the UNet begins with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Plain => UNET,
            Self::Averaged => AVERAGED_UNET,
        }
    }

    /// The key of a weight of the UNet.
    fn key(self, name: &str) -> String {
        let key = format!("{UNET}.{name}");
        match self {
            Self::Plain => key,
            Self::Averaged => averaged_key(&key),
        }
    }

    /// Whether they are in a file.
    fn are_in(self, checkpoint: &Checkpoint) -> bool {
        let prefix = self.prefix();
        checkpoint.keys().any(|key| key.starts_with(prefix))
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Averaged => "averaged",
        })
    }
}

impl FromStr for Weights {
    type Err = DiffusionError;

    /// # Errors
    ///
    /// [`DiffusionError::Setting`] for another name than `plain` and `averaged`.
    fn from_str(name: &str) -> Result<Self, DiffusionError> {
        let found = Self::ALL.into_iter().find(|one| one.to_string() == name);
        found.ok_or_else(|| DiffusionError::Setting {
            setting: "weights",
            value: name.to_owned(),
            expected: "plain or averaged".to_owned(),
        })
    }
}

/// What a file holds by its shapes, before its weights are read.
#[derive(Debug)]
pub struct SingleFile {
    /// Sizes of the UNet.
    pub unet: UnetConfig,
    /// Sizes of the autoencoder.
    pub autoencoder: AutoencoderKlConfig,
    /// The scheduler that models of the family are published with.
    pub scheduler: SchedulerConfig,
    weights: Weights,
    checkpoint: Checkpoint,
}

impl SingleFile {
    /// Opens a file of Stable Diffusion 1, 2 or unCLIP, safetensors or PyTorch's.
    ///
    /// `weights` may be left out where a file has one UNet, `prediction` for Stable Diffusion 1, which predicts noise. Of
    /// Stable Diffusion 2 the models at 768 pixels, unCLIP among them, predict velocity, and the base models at 512 noise.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Weights`] if the file cannot be read; [`DiffusionError::NotStableDiffusion`] if it holds other
    /// models, [`DiffusionError::MissingPart`] if it holds a part alone or not the weights that are asked for,
    /// [`DiffusionError::Config`] if its UNet is of another family; [`DiffusionError::Unsaid`] if `weights` or `prediction`
    /// must be given.
    pub fn open(
        path: impl AsRef<Path>,
        weights: Option<Weights>,
        prediction: Option<Prediction>,
    ) -> Result<Self, DiffusionError> {
        Self::of(Checkpoint::open(path)?, weights, prediction)
    }

    /// The file; other models, such as the text tower, are in it.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// As [`Self::open`], of a file that is open already.
    ///
    /// # Errors
    ///
    /// Those of [`Self::open`].
    pub fn of(
        checkpoint: Checkpoint,
        weights: Option<Weights>,
        prediction: Option<Prediction>,
    ) -> Result<Self, DiffusionError> {
        let weights = which(&checkpoint, weights)?;
        let (unet, scheduler) = family(&checkpoint, weights, prediction)?;
        let autoencoder = AutoencoderKlConfig {
            sample_size: AutoencoderKlConfig::sd().factor() * unet.sample_size,
            ..AutoencoderKlConfig::sd()
        };
        Self::of_sizes(checkpoint, unet, autoencoder, scheduler, Some(weights))
    }

    /// A model of other sizes in this layout.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Sizes`] if a config describes no possible model, and those of [`Self::open`] but of prediction and
    /// family.
    pub fn of_sizes(
        checkpoint: Checkpoint,
        unet: UnetConfig,
        autoencoder: AutoencoderKlConfig,
        scheduler: SchedulerConfig,
        weights: Option<Weights>,
    ) -> Result<Self, DiffusionError> {
        unet.validate()?;
        autoencoder.validate()?;
        scheduler.validate()?;
        Ok(Self {
            weights: which(&checkpoint, weights)?,
            unet,
            autoencoder,
            scheduler,
            checkpoint,
        })
    }

    /// Which UNet is read.
    pub fn weights(&self) -> Weights {
        self.weights
    }

    /// Reads UNet and autoencoder onto a device, in f32.
    ///
    /// # Errors
    ///
    /// What loading them gives: [`DiffusionError::Weights`] names each missing tensor, and one of another shape.
    pub fn load(&self, device: &Device) -> Result<StableDiffusion, DiffusionError> {
        let unet = self.unet.init(device)?;
        let keys = match self.weights {
            Weights::Plain => compvis_unet_keys(&self.unet),
            Weights::Averaged => compvis_averaged_unet_keys(&unet),
        };
        let (unet, _) = load(unet, &self.checkpoint, &keys)?;
        let keys = compvis_autoencoder_kl_keys(&self.autoencoder);
        let (autoencoder, _) = load(self.autoencoder.init(device)?, &self.checkpoint, &keys)?;
        Ok(StableDiffusion { unet, autoencoder })
    }

    /// unCLIP's normaliser of image embeddings, if the model takes class labels.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Unsaid`] if the model needs one and the file has none, as those that Stability published: theirs is a
    /// file beside it (`ViT-H-14_stats.th`), and `image_normalizer` of the diffusers folder of the same model. Else those of
    /// [`ImageNormalizer::load`].
    pub fn image_normalizer(
        &self,
        device: &Device,
    ) -> Result<Option<ImageNormalizer>, DiffusionError> {
        if self.unet.class_width().is_none() {
            return Ok(None);
        }
        let has = |key: &str| self.checkpoint.shape(key).is_some();
        if !STATISTICS.into_iter().any(has) {
            return Err(DiffusionError::Unsaid {
                name: self.checkpoint.name().to_owned(),
                what: "mean and deviation of image embeddings (`noise_augmentor.data_mean`, `data_std`)",
                choices: "it by naming the diffusers folder of the same model, which has them in `image_normalizer`",
            });
        }
        ImageNormalizer::load_rows(STATISTICS, &self.checkpoint, device).map(Some)
    }
}

/// The weights that are meant, which must be there, and an autoencoder beside them.
fn which(checkpoint: &Checkpoint, asked: Option<Weights>) -> Result<Weights, DiffusionError> {
    let name = checkpoint.name();
    let [plain, averaged] = Weights::ALL.map(|weights| weights.are_in(checkpoint));
    let autoencoder = checkpoint
        .keys()
        .any(|key| key.starts_with(&format!("{AUTOENCODER}.")));
    if !plain && !averaged && !autoencoder {
        let first = checkpoint.keys().next();
        return Err(DiffusionError::NotStableDiffusion {
            path: name.into(),
            found: first.map_or("it holds no tensors".to_owned(), |key| {
                format!("its first key is `{key}`")
            }),
        });
    }
    let missing = |part, prefix| DiffusionError::MissingPart {
        name: name.to_owned(),
        part,
        prefix,
    };
    let weights = match (asked, plain, averaged) {
        (Some(weights), ..) if weights.are_in(checkpoint) => weights,
        (Some(Weights::Averaged), ..) => {
            return Err(missing("an averaged UNet", AVERAGED_UNET));
        }
        (Some(Weights::Plain), ..) | (None, false, false) => return Err(missing("a UNet", UNET)),
        (None, true, false) => Weights::Plain,
        (None, false, true) => Weights::Averaged,
        (None, true, true) => {
            return Err(DiffusionError::Unsaid {
                name: name.to_owned(),
                what: "which of its two UNets is meant",
                choices: "`averaged` for the one to draw with, `plain` for the one to train on",
            });
        }
    };
    if !autoencoder {
        return Err(missing("an autoencoder", AUTOENCODER));
    }
    Ok(weights)
}

/// The family that the shapes are of.
fn family(
    checkpoint: &Checkpoint,
    weights: Weights,
    prediction: Option<Prediction>,
) -> Result<(UnetConfig, SchedulerConfig), DiffusionError> {
    let width = |name: &str| checkpoint.shape(&weights.key(name))?.get(1).copied();
    let scheduler = SchedulerConfig::stable_diffusion();
    let (first, second) = (UnetConfig::sd_1_4(), UnetConfig::sd_2_1());
    let context = width(CONTEXT);
    let (unet, scheduler) = if context == Some(first.context_width) {
        let prediction = prediction.unwrap_or(Prediction::Epsilon);
        (first, scheduler.with_prediction(prediction))
    } else if context == Some(second.context_width) {
        let prediction = prediction.ok_or_else(|| DiffusionError::Unsaid {
            name: checkpoint.name().to_owned(),
            what: "what its UNet predicts",
            choices: "`v_prediction` for the models at 768 pixels and unCLIP, `epsilon` for the base models at 512",
        })?;
        let sample_size = match prediction {
            Prediction::Velocity => second.sample_size,
            Prediction::Epsilon | Prediction::Sample => first.sample_size,
        };
        let unet = UnetConfig {
            sample_size,
            ..second
        };
        let scheduler = scheduler.with_prediction(prediction);
        (unet, scheduler.with_sampler(Sampler::Ddim))
    } else {
        let found = context.map_or("this one does not attend there".to_owned(), |width| {
            format!("this one to one of {width}")
        });
        let reason = format!(
            "its UNet is of another family: at the finest level Stable Diffusion 1 attends to a context {} wide and 2 to one of \
             {}, {found}",
            first.context_width, second.context_width
        );
        return Err(DiffusionError::Config {
            part: checkpoint.name().to_owned(),
            reason,
        });
    };
    let Some(width) = width(CLASS_LABELS) else {
        return Ok((unet, scheduler));
    };
    let unet = UnetConfig {
        class_embedding: Some(ClassEmbedding::Projection { width }),
        ..unet
    };
    Ok((unet, scheduler.with_sampler(Sampler::Pndm)))
}
