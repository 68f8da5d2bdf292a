//! The diffusion model's two trainings on a handful of made-up pictures: they run, resume exactly, and what they save is a
//! model that draws.

mod tiny;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use burn::tensor::Tensor;
use seed::{
    data::{Cache, PairSet},
    device::test_device,
    diffusion::{
        AutoencoderKlConfig, Condition, DiffusersFolder, Drawing, Guidance, Noise, NoiseUse,
        load_autoencoder,
    },
    eval::SetName,
    recipes::{
        EvaluationSet, RecipeError, Splits, TrainingOutcome,
        autoencoder::{AutoencoderTraining, AutoencoderTrainingConfig},
        diffusion::{DiffusionTraining, DiffusionTrainingConfig},
    },
    train::{Existing, LrSchedule, ProgressMode, RunDir, RunInfo, StopFlag, TrainConfig},
};
use tiny::{IMAGE_EMBEDDING, frozen_parts, squares, tokenizer_config};

/// Burn's random numbers are the process's: trainings that are compared bit for bit take turns with others.
static RANDOM_NUMBERS: Mutex<()> = Mutex::new(());

/// Pictures of 16 pixels become latents of 8.
fn autoencoder() -> AutoencoderTrainingConfig {
    let mut config = AutoencoderTrainingConfig::nano().unwrap();
    config.model = AutoencoderKlConfig {
        sample_size: 16,
        channels: vec![4, 4],
        groups: 2,
        ..config.model
    };
    config.render_size = 16;
    config.transform.size = 16;
    config.train = train();
    config
}

fn diffusion() -> DiffusionTrainingConfig {
    let mut config = DiffusionTrainingConfig::nano().unwrap();
    config.unet.sample_size = 8;
    config.unet.groups = 2;
    config.unet.context_width = 8;
    for level in &mut config.unet.levels {
        level.channels = 8;
        level.heads = 2;
    }
    let width = 2 * IMAGE_EMBEDDING;
    config.unet.class_embedding = Some(seed::diffusion::ClassEmbedding::Projection { width });
    config.text_length = 6;
    config.wordings = 3;
    config.context_noise = 0.1;
    config.render_size = 16;
    config.transform.size = 16;
    // One batch of frozen outputs: a stop that is asked for before the first step comes after it.
    config.views = 1;
    config.train = train();
    config
}

fn train() -> TrainConfig {
    TrainConfig {
        steps: 3,
        batch_size: 4,
        schedule: LrSchedule::Cosine {
            peak: 1e-2,
            warmup_steps: 1,
            floor: 0.0,
        },
        checkpoint_every: 1,
        log_every: 1,
        ..TrainConfig::default()
    }
}

fn splits() -> Splits {
    let set: Arc<dyn PairSet> = Arc::new(squares(12));
    Splits {
        renderings: vec![Arc::clone(&set)],
        evaluations: vec![EvaluationSet {
            name: SetName::new("validation", "made up", "seen"),
            set,
        }],
    }
}

fn open(folder: &Path, name: &str) -> RunDir {
    let existing = if folder.join(name).exists() {
        Existing::Resume
    } else {
        Existing::Refuse
    };
    let info = RunInfo {
        config: serde_json::Value::Null,
        seed: 42,
        device: "test".to_owned(),
        outputs: &[],
    };
    RunDir::open(folder, name, existing, &info).unwrap()
}

/// One session of both trainings, each stopped after one step if `interrupt`; whether they got to their ends.
fn session(
    folder: &Path,
    configs: (&AutoencoderTrainingConfig, &DiffusionTrainingConfig),
    interrupt: bool,
) -> Result<bool, RecipeError> {
    let device = test_device();
    let splits = splits();
    let stop = || {
        let stop = StopFlag::new();
        if interrupt {
            // Asked for before the first step, it ends a training after one step.
            stop.request();
        }
        stop
    };
    let training = AutoencoderTraining {
        config: configs.0,
        splits: &splits,
        device: &device,
        progress: ProgressMode::Quiet,
        stop: stop(),
    };
    let mut run = open(folder, "vae");
    if let TrainingOutcome::Interrupted { .. } = training.train(&mut run)? {
        return Ok(false);
    }
    let autoencoder = load_autoencoder(run.path(), &device)?;
    let cache = Cache::open(folder.join("cache"), 1 << 26).unwrap();
    let mut tokenizer = tokenizer_config();
    tokenizer.transform.size = 16;
    let frozen = frozen_parts(&tokenizer, &squares(12), &device);
    let training = DiffusionTraining {
        config: configs.1,
        autoencoder: &autoencoder,
        frozen: &frozen,
        splits: &splits,
        cache: &cache,
        device: &device,
        progress: ProgressMode::Quiet,
        stop: stop(),
    };
    let mut run = open(folder, "ldm");
    match training.train(&mut run)? {
        TrainingOutcome::Finished(_) => Ok(true),
        TrainingOutcome::Interrupted { .. } => Ok(false),
    }
}

