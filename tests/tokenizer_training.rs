//! Both stages on a handful of made-up pictures: they run, resume exactly, and pay for the frozen
//! parts once.

mod tiny;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use seed::{
    data::Cache,
    device::test_device,
    eval::SetName,
    recipes::{
        EvaluationSet, RecipeError, Splits, TrainingOutcome,
        tokenizer::{StageOneStart, TokenizerTraining, TokenizerTrainingConfig},
    },
    tokenizer::{ImageHeadConfig, ImageHeadForm, TokenEncoderConfig},
    train::{
        Existing, LrSchedule, MetricsLine, ProgressMode, RunDir, RunInfo, StopFlag, read_metrics,
    },
    weights::Checkpoint,
};
use tiny::{IMAGE_EMBEDDING, frozen_parts, squares, tokenizer_config};

/// Burn's random numbers are the process's: trainings that are compared bit for bit take turns with others.
static RANDOM_NUMBERS: Mutex<()> = Mutex::new(());

/// A training of squares in `folder/run`, with its cache in `folder/cache`.
struct Session<'a> {
    folder: &'a Path,
    config: &'a TokenizerTrainingConfig,
    existing: Existing,
    stop: StopFlag,
    cache_bytes: u64,
}

impl<'a> Session<'a> {
    fn new(folder: &'a Path, config: &'a TokenizerTrainingConfig) -> Self {
        Self {
            folder,
            config,
            existing: Existing::Refuse,
            stop: StopFlag::new(),
            cache_bytes: 1 << 24,
        }
    }

    /// Trains and judges; whether it got to the end.
    fn run(self) -> Result<bool, RecipeError> {
        let device = test_device();
        let set = Arc::new(squares(12));
        let splits = Splits {
            renderings: vec![set.clone()],
            evaluations: vec![EvaluationSet {
                name: SetName::new("validation", "made up", "seen"),
                set: set.clone(),
            }],
        };
        let cache = Cache::open(self.folder.join("cache"), self.cache_bytes).unwrap();
        let info = RunInfo {
            config: serde_json::to_value(self.config).unwrap(),
            seed: 42,
            device: "test".to_owned(),
            outputs: &["tokenizer.safetensors"],
        };
        let mut run = RunDir::open(self.folder, "run", self.existing, &info).unwrap();
        let training = TokenizerTraining {
            config: self.config,
            frozen: &frozen_parts(self.config, &set, &device),
            splits: &splits,
            cache: &cache,
            device: &device,
            progress: ProgressMode::Quiet,
            stop: self.stop,
        };
        match training.train(&mut run)? {
            TrainingOutcome::Finished(trained) => {
                let report = training.report(&trained, &run, &[]).unwrap();
                assert_eq!(report.retrieval.len(), 1);
                assert!(run.path().join("report.html").exists());
                Ok(true)
            }
            TrainingOutcome::Interrupted { .. } => Ok(false),
        }
    }
}

/// One session of a run; true if it got to the end.
fn session(
    folder: &Path,
    config: &TokenizerTrainingConfig,
    existing: Existing,
    interrupt: bool,
) -> bool {
    let session = Session {
        existing,
        ..Session::new(folder, config)
    };
    if interrupt {
        // Asked for before the first step, it ends each stage after one step.
        session.stop.request();
    }
    session.run().unwrap()
}

/// Names of the files in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn result(folder: &Path) -> [Vec<u8>; 2] {
    ["tokens", "tokenizer"].map(|part| {
        std::fs::read(folder.join("run").join(part).with_extension("safetensors")).unwrap()
    })
}

#[test]
fn a_resumed_training_equals_an_uninterrupted_one_bit_for_bit() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let config = tokenizer_config();
    let whole = tempfile::tempdir().unwrap();
    assert!(session(whole.path(), &config, Existing::Refuse, false));

    let parts = tempfile::tempdir().unwrap();
    assert!(
        !session(parts.path(), &config, Existing::Refuse, true),
        "stage I should have stopped"
    );
    let mut sessions = 1;
    while !session(parts.path(), &config, Existing::Resume, sessions < 7) {
        sessions += 1;
    }
    assert!(sessions >= 5, "only {sessions} interruptions");
    assert!(
        result(whole.path()) == result(parts.path()),
        "the trained weights differ"
    );
}

#[test]
fn captioning_trains_a_language_head_and_is_refused_without_one() {
    let mut config = tokenizer_config();
    config.captioning = 1.0;
    let error = config.validate().unwrap_err().to_string();
    assert!(error.contains("captioning = 1"), "{error}");
    assert!(error.contains("language_head"), "{error}");

    let TokenEncoderConfig::QFormer(tokens) = &mut config.model.tokens else {
        unreachable!("nano has a Q-Former")
    };
    tokens.language_head = true;
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    assert!(session(folder.path(), &config, Existing::Refuse, false));
    let run = folder.path().join("run");
    let tokens = Checkpoint::open(run.join("tokens.safetensors")).unwrap();
    let bias = tokens.float("Qformer.cls.predictions.bias").unwrap();
    // It starts at zero and moves with the words it is right about.
    assert!(bias.iter::<f32>().any(|value| value != 0.0));
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert!(metrics.contains("\"captioning\""), "{metrics}");
}

#[test]
fn a_config_that_asks_for_more_text_than_the_model_has_is_refused() {
    let mut config = tokenizer_config();
    config.text_length = 99;
    let error = config.validate().unwrap_err().to_string();
    assert!(error.contains("text_length = 99"), "{error}");
}

