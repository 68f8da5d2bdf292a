//! Parts of a model in the folder that diffusers saves, one by one: diffusers reads what is trained here.
//!
//! Weights are kept as f16. [`save_scheduler`] comes last, and names the whole.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Tensor},
};
use seed_weights::{Checkpoint, KeyMap, WeightsError, load};
use serde_json::{Value, json};

use crate::{
    autoencoder_kl::{AutoencoderKl, AutoencoderKlConfig},
    error::DiffusionError,
    image_normalizer::ImageNormalizer,
    keys::{autoencoder_kl_keys, saved_autoencoder_kl_keys, unet_keys},
    scheduler::{FinalNoise, Sampler, SchedulerConfig},
    unet::{ClassEmbedding, Unet, UnetConfig},
};

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// Writes `vae/` into a folder.
///
/// # Errors
///
/// [`DiffusionError::Config`] if a file cannot be written, [`DiffusionError::Weights`] if the weights cannot.
pub fn save_autoencoder(model: &AutoencoderKl, folder: &Path) -> Result<(), DiffusionError> {
    let config = autoencoder_config(model.config());
    save_part(model, &saved_autoencoder_kl_keys(), folder, "vae", &config)
}

/// Reads `vae/` of a folder, in f32.
///
/// # Errors
///
/// [`DiffusionError::Config`] if its config cannot be read or asks for what this code does not do, and what loading the
/// weights gives.
pub fn load_autoencoder(folder: &Path, device: &Device) -> Result<AutoencoderKl, DiffusionError> {
    let path = folder.join("vae").join("config.json");
    let text = fs::read_to_string(&path).map_err(|error| DiffusionError::Config {
        part: path.display().to_string(),
        reason: format!("{error}; an autoencoder's folder has `vae` in it"),
    })?;
    let config = AutoencoderKlConfig::from_diffusers(&text)?;
    let weights = Checkpoint::open(path.with_file_name(WEIGHTS))?;
    let (model, _) = load(
        config.init(device)?,
        &weights,
        &autoencoder_kl_keys(&weights),
    )?;
    Ok(model)
}

/// Writes `unet/` into a folder.
///
/// # Errors
///
/// Those of [`save_autoencoder`].
pub fn save_unet(model: &Unet, folder: &Path) -> Result<(), DiffusionError> {
    let config = unet_config(model.config());
    save_part(model, &unet_keys(), folder, "unet", &config)
}

/// Writes `image_normalizer/` into a folder: unCLIP's, as f32.
///
/// # Errors
///
/// Those of [`save_autoencoder`].
pub fn save_image_normalizer(
    normalizer: &ImageNormalizer,
    folder: &Path,
) -> Result<(), DiffusionError> {
    /// As the published file has them.
    #[derive(Module, Debug)]
    struct Rows {
        mean: Param<Tensor<2>>,
        std: Param<Tensor<2>>,
    }
    let rows = Rows {
        mean: Param::from_tensor(normalizer.mean()),
        std: Param::from_tensor(normalizer.std()),
    };
    let config = json!({
        "_class_name": "StableUnCLIPImageNormalizer",
        "embedding_dim": normalizer.width(),
    });
    let part = part(folder, "image_normalizer", &config)?;
    let path = part.join(WEIGHTS);
    Ok(seed_weights::save(
        &rows,
        path,
        &KeyMap::identity(),
        DType::F32,
        config.to_string(),
    )?)
}

/// Writes `scheduler/` and `model_index.json` into a folder, which then is a whole model if the other parts are there.
/// `unclip` is whether the UNet takes image embeddings.
///
/// # Errors
///
/// [`DiffusionError::Config`] if a file cannot be written, or the scheduler is one that diffusers has not (PLMS).
pub fn save_scheduler(
    scheduler: &SchedulerConfig,
    unclip: bool,
    folder: &Path,
) -> Result<(), DiffusionError> {
    let config = scheduler_config(scheduler)?;
    let class = &config["_class_name"];
    part_of(folder, "scheduler", "scheduler_config.json", &config)?;
    let mut index = json!({
        "_class_name": if unclip { "StableUnCLIPImg2ImgPipeline" } else { "StableDiffusionPipeline" },
        "scheduler": ["diffusers", class],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    });
    if unclip {
        index["image_normalizer"] = json!(["stable_diffusion", "StableUnCLIPImageNormalizer"]);
    }
    write(&folder.join("model_index.json"), &index)
}

fn save_part(
    model: &impl Module,
    keys: &KeyMap,
    folder: &Path,
    name: &str,
    config: &Value,
) -> Result<(), DiffusionError> {
    let path = part(folder, name, config)?.join(WEIGHTS);
    Ok(seed_weights::save(
        model,
        path,
        keys,
        DType::F16,
        config.to_string(),
    )?)
}

