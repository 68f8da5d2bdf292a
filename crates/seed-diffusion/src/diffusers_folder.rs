//! A model in the folder that diffusers saves: `model_index.json`, and a folder with its own config for each part.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use seed_weights::{Checkpoint, load};
use serde_json::Value;

use crate::{
    autoencoder_kl::AutoencoderKlConfig,
    error::DiffusionError,
    image_normalizer::ImageNormalizer,
    keys::{autoencoder_kl_keys, unet_keys},
    scheduler::SchedulerConfig,
    stable_diffusion::StableDiffusion,
    unet::UnetConfig,
};

/// Weights of a part, the first that is there is read: whole or in shards, f32 or f16.
const WEIGHTS: [&str; 5] = [
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.bin",
];
/// What a text tower is read from, beside its weights.
#[cfg(feature = "hub")]
const TEXT: [&str; 6] = [
    "text_encoder/config.json",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
];
/// Weights of the text tower, the first that is there is read.
#[cfg(feature = "hub")]
const TEXT_WEIGHTS: [&str; 4] = [
    "text_encoder/model.safetensors",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/pytorch_model.bin",
    "text_encoder/pytorch_model.fp16.bin",
];
/// What says that a folder is one of diffusers.
const INDEX: &str = "model_index.json";
/// Pipelines whose parts are ours.
const PIPELINES: [&str; 4] = [
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableUnCLIPPipeline",
    "StableUnCLIPImg2ImgPipeline",
];

/// What a folder says it holds, before its weights are read.
#[derive(Debug, Clone)]
pub struct DiffusersFolder {
    /// Sizes of the UNet.
    pub unet: UnetConfig,
    /// Sizes of the autoencoder.
    pub autoencoder: AutoencoderKlConfig,
    /// The scheduler that the model was published with.
    pub scheduler: SchedulerConfig,
    folder: PathBuf,
}

impl DiffusersFolder {
    /// Reads the configs.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if the folder is of another pipeline, or a part is missing, cannot be read, or asks for
    /// what this code does not do.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, DiffusionError> {
        let folder = folder.as_ref().to_owned();
        let index = folder.join(INDEX);
        let about: Value =
            serde_json::from_str(&read(&index)?).map_err(|error| refused(&index, error))?;
        let class = about["_class_name"].as_str().unwrap_or("nothing");
        if !PIPELINES.contains(&class) {
            let reason = format!("it is of `{class}`; read are {}", PIPELINES.join(", "));
            return Err(refused(&index, reason));
        }
        let config = |part: &str, file: &str| read(&folder.join(part).join(file));
        Ok(Self {
            unet: UnetConfig::from_diffusers(&config("unet", "config.json")?)?,
            autoencoder: AutoencoderKlConfig::from_diffusers(&config("vae", "config.json")?)?,
            scheduler: SchedulerConfig::from_diffusers(&config(
                "scheduler",
                "scheduler_config.json",
            )?)?,
            folder,
        })
    }

    /// Where it is; other parts, such as the text tower, lie there.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a folder says that it is one of diffusers.
    pub(crate) fn is_in(folder: &Path) -> bool {
        folder.join(INDEX).is_file()
    }

    /// The files that are read here, among the paths of all files of a repository; none if it is no folder of diffusers.
    #[cfg(feature = "hub")]
    pub(crate) fn files_among(names: &[String]) -> Vec<String> {
        let has = |name: &str| names.iter().any(|found| found == name);
        if !has(INDEX) {
            return Vec::new();
        }
        let mut wanted: Vec<String> = [
            INDEX,
            "scheduler/scheduler_config.json",
            "unet/config.json",
            "vae/config.json",
        ]
        .map(str::to_owned)
        .to_vec();
        for part in ["unet", "vae", "image_normalizer"] {
            let files = WEIGHTS.iter().map(|file| format!("{part}/{file}"));
            let Some(file) = files.into_iter().find(|file| has(file)) else {
                continue;
            };
            if file.ends_with(".index.json") {
                // Its shards, whose names it would say were it here.
                let shard = format!("{part}/diffusion_pytorch_model-");
                let shards = names
                    .iter()
                    .filter(|name| name.starts_with(&shard) && name.ends_with(".safetensors"));
                wanted.extend(shards.cloned());
            }
            wanted.push(file);
        }
        wanted.extend(TEXT.map(str::to_owned));
        let text_tower = TEXT_WEIGHTS.iter().find(|file| has(file));
        wanted.extend(text_tower.map(|file| (*file).to_owned()));
        wanted.retain(|name| has(name));
        wanted
    }

    /// Reads UNet and autoencoder onto a device, in f32.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if there are no weights, and what loading them gives.
    pub fn load(&self, device: &Device) -> Result<StableDiffusion, DiffusionError> {
        let weights = self.weights("unet")?;
        let (unet, _) = load(self.unet.init(device)?, &weights, &unet_keys())?;
        let weights = self.weights("vae")?;
        let keys = autoencoder_kl_keys(&weights);
        let (autoencoder, _) = load(self.autoencoder.init(device)?, &weights, &keys)?;
        Ok(StableDiffusion { unet, autoencoder })
    }

    /// unCLIP's normaliser of image embeddings, if the model takes class labels.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if the model needs one and there is none; those of [`ImageNormalizer::load`].
    pub fn image_normalizer(
        &self,
        device: &Device,
    ) -> Result<Option<ImageNormalizer>, DiffusionError> {
        if self.unet.class_width().is_none() {
            return Ok(None);
        }
        ImageNormalizer::load(&self.weights("image_normalizer")?, device).map(Some)
    }

    fn weights(&self, part: &str) -> Result<Checkpoint, DiffusionError> {
        let folder = self.folder.join(part);
        let found = WEIGHTS.iter().map(|file| folder.join(file));
        match found.into_iter().find(|path| path.is_file()) {
            Some(path) => Ok(Checkpoint::open(path)?),
            None => Err(refused(
                &folder,
                format!("no weights are here; one of {} is", WEIGHTS.join(", ")),
            )),
        }
    }
}

fn read(path: &Path) -> Result<String, DiffusionError> {
    fs::read_to_string(path).map_err(|error| refused(path, error))
}

fn refused(path: &Path, reason: impl ToString) -> DiffusionError {
    DiffusionError::Config {
        part: path.display().to_string(),
        reason: reason.to_string(),
    }
}
