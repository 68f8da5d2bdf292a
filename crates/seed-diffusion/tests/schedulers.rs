//! Schedulers, guidance and unCLIP's noise against the numbers of diffusers and of Stable Diffusion's v1 release.

use std::{cell::RefCell, collections::BTreeMap, fs, path::PathBuf};

use burn::tensor::{Tensor, TensorData};
use seed_device::test_device;
use seed_diffusion::{
    DiffusionError, FinalNoise, Guidance, ImageNormalizer, NoiseScheduleConfig, Prediction,
    Sampler, Scheduler, SchedulerConfig, Spacing,
};
use seed_weights::Checkpoint;
use serde::Deserialize;

/// The reference's numbers, shared with other crates.
fn reference(file: &str) -> PathBuf {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    crates
        .join("../../tests/fixtures/11_stable_diffusion")
        .join(file)
}

/// Numbers of `tests/fixtures/schedulers.py`.
fn fixture(file: &str) -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.join("tests/fixtures").join(file)
}

fn open(path: PathBuf) -> Checkpoint {
    Checkpoint::open(path).unwrap()
}

fn tensor<const D: usize>(checkpoint: &Checkpoint, key: &str) -> Tensor<D> {
    Tensor::from_data(checkpoint.float(key).unwrap(), &test_device())
}

fn numbers(checkpoint: &Checkpoint, key: &str) -> Vec<usize> {
    let data = checkpoint.int(key).unwrap();
    data.iter::<i64>().map(|number| number as usize).collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn floats(data: TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

#[track_caller]
fn assert_close(name: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let furthest = found
        .iter()
        .zip(expected)
        .map(|(a, b)| {
            if a.is_finite() {
                (a - b).abs()
            } else {
                f32::INFINITY
            }
        })
        .fold(0.0, f32::max);
    assert!(furthest <= tolerance, "{name}: {furthest:e} away");
}

/// The fixed model of all golden numbers.
fn model(x: Tensor<4>, bias: &Tensor<4>, timestep: usize) -> Tensor<4> {
    (x * 0.7 + bias.clone()).tanh() * (0.5 + 0.5 * timestep as f64 / 1000.0)
}

/// All that can be seen of a walk.
struct Walk {
    timesteps: Vec<usize>,
    /// The start, and the latents after each call.
    states: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
    latents: Vec<f32>,
}

fn walk_with(
    scheduler: &Scheduler,
    start: Tensor<4>,
    model: impl Fn(Tensor<4>, usize) -> Tensor<4>,
) -> Walk {
    let (mut timesteps, mut outputs) = (Vec::new(), Vec::new());
    let mut states = vec![values(start.clone())];
    let model = |x, timestep| Ok::<_, DiffusionError>(model(x, timestep));
    let latents = scheduler.sample(start, model, |step| {
        assert_eq!(step.call, timesteps.len());
        timesteps.push(step.timestep);
        states.push(values(step.latents.clone()));
        outputs.push(values(step.output.clone()));
        assert!(values(step.denoised()).iter().all(|x| x.is_finite()));
        true
    });
    let latents = values(latents.unwrap().unwrap());
    assert_eq!(scheduler.timesteps(), timesteps);
    Walk {
        timesteps,
        states,
        outputs,
        latents,
    }
}

fn walk(scheduler: &Scheduler, start: Tensor<4>, bias: &Tensor<4>) -> Walk {
    walk_with(scheduler, start, |x, timestep| model(x, bias, timestep))
}

fn published(name: &str) -> SchedulerConfig {
    let text = fs::read_to_string(reference(&format!("{name}.json"))).unwrap();
    SchedulerConfig::from_diffusers(&text).unwrap()
}

/// Every state, output and time step of the six published configs, with the tolerances of the fixtures.
#[test]
fn published_schedulers_walk_as_in_diffusers() {
    let inputs = open(reference("inputs.safetensors"));
    let bias = tensor::<4>(&inputs, "sched_bias");
    for (name, for_states, for_outputs) in [
        ("scheduler_pndm", 2e-4, 1e-5),
        ("scheduler_pndm_v", 5e-5, 1e-5),
        ("scheduler_ddim", 2e-4, 1e-5),
        ("scheduler_ddim_v", 5e-5, 2e-5),
        ("scheduler_dpmpp_2m", 5e-4, 1e-5),
        ("scheduler_dpmpp_2m_v", 5e-5, 1e-5),
    ] {
        let expected = open(reference(&format!("{name}.safetensors")));
        let config = published(name);
        let scheduler = config.init(10).unwrap();
        let walk = walk(&scheduler, tensor(&inputs, "sched_x"), &bias);
        assert_eq!(walk.timesteps, numbers(&expected, "timesteps"), "{name}");
        let x = floats(expected.float("x").unwrap());
        assert_close(name, &walk.states.concat(), &x, for_states);
        let outputs = floats(expected.float("model_output").unwrap());
        assert_close(name, &walk.outputs.concat(), &outputs, for_outputs);
        assert_eq!(Some(&walk.latents), walk.states.last());
        for steps in [20, 50] {
            let timesteps = config.init(steps).unwrap().timesteps();
            let expected = numbers(&expected, &format!("timesteps_{steps}"));
            assert_eq!(timesteps, expected, "{name}, {steps} steps");
        }
        let left = floats(expected.float("alphas_cumprod_at_0_1_500_999").unwrap());
        let found = [0, 1, 500, 999].map(|t| scheduler.schedule().alpha_bar(t).unwrap() as f32);
        assert_close(name, &found, &left, 1e-5);
    }
}

#[test]
fn the_releases_own_plms_is_met() {
    let inputs = open(reference("inputs.safetensors"));
    let expected = open(reference("scheduler_plms_ldm.safetensors"));
    let config = SchedulerConfig::stable_diffusion().with_sampler(Sampler::Plms);
    let scheduler = config.init(10).unwrap();
    let start = tensor(&inputs, "sched_x");
    let walk = walk(&scheduler, start, &tensor(&inputs, "sched_bias"));
    let timesteps = numbers(&expected, "model_call_timesteps");
    assert_eq!(walk.timesteps, timesteps);
    // It names a state for each step; ours has one more, from the first call of the first step.
    let mut states = walk.states;
    states.remove(1);
    let x = floats(expected.float("x").unwrap());
    assert_close("x", &states.concat(), &x, 2e-4);
    let last = floats(expected.float("final").unwrap());
    assert_close("final", &walk.latents, &last, 2e-4);
}

/// With predicted noise PLMS is PNDM. With velocity it is PLMS of the noise that the velocity amounts to, and PNDM is not.
#[test]
fn plms_takes_means_of_noise() {
    let inputs = open(reference("inputs.safetensors"));
    let bias = tensor::<4>(&inputs, "sched_bias");
    let start = || tensor(&inputs, "sched_x");
    let config = SchedulerConfig::stable_diffusion();
    let plms = config.clone().with_sampler(Sampler::Plms);
    let last = |config: &SchedulerConfig| walk(&config.init(10).unwrap(), start(), &bias).latents;
    assert_close("noise", &last(&plms), &last(&config), 1e-4);

    let alpha_bars = plms.noise.init().unwrap();
    let scheduler = plms.init(10).unwrap();
    let as_noise = walk_with(&scheduler, start(), |x, timestep| {
        let left = alpha_bars.alpha_bar(timestep).unwrap();
        model(x.clone(), &bias, timestep) * left.sqrt() + x * (1.0 - left).sqrt()
    });
    let velocity = last(&plms.with_prediction(Prediction::Velocity));
    assert_close("velocity", &velocity, &as_noise.latents, 1e-4);
    let pndm = last(&config.with_prediction(Prediction::Velocity));
    let apart = velocity.iter().zip(&pndm).map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0.0, f32::max) > 1e-3);
}