/// The folder of a part, with its config in it.
fn part(folder: &Path, name: &str, config: &Value) -> Result<PathBuf, DiffusionError> {
    part_of(folder, name, "config.json", config)
}

fn part_of(
    folder: &Path,
    name: &str,
    file: &str,
    config: &Value,
) -> Result<PathBuf, DiffusionError> {
    let part = folder.join(name);
    fs::create_dir_all(&part).map_err(|error| unwritable(&part, error))?;
    write(&part.join(file), config)?;
    Ok(part)
}

fn write(path: &Path, value: &Value) -> Result<(), DiffusionError> {
    let text = format!("{value:#}\n");
    seed_files::write_file(path, text.as_bytes()).map_err(|error| unwritable(path, error))
}

fn unwritable(path: &Path, error: std::io::Error) -> DiffusionError {
    DiffusionError::Weights(WeightsError::Io {
        path: path.to_owned(),
        source: error,
    })
}

fn autoencoder_config(config: &AutoencoderKlConfig) -> Value {
    let levels = config.channels.len();
    json!({
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": config.channels,
        "down_block_types": vec!["DownEncoderBlock2D"; levels],
        "in_channels": config.image_channels,
        "latent_channels": config.latent_channels,
        "layers_per_block": config.layers,
        "norm_num_groups": config.groups,
        "out_channels": config.image_channels,
        "sample_size": config.sample_size,
        "scaling_factor": config.scaling_factor,
        "up_block_types": vec!["UpDecoderBlock2D"; levels],
    })
}

fn unet_config(config: &UnetConfig) -> Value {
    let kinds = |[attends, convolves]: [&'static str; 2]| {
        let levels = config.levels.iter();
        levels.map(move |level| if level.attends { attends } else { convolves })
    };
    let down: Vec<_> = kinds(["CrossAttnDownBlock2D", "DownBlock2D"]).collect();
    let up: Vec<_> = kinds(["CrossAttnUpBlock2D", "UpBlock2D"]).rev().collect();
    let of_levels = |of: fn(&crate::unet::UnetLevel) -> usize| -> Vec<usize> {
        config.levels.iter().map(of).collect()
    };
    let mut value = json!({
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        // The number of heads: diffusers names it so.
        "attention_head_dim": of_levels(|level| level.heads),
        "block_out_channels": of_levels(|level| level.channels),
        "cross_attention_dim": config.context_width,
        "down_block_types": down,
        "flip_sin_to_cos": true,
        "freq_shift": 0,
        "in_channels": config.input_channels,
        "layers_per_block": config.layers,
        "norm_eps": config.norm_eps,
        "norm_num_groups": config.groups,
        "out_channels": config.output_channels,
        "sample_size": config.sample_size,
        "up_block_types": up,
        "upcast_attention": config.upcast_attention,
        "use_linear_projection": true,
    });
    match config.class_embedding {
        Some(ClassEmbedding::Identity) => value["class_embed_type"] = json!("identity"),
        Some(ClassEmbedding::Projection { width }) => {
            value["class_embed_type"] = json!("projection");
            value["projection_class_embeddings_input_dim"] = json!(width);
        }
        None => {}
    }
    value
}

