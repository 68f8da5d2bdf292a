//! A diffusion model to draw with: what it consists of, and where it is found.

use std::path::Path;

use burn::tensor::Device;
use seed_diffusion::{
    CODE_VERSION, Choices, ImageNormalizer, PublishedDiffusion, SchedulerConfig, StableDiffusion,
    nano,
};

use super::{error::PixelError, prompts::Prompts};
use crate::frozen::module_identity;

/// Steps and guidance of published models, as their pipelines have them: Stable Diffusion's, and unCLIP's.
const PUBLISHED: (usize, f64) = (50, 7.5);
const UNCLIP: (usize, f64) = (20, 10.0);
const NANO: (usize, f64) = (nano::STEPS, nano::GUIDANCE);

/// A frozen diffusion model with all that is needed to draw with it.
#[derive(Debug, Clone)]
pub struct DiffusionModel {
    /// UNet and autoencoder.
    pub model: StableDiffusion,
    /// The scheduler that it was published with, or is meant for.
    pub scheduler: SchedulerConfig,
    /// Steps it is usually drawn in.
    pub steps: usize,
    /// How strongly its pictures usually follow their condition.
    pub guidance: f64,
    /// unCLIP's normaliser, or why there is none.
    pub normalizer: Result<ImageNormalizer, String>,
    /// What a text says to it, if anything tells.
    pub prompts: Option<Prompts>,
    /// What it is called in the pictures that it draws.
    pub name: String,
    /// Hash of its parameters and sizes.
    pub identity: String,
}

impl DiffusionModel {
    /// Opens what a user names, as [`PublishedDiffusion::find`] does, with a text tower.
    ///
    /// That is the one in the folder `text`, if one is named; else the model's own. A model that comes without any is taken for
    /// one of ours if its context is as wide as the nano CLIP's states, whose text tower it then was trained with.
    ///
    /// # Errors
    ///
    /// [`PixelError::Diffusion`] if there is no such model, or it is damaged or does not fit; [`PixelError`] of the text tower.
    pub fn open(
        reference: &str,
        choices: Choices,
        text: Option<&Path>,
        device: &Device,
    ) -> Result<Self, PixelError> {
        let found = PublishedDiffusion::find(reference, choices)?;
        let model = found.load(device)?;
        let own = match (text, &found) {
            (Some(folder), _) => Some(Prompts::of_folder(folder, device)?),
            (None, PublishedDiffusion::Folder(folder)) => Prompts::open(folder.folder(), device)?,
            (None, PublishedDiffusion::File(file)) => {
                Prompts::of_single_file(file.checkpoint(), device)?
            }
        };
        // A name to find it by again, without where it lies on this machine.
        let name = Path::new(reference).file_name();
        let name = name.map_or(reference.into(), |name| name.to_string_lossy());
        let scheduler = found.scheduler().clone();
        let normalizer = found
            .image_normalizer(device)
            .map_err(|error| error.to_string());
        let normalizer = normalizer.and_then(|normalizer| {
            normalizer.ok_or_else(|| "its UNet has no class embedding".to_owned())
        });
        let unclip = model.unet.config().class_width().is_some();
        let (prompts, usual) = match own {
            Some(prompts) => (Some(prompts), if unclip { UNCLIP } else { PUBLISHED }),
            None => match nano_prompts(&model, device)? {
                Some(prompts) => (Some(prompts), NANO),
                None => (None, if unclip { UNCLIP } else { PUBLISHED }),
            },
        };
        Ok(Self {
            identity: identity(&model),
            steps: usual.0,
            guidance: usual.1,
            name: name.into_owned(),
            model,
            scheduler,
            normalizer,
            prompts,
        })
    }
}

/// The nano CLIP's text tower, if the UNet's context is as wide as its states.
fn nano_prompts(model: &StableDiffusion, device: &Device) -> Result<Option<Prompts>, PixelError> {
    let prompts = Prompts::nano(device)?;
    let own = prompts.width() == model.unet.config().context_width;
    Ok(own.then_some(prompts))
}

/// Hash of both parts.
fn identity(model: &StableDiffusion) -> String {
    let StableDiffusion { unet, autoencoder } = model;
    let mut hasher = blake3::Hasher::new();
    hasher.update(module_identity(unet, unet.config(), CODE_VERSION).as_bytes());
    hasher.update(module_identity(autoencoder, autoencoder.config(), CODE_VERSION).as_bytes());
    hasher.finalize().to_hex().to_string()
}