/// SEED v2 at nano size: the image head is trained towards the frozen image embedding, as much as its weight says.
#[test]
fn an_image_head_is_trained() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let mut config = tokenizer_config();
    config.model.codes.image_head = Some(ImageHeadConfig {
        target_width: IMAGE_EMBEDDING,
        form: ImageHeadForm::Mlp { widths: [8, 8, 4] },
    });
    config.stage_two.steps = 40;
    config.weights.image = 5.0;
    let loss = |config: &TokenizerTrainingConfig| {
        let folder = tempfile::tempdir().unwrap();
        assert!(session(folder.path(), config, Existing::Refuse, false));
        let lines = read_metrics(&folder.path().join("run/metrics.jsonl")).unwrap();
        let losses = lines.iter().filter_map(|line| match line {
            MetricsLine::Train(line) if line.stage == "stage-2" => Some(line.parts["image"]),
            _ => None,
        });
        let losses: Vec<f64> = losses.collect();
        (losses[0], losses[losses.len() - 1])
    };
    let (first, last) = loss(&config);
    // How fast depends on the weights that a device draws.
    assert!(last < 0.9 * first, "{first} {last}");
    config.weights.image = 0.0;
    let (_, unweighted) = loss(&config);
    assert!(last < unweighted, "{last} {unweighted}");
}

/// Any arm of an ablation can start from its own pretraining: a run's folder, or its file.
#[test]
fn stage_one_starts_from_another_run() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let first = tempfile::tempdir().unwrap();
    let config = tokenizer_config();
    assert!(session(first.path(), &config, Existing::Refuse, false));
    let started = |start: StageOneStart| {
        let mut config = tokenizer_config();
        config.start = start;
        // A rate of almost nothing: what comes out is what went in.
        config.stage_one.steps = 1;
        config.stage_one.schedule = LrSchedule::Cosine {
            peak: 1e-12,
            warmup_steps: 0,
            floor: 1e-12,
        };
        let folder = tempfile::tempdir().unwrap();
        let done = Session::new(folder.path(), &config).run();
        done.map(|_| tensors(&folder.path().join("run/tokens.safetensors")))
    };
    let run = first.path().join("run");
    let given = tensors(&run.join("tokens.safetensors"));
    for start in [run.clone(), run.join("tokens.safetensors")] {
        let found = started(StageOneStart::From(start)).unwrap();
        let apart = given.iter().zip(&found).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-6);
    }
    let random = started(StageOneStart::Random).unwrap();
    assert!(given != random);
    let error = started(StageOneStart::From("no/such/run".into()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("no/such/run"), "{error}");
}

fn tensors(file: &Path) -> Vec<f32> {
    let checkpoint = Checkpoint::open(file).unwrap();
    let mut keys: Vec<&str> = checkpoint.keys().collect();
    keys.sort_unstable();
    let tensors = keys.into_iter().map(|key| checkpoint.float(key).unwrap());
    tensors
        .flat_map(|data| data.iter::<f32>().collect::<Vec<f32>>())
        .collect()
}

/// Tokenizers on one tower share its outputs: a second one with other seeds, codes and steps adds only its own.
#[test]
fn image_tokens_are_computed_once_for_all_tokenizers() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let mut config = tokenizer_config();
    assert!(session(folder.path(), &config, Existing::Refuse, false));
    let before = names(&folder.path().join("cache"));
    config.model.codes.quantizer.codes = 12;
    config.stage_two.seed = 7;
    assert!(session(folder.path(), &config, Existing::Overwrite, false));
    assert_eq!(
        names(&folder.path().join("cache")),
        before,
        "stage I is the same"
    );
    config.stage_one.steps = 6;
    assert!(session(folder.path(), &config, Existing::Overwrite, false));
    let after = names(&folder.path().join("cache"));
    // Embeddings of the training pictures are new, image tokens and text states are not.
    assert_eq!(after.len(), before.len() + 1, "{after:?}");
}

#[test]
fn a_longer_first_stage_under_a_second_is_refused_before_work() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let mut config = tokenizer_config();
    assert!(session(folder.path(), &config, Existing::Refuse, false));
    config.stage_one.steps = 9;
    let resumed = Session {
        existing: Existing::Resume,
        ..Session::new(folder.path(), &config)
    };
    let error = resumed.run().unwrap_err().to_string();
    assert!(error.contains("stage_one.steps: 5 → 9"), "{error}");
    let checkpoints = names(&folder.path().join("run/checkpoints/stage-1"));
    assert!(
        checkpoints.contains(&"step-000005".to_owned()),
        "{checkpoints:?}"
    );
}

#[test]
fn a_set_that_does_not_fit_the_cache_is_told_before_work() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let config = tokenizer_config();
    let small = Session {
        cache_bytes: 1000,
        ..Session::new(folder.path(), &config)
    };
    let error = small.run().unwrap_err().to_string();
    assert!(error.contains("SEED_CACHE_LIMIT"), "{error}");
    assert!(names(&folder.path().join("cache")).is_empty());
}

/// A stop that is asked for while frozen outputs are computed ends it, and leaves nothing half done.
#[test]
fn a_stop_ends_the_filling_of_the_cache() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let mut config = tokenizer_config();
    config.views = 2;
    let stopped = Session::new(folder.path(), &config);
    stopped.stop.request();
    let error = stopped.run().unwrap_err();
    assert!(matches!(error, RecipeError::Stopped(_)), "{error}");
    let left = names(&folder.path().join("cache"));
    assert!(left.is_empty(), "{left:?}");
    assert!(session(folder.path(), &config, Existing::Resume, false));
}