fn results(folder: &Path) -> Vec<Vec<u8>> {
    let files = ["ldm/vae", "ldm/unet", "ldm/image_normalizer"];
    let read = |part: &str| {
        let file = folder
            .join(part)
            .join("diffusion_pytorch_model.safetensors");
        std::fs::read(file).unwrap()
    };
    files.into_iter().map(read).collect()
}

#[test]
fn a_resumed_training_equals_an_uninterrupted_one_and_what_it_saves_draws() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let (autoencoder, diffusion) = (autoencoder(), diffusion());
    let configs = (&autoencoder, &diffusion);
    let whole = tempfile::tempdir().unwrap();
    assert!(session(whole.path(), configs, false).unwrap());
    let parts = tempfile::tempdir().unwrap();
    assert!(!session(parts.path(), configs, true).unwrap());
    let mut sessions = 1;
    while !session(parts.path(), configs, sessions < 6).unwrap() {
        sessions += 1;
    }
    assert!(sessions >= 4, "only {sessions} interruptions");
    let (whole_results, parts_results) = (results(whole.path()), results(parts.path()));
    if std::env::var("SEED_TEST_DEVICE").is_ok_and(|device| device != "flex") {
        // Other devices may add in another order.
        assert_eq!(whole_results.len(), parts_results.len());
    } else {
        assert!(whole_results == parts_results);
    }

    let device = test_device();
    let folder = DiffusersFolder::open(whole.path().join("ldm")).unwrap();
    assert_eq!(folder.unet, diffusion.unet);
    let model = folder.load(&device).unwrap();
    let normalizer = folder.image_normalizer(&device).unwrap().unwrap();
    let states = Tensor::<3>::ones([1, 6, 8], &device);
    let labels = normalizer.zero_labels(1);
    let condition =
        |states: Tensor<3>| Condition::context(states).with_class_labels(labels.clone());
    let drawing = Drawing {
        condition: condition(states.clone()),
        negative: condition(states.zeros_like()),
        guidance: Guidance::new(2.0).unwrap(),
        scheduler: folder.scheduler.init(3).unwrap(),
        start: Noise::new(1).draw(NoiseUse::Latents, [2, 4, 8, 8], &device),
    };
    let latents = model.draw(&drawing, |_| true).unwrap().unwrap();
    let pictures = model.pictures(latents);
    assert_eq!(pictures.dims(), [2, 3, 16, 16]);
    assert!(
        pictures
            .into_data()
            .iter::<f32>()
            .all(|value| (0.0..=1.0).contains(&value))
    );
}

#[test]
fn sizes_that_do_not_fit_are_refused_by_name() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let refused = |change: fn(&mut DiffusionTrainingConfig), key: &str| {
        let mut autoencoder = autoencoder();
        autoencoder.train.steps = 1;
        let mut config = diffusion();
        change(&mut config);
        let folder = tempfile::tempdir().unwrap();
        let refusal = session(folder.path(), (&autoencoder, &config), false);
        let refusal = refusal.unwrap_err().to_string();
        assert!(refusal.contains(key), "{key}: {refusal}");
    };
    refused(|config| config.unet.sample_size = 16, "unet.sample_size");
    refused(
        |config| config.unet.context_width = 12,
        "unet.context_width",
    );
    refused(|config| config.transform.size = 24, "transform.size");
    refused(|config| config.text_length = 7, "text_length");
    refused(
        |config| {
            config.unet.class_embedding =
                Some(seed::diffusion::ClassEmbedding::Projection { width: 10 });
        },
        "unet.class_embedding",
    );
}
