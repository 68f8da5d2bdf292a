//! The model that a user names, in whatever form it is.

use std::path::Path;
#[cfg(feature = "hub")]
use std::path::PathBuf;

use burn::tensor::Device;
use seed_weights::WeightsError;
#[cfg(feature = "hub")]
use seed_weights::hub::{Hub, HubRepo};

use crate::{
    autoencoder_kl::AutoencoderKlConfig,
    diffusers_folder::DiffusersFolder,
    error::DiffusionError,
    image_normalizer::ImageNormalizer,
    scheduler::{Prediction, SchedulerConfig},
    single_file::{SingleFile, Weights},
    stable_diffusion::StableDiffusion,
    unet::UnetConfig,
};

/// What begins the name of a repository of the Hugging Face Hub.
const HUB: &str = "hf:";

/// What a user says of a model that its files may not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Choices {
    /// Which of two UNets; a file that has both does not say.
    pub weights: Option<Weights>,
    /// What the UNet predicts; a single file of Stable Diffusion 2 does not say.
    pub prediction: Option<Prediction>,
}

/// A Stable Diffusion as it is found, its configs read and its weights not yet.
///
/// ```no_run
/// # use seed_diffusion::{Choices, DiffusionError, PublishedDiffusion};
/// # fn run(device: &burn::tensor::Device) -> Result<(), DiffusionError> {
/// // DIR, FILE or hf:OWNER/NAME
/// let published = PublishedDiffusion::find("hf:CompVis/stable-diffusion-v1-4", Choices::default())?;
/// let scheduler = published.scheduler().init(50)?;
/// let (model, normalizer) = (published.load(device)?, published.image_normalizer(device)?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub enum PublishedDiffusion {
    /// A folder that diffusers saved.
    Folder(DiffusersFolder),
    /// All models in one file, as CompVis and Stability published them.
    File(SingleFile),
}

impl PublishedDiffusion {
    /// Opens what a user names: a folder, a file, or `hf:OWNER/NAME[/FILE][@REVISION]`, which is fetched first. Of a repository
    /// with a folder of diffusers UNet, autoencoder, scheduler and normaliser are fetched, in the best of the forms they are in.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Hub`] if a repository cannot be fetched, [`DiffusionError::NoHub`] where the feature `hub` is off, and
    /// those of [`Self::open`].
    pub fn find(reference: &str, choices: Choices) -> Result<Self, DiffusionError> {
        if !reference.starts_with(HUB) {
            return Self::open(reference, choices);
        }
        #[cfg(feature = "hub")]
        return Self::fetch(&Hub::from_env()?, &reference.parse()?, choices);
        #[cfg(not(feature = "hub"))]
        Err(DiffusionError::NoHub {
            reference: reference.to_owned(),
        })
    }

    /// Opens a repository of the Hub, as [`Self::find`] does.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Hub`], and those of [`Self::open`].
    #[cfg(feature = "hub")]
    pub fn fetch(hub: &Hub, repo: &HubRepo, choices: Choices) -> Result<Self, DiffusionError> {
        Self::open(fetched(hub, repo)?, choices)
    }

    /// Opens a folder of diffusers, a single file, or a folder with one such file in it.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::NotStableDiffusion`] with what was looked for, if it is none of these; [`DiffusionError::Setting`] if
    /// a choice contradicts what the files say; and those of [`DiffusersFolder::open`] and [`SingleFile::open`].
    pub fn open(path: impl AsRef<Path>, choices: Choices) -> Result<Self, DiffusionError> {
        let path = path.as_ref();
        if !DiffusersFolder::is_in(path) {
            return single(path, choices).map(Self::File);
        }
        let folder = DiffusersFolder::open(path)?;
        if let Some(weights) = choices.weights {
            let expected = "left out: the folder holds one UNet";
            DiffusionError::require(false, "weights", weights, expected)?;
        }
        if let Some(prediction) = choices.prediction {
            let said = folder.scheduler.prediction_type;
            let expected = format!("{said}, as the folder says");
            DiffusionError::require(prediction == said, "prediction", prediction, expected)?;
        }
        Ok(Self::Folder(folder))
    }

    /// Sizes of the UNet.
    pub fn unet(&self) -> &UnetConfig {
        match self {
            Self::Folder(folder) => &folder.unet,
            Self::File(file) => &file.unet,
        }
    }

    /// Sizes of the autoencoder.
    pub fn autoencoder(&self) -> &AutoencoderKlConfig {
        match self {
            Self::Folder(folder) => &folder.autoencoder,
            Self::File(file) => &file.autoencoder,
        }
    }

    /// The scheduler that the model was published with.
    pub fn scheduler(&self) -> &SchedulerConfig {
        match self {
            Self::Folder(folder) => &folder.scheduler,
            Self::File(file) => &file.scheduler,
        }
    }

    /// Reads UNet and autoencoder onto a device, in f32.
    ///
    /// # Errors
    ///
    /// What loading them gives: [`DiffusionError::Weights`] names missing tensors, and those of another shape.
    pub fn load(&self, device: &Device) -> Result<StableDiffusion, DiffusionError> {
        match self {
            Self::Folder(folder) => folder.load(device),
            Self::File(file) => file.load(device),
        }
    }

    /// unCLIP's normaliser of image embeddings, if the model takes class labels.
    ///
    /// # Errors
    ///
    /// If the model needs one and there is none ([`DiffusersFolder::image_normalizer`], [`SingleFile::image_normalizer`]),
    /// or it is damaged.
    pub fn image_normalizer(
        &self,
        device: &Device,
    ) -> Result<Option<ImageNormalizer>, DiffusionError> {
        match self {
            Self::Folder(folder) => folder.image_normalizer(device),
            Self::File(file) => file.image_normalizer(device),
        }
    }
}

/// A single file, or the one in a folder.
fn single(path: &Path, choices: Choices) -> Result<SingleFile, DiffusionError> {
    match SingleFile::open(path, choices.weights, choices.prediction) {
        Err(DiffusionError::Weights(WeightsError::NotACheckpoint { path, found })) => {
            Err(DiffusionError::NotStableDiffusion {
                path,
                found: found.to_owned(),
            })
        }
        Err(DiffusionError::Weights(error @ WeightsError::Ambiguous { .. })) => {
            Err(DiffusionError::NotStableDiffusion {
                path: path.to_owned(),
                found: error.to_string(),
            })
        }
        opened => opened,
    }
}

/// Fetches what is read here of a repository, and gives its folder or its file.
#[cfg(feature = "hub")]
fn fetched(hub: &Hub, repo: &HubRepo) -> Result<PathBuf, DiffusionError> {
    let among = |names: &[String]| DiffusersFolder::files_among(names);
    if repo.file().is_none()
        && let Some(folder) = hub.fetch_some(repo, among)?
    {
        return Ok(folder.path);
    }
    Ok(hub.fetch(repo)?.weights)
}
