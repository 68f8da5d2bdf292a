//! Stable Diffusion: UNet, autoencoder, samplers, guided runs, and unCLIP (diffusers; `plms.py` of the v1 release; SEED's
//! `pipeline_stable_unclip_img2img.py`).

use burn::tensor::{Int, Tensor, TensorData};
use seed_diffusion::{
    AutoencoderKl, AutoencoderKlConfig, Condition, DiffusionError, Drawing, Guidance,
    ImageNormalizer, NoiseScheduleConfig, Sampler, Scheduler, SchedulerConfig, StableDiffusion,
    Unet, UnetConfig, autoencoder_kl_keys, unet_keys,
};

use super::clip::text_tower;
use crate::{
    case::{ANY, Case},
    error::ParityError,
    outputs::Recorder,
};

/// The weights' file in the folder of a model.
const WEIGHTS: &str = "diffusion_pytorch_model";
/// The schedulers, each a config and a walk.
const SCHEDULERS: [&str; 6] = [
    "scheduler_pndm",
    "scheduler_pndm_v",
    "scheduler_ddim",
    "scheduler_ddim_v",
    "scheduler_dpmpp_2m",
    "scheduler_dpmpp_2m_v",
];

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let model = StableDiffusion {
        unet: unet(case, "unet")?,
        autoencoder: autoencoder(case)?,
    };
    states(case, &model.unet, out)?;
    autoencoding(case, &model.autoencoder, out)?;
    for name in SCHEDULERS {
        walk(case, name, out)?;
    }
    walk_of_the_release(case, out)?;
    training(case, out)?;
    pictures_of_contexts(case, &model, out)?;
    unclip(case, model.autoencoder, out)
}

fn text(case: &Case<'_>, file: &str) -> Result<String, ParityError> {
    Ok(case.json(file)?.to_string())
}

fn unet(case: &Case<'_>, folder: &str) -> Result<Unet, ParityError> {
    let config = UnetConfig::from_diffusers(&text(case, &format!("{folder}/config.json"))?)?;
    let weights = case.weights(&format!("{folder}/{WEIGHTS}"))?;
    Ok(seed_weights::load(config.init(case.device)?, &weights, &unet_keys())?.0)
}

fn autoencoder(case: &Case<'_>) -> Result<AutoencoderKl, ParityError> {
    let config = AutoencoderKlConfig::from_diffusers(&text(case, "vae/config.json")?)?;
    let weights = case.weights(&format!("vae/{WEIGHTS}"))?;
    let keys = autoencoder_kl_keys(&weights);
    Ok(seed_weights::load(config.init(case.device)?, &weights, &keys)?.0)
}

fn latents(case: &Case<'_>, key: &str) -> Result<Tensor<4>, ParityError> {
    case.input(key, [ANY, ANY, ANY, ANY])
}

fn timesteps(case: &Case<'_>, key: &str) -> Result<Tensor<1>, ParityError> {
    let whole = case.checkpoint("inputs")?.int(key)?;
    Ok(Tensor::from_data(whole.convert::<f32>(), case.device))
}

fn states(case: &Case<'_>, unet: &Unet, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let context = case.input("context", [ANY, ANY, unet.config().context_width])?;
    let latents = latents(case, "latents")?;
    let states = unet.forward_with_states(latents, timesteps(case, "timesteps")?, context, None);
    out.tensor("unet", "time_proj", states.time_proj)?;
    out.tensor("unet", "time_embedding", states.time_embedding)?;
    for (name, map) in states.maps {
        out.tensor("unet", &name, map)?;
    }
    out.tensor("unet", "sample", states.sample)
}

fn autoencoding(
    case: &Case<'_>,
    model: &AutoencoderKl,
    out: &mut Recorder<'_>,
) -> Result<(), ParityError> {
    let moments = model.encode(case.input("image", [ANY, 3, ANY, ANY])?);
    let both = Tensor::cat(vec![moments.mean.clone(), moments.log_variance.clone()], 1);
    out.tensor("vae", "moments", both)?;
    out.tensor("vae", "mean", moments.mean.clone())?;
    out.tensor("vae", "std", moments.std())?;
    let sample = moments.sample(latents(case, "vae_noise")?);
    out.tensor("vae", "sample", sample.clone())?;
    let scaled = sample.mul_scalar(model.scaling_factor());
    out.tensor("vae", "scaled_latents", scaled)?;
    out.tensor("vae", "reconstruction", model.decode(moments.mean))?;
    out.tensor("vae", "decoded", model.decode(latents(case, "latents_in")?))
}