fn scheduler_config(config: &SchedulerConfig) -> Result<Value, DiffusionError> {
    config.validate()?;
    let class = match config.sampler {
        Sampler::Ddim => "DDIMScheduler",
        Sampler::Pndm => "PNDMScheduler",
        Sampler::DpmSolverPlusPlus => "DPMSolverMultistepScheduler",
        Sampler::Plms => {
            return Err(DiffusionError::Config {
                part: "scheduler_config.json".to_owned(),
                reason: "diffusers has no plms; pndm is nearest".to_owned(),
            });
        }
    };
    let noise = &config.noise;
    let mut value = json!({
        "_class_name": class,
        "beta_end": noise.beta_end,
        "beta_schedule": noise.beta_schedule,
        "beta_start": noise.beta_start,
        "num_train_timesteps": noise.num_train_timesteps,
        "prediction_type": config.prediction_type,
        "steps_offset": config.steps_offset,
        "timestep_spacing": config.spacing(),
    });
    let own = match config.sampler {
        Sampler::DpmSolverPlusPlus => json!({
            "algorithm_type": "dpmsolver++",
            "final_sigmas_type": match config.final_sigmas_type {
                FinalNoise::Zero => "zero",
                FinalNoise::SigmaMin => "sigma_min",
            },
            "lower_order_final": config.lower_order_final,
            "rescale_betas_zero_snr": noise.rescale_betas_zero_snr,
            "solver_order": config.solver_order,
            "solver_type": "midpoint",
        }),
        Sampler::Ddim => json!({
            "clip_sample": false,
            "rescale_betas_zero_snr": noise.rescale_betas_zero_snr,
            "set_alpha_to_one": config.set_alpha_to_one.unwrap_or(true),
        }),
        Sampler::Pndm | Sampler::Plms => json!({
            "set_alpha_to_one": config.set_alpha_to_one.unwrap_or(false),
            "skip_prk_steps": true,
        }),
    };
    if let (Value::Object(value), Value::Object(own)) = (&mut value, own) {
        value.extend(own);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, Tolerance};
    use seed_device::test_device;

    use super::*;
    use crate::{diffusers_folder::DiffusersFolder, scheduler::Prediction, unet::UnetLevel};

    fn level(channels: usize, attends: bool) -> UnetLevel {
        UnetLevel {
            channels,
            heads: 2,
            attends,
        }
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let device = test_device();
        let folder = tempfile::tempdir().unwrap();
        let unet = UnetConfig {
            sample_size: 8,
            levels: vec![level(8, false), level(12, true)],
            layers: 1,
            context_width: 6,
            groups: 4,
            class_embedding: Some(ClassEmbedding::Projection { width: 10 }),
            ..UnetConfig::sd_1_4()
        };
        let autoencoder = AutoencoderKlConfig {
            sample_size: 16,
            channels: vec![8, 4],
            layers: 1,
            groups: 4,
            scaling_factor: 1.0,
            ..AutoencoderKlConfig::sd()
        };
        let scheduler = SchedulerConfig::stable_diffusion()
            .with_sampler(Sampler::DpmSolverPlusPlus)
            .with_prediction(Prediction::Velocity);
        let model = unet.init(&device).unwrap();
        save_unet(&model, folder.path()).unwrap();
        save_autoencoder(&autoencoder.init(&device).unwrap(), folder.path()).unwrap();
        let normalizer = ImageNormalizer::new(&[0.5; 5], &[2.0; 5], &device).unwrap();
        save_image_normalizer(&normalizer, folder.path()).unwrap();
        save_scheduler(&scheduler, true, folder.path()).unwrap();

        let found = DiffusersFolder::open(folder.path()).unwrap();
        assert_eq!(found.unet, unet);
        assert_eq!(found.autoencoder, autoencoder);
        assert_eq!(found.scheduler.prediction_type, scheduler.prediction_type);
        assert_eq!(found.scheduler.noise, scheduler.noise);
        assert_eq!(found.scheduler.spacing(), scheduler.spacing());
        let read = found.load(&device).unwrap();
        let latents = Tensor::<4>::random([1, 4, 8, 8], Distribution::Default, &device);
        let context = Tensor::<3>::random([1, 3, 6], Distribution::Default, &device);
        let labels = Tensor::<2>::random([1, 10], Distribution::Default, &device);
        let of = |unet: &Unet| {
            let timestep = Tensor::from_floats([300.0], &device);
            let labels = Some(labels.clone());
            unet.forward(latents.clone(), timestep, context.clone(), labels)
                .into_data()
        };
        // Kept as f16.
        of(&model).assert_approx_eq::<f32>(&of(&read.unet), Tolerance::absolute(1e-2));
        let normalizer = found.image_normalizer(&device).unwrap().unwrap();
        assert_eq!(normalizer.width(), 5);
    }

    #[test]
    fn all_samplers_but_plms_are_diffusers() {
        let folder = tempfile::tempdir().unwrap();
        for sampler in Sampler::ALL {
            let scheduler = SchedulerConfig::stable_diffusion().with_sampler(sampler);
            let saved = save_scheduler(&scheduler, false, folder.path());
            if sampler == Sampler::Plms {
                assert!(saved.unwrap_err().to_string().contains("plms"));
                continue;
            }
            saved.unwrap();
            let text = fs::read_to_string(folder.path().join("scheduler/scheduler_config.json"));
            let read = SchedulerConfig::from_diffusers(&text.unwrap()).unwrap();
            assert_eq!(read.sampler, sampler);
            assert_eq!(read.spacing(), scheduler.spacing());
        }
    }

    /// The first files have other names for the attention.
    #[test]
    fn the_autoencoder_has_the_names_of_today() {
        let folder = tempfile::tempdir().unwrap();
        let config = AutoencoderKlConfig {
            channels: vec![4],
            layers: 1,
            groups: 4,
            ..AutoencoderKlConfig::sd()
        };
        save_autoencoder(&config.init(&test_device()).unwrap(), folder.path()).unwrap();
        let weights = Checkpoint::open(folder.path().join("vae").join(WEIGHTS)).unwrap();
        let key = "decoder.mid_block.attentions.0.to_out.0.weight";
        assert!(weights.keys().any(|found| found == key));
    }
}