#[derive(Deserialize)]
struct Case {
    name: String,
    config: serde_json::Value,
    steps: usize,
    first: usize,
    calls: Vec<usize>,
}

/// Other spacings, odd counts, single steps, starts inside the schedule, other orders and ends.
#[test]
fn other_settings_walk_as_in_diffusers() {
    let expected = open(fixture("schedulers.safetensors"));
    let bias = tensor::<4>(&expected, "bias");
    let text = fs::read_to_string(fixture("schedulers.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 33);
    for case in cases {
        let config = SchedulerConfig::from_diffusers(&case.config.to_string()).unwrap();
        let mut scheduler = config.init(case.steps).unwrap();
        if case.first > 0 {
            let left = (case.steps - case.first) as f64;
            scheduler = scheduler.with_strength(left / case.steps as f64).unwrap();
        }
        let walk = walk(&scheduler, tensor(&expected, "start"), &bias);
        assert_eq!(walk.timesteps, case.calls, "{}", case.name);
        let x = floats(expected.float(&case.name).unwrap());
        let largest = x.iter().fold(1.0f32, |most, x| most.max(x.abs()));
        assert_close(&case.name, &walk.states.concat(), &x, 2e-5 * largest);
    }
}

/// Lists for some counts, and one number for all counts up to 400.
#[test]
fn time_steps_are_those_of_diffusers() {
    #[derive(Deserialize)]
    struct Counts {
        lists: BTreeMap<usize, Vec<usize>>,
        checksum: u32,
        left_out: Vec<usize>,
    }
    let text = fs::read_to_string(fixture("timesteps.json")).unwrap();
    let all: BTreeMap<String, Counts> = serde_json::from_str(&text).unwrap();
    for (sampler, prefix) in [(Sampler::Ddim, "ddim"), (Sampler::DpmSolverPlusPlus, "dpm")] {
        for (spacing, suffix) in [
            (Spacing::Leading, "leading"),
            (Spacing::Linspace, "linspace"),
            (Spacing::Trailing, "trailing"),
        ] {
            let expected = &all[&format!("{prefix}_{suffix}")];
            let config = SchedulerConfig {
                timestep_spacing: Some(spacing),
                ..SchedulerConfig::stable_diffusion().with_sampler(sampler)
            };
            let mut checksum = 0u32;
            for steps in 1..=400 {
                let found = config.init(steps).unwrap().timesteps();
                // There `np.arange` gives one more than was asked for; ours gives as many as were.
                assert_eq!(found.len(), steps);
                if expected.left_out.contains(&steps) {
                    continue;
                }
                if let Some(expected) = expected.lists.get(&steps) {
                    assert_eq!(&found, expected, "{prefix} {suffix}, {steps} steps");
                }
                for timestep in found {
                    checksum = checksum.wrapping_mul(31).wrapping_add(timestep as u32 + 1);
                }
            }
            assert_eq!(checksum, expected.checksum, "{prefix} {suffix}");
        }
    }
}

/// Whatever is asked for is walked through with finite numbers, or refused.
#[test]
fn every_count_is_walked_or_refused() {
    let start = Tensor::<4>::from_floats([[[[1.5, -0.5]]]], &test_device());
    let ends = Sampler::ALL
        .map(|sampler| (sampler, FinalNoise::Zero))
        .into_iter()
        .chain([(Sampler::DpmSolverPlusPlus, FinalNoise::SigmaMin)]);
    let mut refused = Vec::new();
    for (sampler, final_sigmas_type) in ends {
        for spacing in [Spacing::Leading, Spacing::Linspace, Spacing::Trailing] {
            let config = SchedulerConfig {
                timestep_spacing: Some(spacing),
                final_sigmas_type,
                lower_order_final: false,
                ..SchedulerConfig::stable_diffusion().with_sampler(sampler)
            };
            for steps in [1, 2, 3, 5, 14, 15, 999, 1000] {
                let scheduler = match config.init(steps) {
                    Ok(scheduler) => scheduler,
                    Err(error) => {
                        assert!(error.to_string().contains("steps is"), "{error}");
                        refused.push((sampler, spacing, steps));
                        continue;
                    }
                };
                // A thousand steps are walked once, where time steps repeat.
                let repeats =
                    spacing == Spacing::Linspace && final_sigmas_type == FinalNoise::SigmaMin;
                if steps > 100 && !repeats {
                    continue;
                }
                let model = |x: Tensor<4>, _| Ok::<_, DiffusionError>(x * 0.1);
                let latents = scheduler.sample(start.clone(), model, |_| true);
                let latents = values(latents.unwrap().unwrap());
                let finite = latents.iter().all(|x| x.is_finite());
                assert!(finite, "{sampler} {spacing:?} {steps}: {latents:?}");
            }
            for steps in [0, 1001, usize::MAX] {
                let error = config.init(steps).unwrap_err().to_string();
                assert!(error.contains("steps is"), "{error}");
            }
        }
    }
    // With an offset of 1 a thousand leading steps would begin at time step 1000, which there is not.
    let leading = |sampler, steps| (sampler, Spacing::Leading, steps);
    let expected = [
        leading(Sampler::Ddim, 1000),
        leading(Sampler::Pndm, 1000),
        leading(Sampler::Plms, 1000),
        leading(Sampler::DpmSolverPlusPlus, 999),
        leading(Sampler::DpmSolverPlusPlus, 1000),
        leading(Sampler::DpmSolverPlusPlus, 999),
        leading(Sampler::DpmSolverPlusPlus, 1000),
    ];
    assert_eq!(refused, expected);
}

#[test]
fn a_picture_is_noised_to_where_it_starts() {
    let device = test_device();
    let clean = Tensor::<4>::from_floats([[[[2.0, -1.0]]]], &device);
    let noise = Tensor::<4>::from_floats([[[[0.5, 1.0]]]], &device);
    for sampler in Sampler::ALL {
        let config = SchedulerConfig::stable_diffusion().with_sampler(sampler);
        let whole = config.init(10).unwrap();
        let scheduler = whole.clone().with_strength(0.6).unwrap();
        let timesteps = scheduler.timesteps();
        let again = usize::from(matches!(sampler, Sampler::Pndm | Sampler::Plms));
        assert_eq!(timesteps.len(), 6 + again, "{sampler}");
        assert_eq!(timesteps[0], whole.timesteps()[4 + again]);
        let found = scheduler.start(clean.clone(), noise.clone()).unwrap();
        let schedule = scheduler.schedule();
        let expected = schedule.add_noise(clean.clone(), noise.clone(), &timesteps[..1]);
        assert_close("start", &values(found), &values(expected.unwrap()), 1e-6);

        let all = whole.clone().with_strength(1.0).unwrap();
        assert_eq!(all.timesteps(), whole.timesteps());
        for strength in [0.0, 0.05, -1.0, 1.1, f64::NAN] {
            let error = whole.clone().with_strength(strength).unwrap_err();
            assert!(error.to_string().contains("strength"), "{error}");
        }
    }
    let scheduler = SchedulerConfig::stable_diffusion().init(10).unwrap();
    let other = Tensor::<4>::zeros([1, 1, 2, 1], &device);
    assert!(matches!(
        scheduler.start(clean, other),
        Err(DiffusionError::Shape { .. })
    ));
}

/// A model that knows the picture is followed to it, whatever the sampler and its prediction; but PNDM takes means of
/// velocities, which are others at each time step of the same picture and noise, and PLMS of a single step calls the model
/// at a time step that is not that of the latents, as in the release.
#[test]
fn a_model_that_knows_the_picture_gives_it() {
    let device = test_device();
    let picture = Tensor::<4>::from_floats([[[[0.7, -1.2, 0.1]]]], &device);
    for sampler in Sampler::ALL {
        for prediction in [Prediction::Epsilon, Prediction::Velocity] {
            if (sampler, prediction) == (Sampler::Pndm, Prediction::Velocity) {
                continue;
            }
            let mut config = SchedulerConfig::stable_diffusion()
                .with_sampler(sampler)
                .with_prediction(prediction);
            config.set_alpha_to_one = Some(true);
            let least = if sampler == Sampler::Plms { 2 } else { 1 };
            for steps in [least, 4, 25] {
                let scheduler = config.init(steps).unwrap();
                let start = Tensor::<4>::from_floats([[[[1.0, 0.3, -2.0]]]], &device);
                let start = scheduler.start(picture.clone(), start).unwrap();
                let walk = walk_with(&scheduler, start, |x, timestep| {
                    let left = scheduler.schedule().alpha_bar(timestep).unwrap();
                    let noise = (x - picture.clone() * left.sqrt()) * (1.0 / (1.0 - left).sqrt());
                    match prediction {
                        Prediction::Velocity => {
                            noise * left.sqrt() - picture.clone() * (1.0 - left).sqrt()
                        }
                        _ => noise,
                    }
                });
                let name = format!("{sampler} {prediction:?} {steps}");
                assert_close(&name, &walk.latents, &values(picture.clone()), 2e-4);
            }
        }
    }
}

#[test]
fn walks_end_when_asked_and_on_errors() {
    let device = test_device();
    let start = Tensor::<4>::ones([1, 1, 1, 2], &device);
    for sampler in Sampler::ALL {
        let config = SchedulerConfig::stable_diffusion().with_sampler(sampler);
        let scheduler = config.init(5).unwrap();
        let called = RefCell::new(0);
        let model = |x, _| {
            *called.borrow_mut() += 1;
            Ok::<Tensor<4>, DiffusionError>(x)
        };
        let ended = scheduler.sample(start.clone(), model, |step| step.call < 2);
        assert!(ended.unwrap().is_none());
        assert_eq!(*called.borrow(), 3);

        let model = |x: Tensor<4>, _| Ok::<_, DiffusionError>(x.narrow(3, 0, 1));
        let other_shape = scheduler.sample(start.clone(), model, |_| true);
        assert!(matches!(other_shape, Err(DiffusionError::Shape { .. })));
    }
}

#[test]
fn training_is_as_in_diffusers() {
    let inputs = open(reference("inputs.safetensors"));
    let expected = open(reference("scheduler_train.safetensors"));
    let schedule = NoiseScheduleConfig::stable_diffusion().init().unwrap();
    let timesteps = numbers(&expected, "timesteps");
    let clean = || tensor::<4>(&inputs, "sched_x");
    let noise = || tensor::<4>(&inputs, "sched_noise");
    let noisy = schedule.add_noise(clean(), noise(), &timesteps).unwrap();
    let golden = floats(expected.float("noisy").unwrap());
    assert_close("noisy", &values(noisy), &golden, 5e-5);
    let velocity = schedule.velocity(clean(), noise(), &timesteps).unwrap();
    let golden = floats(expected.float("velocity").unwrap());
    assert_close("velocity", &values(velocity), &golden, 5e-5);
    let ratio = schedule.signal_to_noise(500).unwrap();
    assert!((ratio - 0.276_332 / 0.723_668).abs() < 1e-5);

    let beyond = schedule.add_noise(clean(), noise(), &[3, 1000]);
    assert!(matches!(
        beyond,
        Err(DiffusionError::Timestep {
            timestep: 1000,
            count: 1000
        })
    ));
    let few = schedule.add_noise(clean(), noise(), &[3]);
    assert!(matches!(few, Err(DiffusionError::Shape { .. })));
}

#[test]
fn zero_terminal_snr_is_as_in_diffusers() {
    let expected = open(fixture("schedulers.safetensors"));
    let config = NoiseScheduleConfig {
        rescale_betas_zero_snr: true,
        ..NoiseScheduleConfig::stable_diffusion()
    };
    let schedule = config.init().unwrap();
    let found = [0, 1, 500, 999].map(|t| schedule.alpha_bar(t).unwrap() as f32);
    let golden = floats(expected.float("zero_snr_alphas_at_0_1_500_999").unwrap());
    assert_close("alphas", &found, &golden, 1e-5);
}

#[test]
fn guidance_is_as_in_diffusers() {
    let expected = open(fixture("schedulers.safetensors"));
    let combine = |guidance: Guidance| {
        let conditional = tensor(&expected, "conditional");
        values(guidance.combine(tensor(&expected, "unconditional"), conditional))
    };
    let guidance = Guidance::new(7.5).unwrap();
    let golden = floats(expected.float("guided").unwrap());
    assert_close("guided", &combine(guidance), &golden, 2e-5);
    let golden = floats(expected.float("rescaled").unwrap());
    let found = combine(guidance.with_rescale(0.7).unwrap());
    assert_close("rescaled", &found, &golden, 2e-5);
    let golden = floats(expected.float("conditional").unwrap());
    let found = combine(Guidance::new(1.0).unwrap());
    assert_close("scale 1", &found, &golden, 0.0);
}

#[test]
fn class_labels_are_as_in_diffusers() {
    let device = test_device();
    let inputs = open(reference("inputs.safetensors"));
    let expected = open(reference("unclip.safetensors"));
    let weights = open(reference("unclip_normalizer.safetensors"));
    let normalizer = ImageNormalizer::load(&weights, &device).unwrap();
    assert_eq!((normalizer.width(), normalizer.levels()), (10, 1000));
    let embeddings = || tensor::<2>(&inputs, "unclip_image_embeds");
    let noise = || tensor::<2>(&inputs, "unclip_noise");
    for level in [0, 20] {
        let labels = normalizer.class_labels(embeddings(), noise(), level);
        let golden = floats(
            expected
                .float(&format!("class_labels_level_{level}"))
                .unwrap(),
        );
        assert_close("labels", &values(labels.unwrap()), &golden, 5e-5);
    }
    // Level 0 is not without noise.
    let least = values(normalizer.class_labels(embeddings(), noise(), 0).unwrap());
    let embedded = values(embeddings());
    assert!((least[0] - embedded[0]).abs() > 1e-3);
    // No negative embedding is all zero: the cosines of the level would be 1.
    let zero = values(normalizer.zero_labels(2));
    assert_eq!(zero, vec![0.0; 40]);

    let noising = NoiseScheduleConfig::unclip().init().unwrap();
    let found = [0, 20, 500, 999].map(|t| noising.alpha_bar(t).unwrap() as f32);
    let golden = floats(
        expected
            .float("noising_alphas_cumprod_at_0_20_500_999")
            .unwrap(),
    );
    assert_close("alphas", &found, &golden, 1e-5);

    let beyond = normalizer.class_labels(embeddings(), noise(), 1000);
    assert!(matches!(beyond, Err(DiffusionError::Timestep { .. })));
    let narrow = normalizer.class_labels(embeddings().narrow(1, 0, 9), noise(), 0);
    assert!(matches!(narrow, Err(DiffusionError::Shape { .. })));
    let other = ImageNormalizer::load(&inputs, &device);
    assert!(matches!(other, Err(DiffusionError::Weights(_))));
}