/// What a scheduler does with the fixed model of the case, ε(x, t) = tanh(0.7·x + bias)·(0.5 + 0.5·t/1000).
struct Walk {
    /// The start, and the latents after each call.
    states: Vec<Tensor<4>>,
    outputs: Vec<Tensor<4>>,
    last: Tensor<4>,
}

impl Walk {
    fn of(case: &Case<'_>, scheduler: &Scheduler) -> Result<Self, ParityError> {
        let (start, bias) = (latents(case, "sched_x")?, latents(case, "sched_bias")?);
        let (mut states, mut outputs) = (vec![start.clone()], Vec::new());
        let model = |x: Tensor<4>, timestep: usize| {
            let said = (x.mul_scalar(0.7) + bias.clone()).tanh();
            Ok::<_, DiffusionError>(said.mul_scalar(0.5 + 0.5 * timestep as f64 / 1000.0))
        };
        let last = scheduler.sample(start.clone(), model, |step| {
            states.push(step.latents.clone());
            outputs.push(step.output.clone());
            true
        })?;
        Ok(Self {
            states,
            outputs,
            last: last.unwrap_or(start),
        })
    }
}

fn numbers(case: &Case<'_>, values: Vec<usize>) -> Tensor<1, Int> {
    let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
    Tensor::from_data(&*values, case.device)
}

fn walk(case: &Case<'_>, name: &str, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let config = SchedulerConfig::from_diffusers(&text(case, &format!("{name}.json"))?)?;
    let scheduler = config.init(case.size("scheduler_steps")?)?;
    let walk = Walk::of(case, &scheduler)?;
    out.tensor::<5>(name, "x", Tensor::stack(walk.states, 0))?;
    out.tensor::<5>(name, "model_output", Tensor::stack(walk.outputs, 0))?;
    out.ids(name, "timesteps", numbers(case, scheduler.timesteps()))?;
    for steps in [20, 50] {
        let timesteps = numbers(case, config.init(steps)?.timesteps());
        out.ids(name, &format!("timesteps_{steps}"), timesteps)?;
    }
    let left = [0, 1, 500, 999].map(|t| scheduler.schedule().alpha_bar(t).map(|a| a as f32));
    let left = left.into_iter().collect::<Result<Vec<f32>, _>>()?;
    out.data(
        name,
        "alphas_cumprod_at_0_1_500_999",
        &TensorData::from(&*left),
    )
}

/// LDM's own PLMS, whose first step calls the model twice.
fn walk_of_the_release(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    const NAME: &str = "scheduler_plms_ldm";
    let config = SchedulerConfig::stable_diffusion().with_sampler(Sampler::Plms);
    let scheduler = config.init(case.size("scheduler_steps")?)?;
    let mut walk = Walk::of(case, &scheduler)?;
    // The release has a state for each step, ours one for each call.
    walk.states.remove(1);
    out.tensor::<5>(NAME, "x", Tensor::stack(walk.states, 0))?;
    out.tensor(NAME, "final", walk.last)?;
    let timesteps = numbers(case, scheduler.timesteps());
    out.ids(NAME, "model_call_timesteps", timesteps)
}

fn training(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    const NAME: &str = "scheduler_train";
    let Some(golden) = case.find(NAME)? else {
        return Ok(());
    };
    let schedule = NoiseScheduleConfig::stable_diffusion().init()?;
    let at: Vec<usize> = golden
        .int("timesteps")?
        .iter::<i64>()
        .map(|t| usize::try_from(t).unwrap_or(usize::MAX))
        .collect();
    let (clean, noise) = (latents(case, "sched_x")?, latents(case, "sched_noise")?);
    let noisy = schedule.add_noise(clean.clone(), noise.clone(), &at)?;
    out.tensor(NAME, "noisy", noisy)?;
    out.tensor(NAME, "velocity", schedule.velocity(clean, noise, &at)?)?;
    out.ids(NAME, "timesteps", numbers(case, at))
}

/// Draws, and records the latents after each call, and the pictures.
fn draw(
    model: &StableDiffusion,
    drawing: &Drawing,
    [stem, latents, image]: [&str; 3],
    out: &mut Recorder<'_>,
) -> Result<(), ParityError> {
    let mut states = Vec::new();
    let last = model.draw(drawing, |step| {
        states.push(step.latents.clone());
        true
    })?;
    out.tensor::<5>(stem, latents, Tensor::stack(states, 0))?;
    let pictures = model.pictures(last.unwrap_or_else(|| drawing.start.clone()));
    out.tensor(stem, image, pictures)
}

/// Prompts through the text encoder, and SEED's way: generation embeddings in the place of its states.
fn pictures_of_contexts(
    case: &Case<'_>,
    model: &StableDiffusion,
    out: &mut Recorder<'_>,
) -> Result<(), ParityError> {
    let (tower, sizes) = text_tower(case, "text_encoder")?;
    let states = |key| -> Result<Tensor<3>, ParityError> {
        let ids = case.texts(key, sizes.vocab_size, sizes.max_length)?;
        Ok(tower.forward(ids, None).last_hidden_state)
    };
    let (prompts, empty) = (states("prompt_ids")?, states("uncond_ids")?);
    out.tensor("text_to_image", "prompt_embeds", prompts.clone())?;
    out.tensor("text_to_image", "uncond_embeds", empty.clone())?;
    let seed = case.input(
        "seed_context",
        [ANY, ANY, model.unet.config().context_width],
    )?;
    let runs = [
        ("text_to_image", "scheduler_pndm", prompts),
        ("context_to_image_ddim", "scheduler_ddim", seed.clone()),
        ("context_to_image_dpmpp", "scheduler_dpmpp_2m", seed),
    ];
    for (stem, scheduler, context) in runs {
        let config = SchedulerConfig::from_diffusers(&text(case, &format!("{scheduler}.json"))?)?;
        let drawing = Drawing {
            condition: Condition::context(context),
            negative: Condition::context(empty.clone()),
            guidance: Guidance::new(case.number("/guidance")?)?,
            scheduler: config.init(case.size("sd_steps")?)?,
            start: latents(case, "start_latents")?,
        };
        draw(model, &drawing, [stem, "latents", "image"], out)?;
    }
    Ok(())
}

fn unclip(
    case: &Case<'_>,
    autoencoder: AutoencoderKl,
    out: &mut Recorder<'_>,
) -> Result<(), ParityError> {
    const NAME: &str = "unclip";
    let schedule = NoiseScheduleConfig::unclip().init()?;
    let left = [0, 20, 500, 999].map(|t| schedule.alpha_bar(t).map(|a| a as f32));
    let left = left.into_iter().collect::<Result<Vec<f32>, _>>()?;
    let left = TensorData::from(&*left);
    out.data(NAME, "noising_alphas_cumprod_at_0_20_500_999", &left)?;

    let weights = case.weights("unclip_normalizer")?;
    let normalizer = ImageNormalizer::load(&weights, case.device)?;
    let width = normalizer.width();
    let labels = |embeddings, noise, level| -> Result<Tensor<2>, ParityError> {
        let embeddings = case.input(embeddings, [ANY, width])?;
        let noise = case.input(noise, [ANY, width])?;
        Ok(normalizer.class_labels(embeddings, noise, level)?)
    };
    let of_level = |level| labels("unclip_image_embeds", "unclip_noise", level);
    for level in case.config["unclip_noise_levels"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let level = level.as_u64().unwrap_or_default() as usize;
        out.tensor(
            NAME,
            &format!("class_labels_level_{level}"),
            of_level(level)?,
        )?;
    }

    let model = StableDiffusion {
        unet: unet(case, "unclip_unet")?,
        autoencoder,
    };
    let labels_of_images = of_level(0)?;
    let batch = labels_of_images.dims()[0];
    let context = case.input(
        "unclip_context",
        [1, ANY, model.unet.config().context_width],
    )?;
    let [_, tokens, context_width] = context.dims();
    let sample = model.unet.forward(
        latents(case, "unclip_latents")?,
        timesteps(case, "unclip_timestep")?,
        context.clone().expand([batch, tokens, context_width]),
        Some(labels_of_images.clone()),
    );
    out.tensor(NAME, "unet_sample", sample)?;

    let config = SchedulerConfig::from_diffusers(&text(case, "scheduler_pndm_v.json")?)?;
    let condition = Condition::context(context);
    let given = labels("unclip_negative_embeds", "unclip_negative_noise", 0)?;
    for (name, negative) in [
        ("zero_negative", normalizer.zero_labels(batch)),
        ("given_negative", given),
    ] {
        let drawing = Drawing {
            condition: condition
                .clone()
                .with_class_labels(labels_of_images.clone()),
            negative: condition.clone().with_class_labels(negative),
            guidance: Guidance::new(case.number("/unclip_guidance")?)?,
            scheduler: config.init(case.size("unclip_steps")?)?,
            start: latents(case, "unclip_latents")?,
        };
        let [latents, image] = ["latents", "image"].map(|what| format!("{name}_{what}"));
        draw(&model, &drawing, [NAME, &latents, &image], out)?;
    }
    Ok(())
}
