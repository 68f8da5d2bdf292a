//! The language model's two phases on a handful of made-up pictures: they run, resume exactly, leave the base as it
//! was, and what they save can be used.

#[path = "tiny/squares.rs"]
mod squares;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use burn::tensor::DType;
use seed::{
    data::{Cache, PairSet, Question, TrainTransform},
    device::test_device,
    eval::{SetName, Share, language::PromptKind},
    lm::{SavedLm, SeedLm, nano, save_lm},
    recipes::{
        EvaluationSet, RecipeError, Splits, TrainingOutcome,
        language::{
            BaseLm, FrozenTokenizer, LmTraining, LmTrainingConfig, UntrainedPrompts, VisualInput,
        },
    },
    train::{Existing, ProgressMode, RunDir, RunInfo, StopFlag},
    weights::{KeyMap, values},
};
use squares::Squares;

/// Burn's random numbers are the process's: trainings that are compared bit for bit take turns with others.
static RANDOM_NUMBERS: Mutex<()> = Mutex::new(());

/// Numbered squares, each with a long and a short caption.
fn squares(count: usize) -> Squares {
    Squares::new(count, |index| {
        vec![
            format!("square {index}, a square"),
            format!("square {index}"),
        ]
    })
}

fn config() -> LmTrainingConfig {
    let mut config = LmTrainingConfig::nano().unwrap().smoke().unwrap();
    // One batch of codes: a stop that is asked for before the first step comes after it.
    config.views = 1;
    config.transform = TrainTransform::new(64);
    config.lora.rank = 4;
    config.lora.dropout = 0.1;
    for phase in [&mut config.image_to_text, &mut config.joint] {
        phase.train.steps = 3;
        phase.train.batch_size = 4;
        phase.train.checkpoint_every = 1;
    }
    config
}

/// One session of a run; true if it got to the end.
fn session(folder: &Path, config: &LmTrainingConfig, existing: Existing, interrupt: bool) -> bool {
    try_session(folder, config, existing, interrupt).unwrap()
}

fn try_session(
    folder: &Path,
    config: &LmTrainingConfig,
    existing: Existing,
    interrupt: bool,
) -> Result<bool, RecipeError> {
    let device = test_device();
    let set: Arc<dyn PairSet> = Arc::new(squares(8));
    let splits = Splits {
        renderings: vec![Arc::clone(&set)],
        evaluations: vec![
            EvaluationSet {
                name: SetName::new("validation", "made up", "seen"),
                set,
            },
            EvaluationSet {
                name: SetName::new("validation", "made up", "in other words, and two more"),
                set: Arc::new(Squares::new(10, |index| vec![format!("figure {index}")])),
            },
        ],
    };
    let questions = (0..8).map(|concept| {
        let question = Question {
            question: "what is this?".to_owned(),
            answer: "square".to_owned(),
        };
        (concept, vec![question])
    });
    let questions: BTreeMap<usize, Vec<Question>> = questions.collect();
    let cache = Cache::open(folder.join("cache"), 1 << 26).unwrap();
    let info = RunInfo {
        config: serde_json::to_value(config).unwrap(),
        seed: 42,
        device: "test".to_owned(),
        outputs: &[],
    };
    let mut run = RunDir::open(folder, "run", existing, &info).unwrap();
    let stop = StopFlag::new();
    if interrupt {
        // Asked for before the first step, it ends each phase after one step.
        stop.request();
    }
    let base = BaseLm::nano(config.base_weights, &device.clone().autodiff()).unwrap();
    let before = values(&base.opt, &KeyMap::identity());
    let images = seed::tokenizer::nano::published().unwrap();
    let images = FrozenTokenizer::load(images, &device).unwrap();
    let training = LmTraining {
        config,
        base: &base,
        images: &images,
        splits: &splits,
        questions: &questions,
        cache: &cache,
        device: &device,
        progress: ProgressMode::Quiet,
        stop,
    };
    let trainee = match training.train(&mut run)? {
        TrainingOutcome::Finished(trainee) => trainee,
        TrainingOutcome::Interrupted { .. } => return Ok(false),
    };
    assert!(
        before == values(&base.opt, &KeyMap::identity()),
        "the frozen language model has changed"
    );
    save_lm(
        run.path(),
        &trainee.adapter,
        &trainee.vocabulary,
        &training.about(),
        DType::F32,
    )
    .unwrap();
    let model = training.finished(&trainee).unwrap();
    check_scores(&training, &model);
    if config.visual_input == VisualInput::Codes {
        check_saved(run.path(), &model);
    }
    Ok(true)
}

/// Every kind of score is there, of as many pictures and prompts as there are.
fn check_scores(training: &LmTraining<'_>, model: &SeedLm) {
    let judge = training.evaluation(model, 8);
    let held_out = &training.splits.evaluations[0];
    let judged = judge.judge(held_out).unwrap();
    assert_eq!((judged.captions.pictures, judged.said.len()), (8, 8));
    assert!(judged.captions.perplexity.is_finite());
    let questions = judged.questions.unwrap();
    assert_eq!(questions.questions, 8);
    assert_eq!(questions.most_frequent_answer, Share::new(8, 8));
    assert_eq!(questions.other_picture.of, 8);
    assert_eq!(judged.answers.len(), 8);
    let draws = training.config.draws();
    assert_eq!(judged.codes.is_some(), draws);
    let prompts = UntrainedPrompts {
        nouns: vec!["anvil".to_owned(), "birch".to_owned()],
        ..UntrainedPrompts::default()
    };
    let report = judge.report(&prompts).unwrap();
    // Every caption of the first set was trained on, none of the second, of which two concepts were not seen either.
    let drawings = report.drawings.iter();
    let kinds: Vec<(PromptKind, usize)> =
        drawings.map(|drawn| (drawn.kind, drawn.prompts)).collect();
    let all = [
        (PromptKind::Recall, 8),
        (PromptKind::OtherWords, 8),
        (PromptKind::UnseenConcepts, 2),
    ];
    assert_eq!(kinds, if draws { all.to_vec() } else { Vec::new() });
    assert_eq!(report.nouns.len(), if draws { 2 } else { 0 });
    assert!(report.nouns.iter().all(|result| result.well_formed.of == 2));
}

/// What was saved is what was trained.
fn check_saved(folder: &Path, model: &SeedLm) {
    let device = test_device();
    let saved = SavedLm::open(folder).unwrap();
    let base = nano::opt(&device, DType::F32).unwrap();
    let loaded = saved.load(base, &nano::opt_identity(), &device).unwrap();
    let tables = [
        (loaded.vocabulary.table(), model.vocabulary.table()),
        (loaded.vocabulary.head(), model.vocabulary.head()),
    ];
    for (loaded, trained) in tables {
        let difference = (loaded - trained).abs().max().into_data();
        assert!(difference.iter::<f32>().all(|value| value < 1e-6));
    }
}

fn result(folder: &Path) -> [Vec<u8>; 2] {
    ["adapter/adapter_model", "vocabulary"].map(|part| {
        std::fs::read(folder.join("run").join(part).with_extension("safetensors")).unwrap()
    })
}

#[test]
fn a_resumed_training_equals_an_uninterrupted_one_bit_for_bit() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let config = config();
    assert!(config.draws());
    let whole = tempfile::tempdir().unwrap();
    assert!(session(whole.path(), &config, Existing::Refuse, false));
    let parts = tempfile::tempdir().unwrap();
    assert!(!session(parts.path(), &config, Existing::Refuse, true));
    let mut sessions = 1;
    while !session(parts.path(), &config, Existing::Resume, sessions < 5) {
        sessions += 1;
    }
    assert!(sessions >= 4, "only {sessions} interruptions");
    assert!(
        result(whole.path()) == result(parts.path()),
        "the trained weights differ"
    );
}

#[test]
fn the_baseline_reads_embeddings_and_packing_changes_no_target() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let mut config = config();
    config.visual_input = VisualInput::Embeddings;
    config.joint.mixture.image = 0.0;
    config.packing = true;
    assert!(!config.draws());
    let folder = tempfile::tempdir().unwrap();
    assert!(session(folder.path(), &config, Existing::Refuse, false));
}

#[test]
fn a_phase_of_no_steps_is_left_out_but_not_both() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let mut config = config();
    config.joint.train.steps = 0;
    assert!(!config.draws(), "the phase that draws is left out");
    let folder = tempfile::tempdir().unwrap();
    assert!(session(folder.path(), &config, Existing::Refuse, false));
    config.image_to_text.train.steps = 0;
    let error = config.validate().unwrap_err().to_string();
    assert!(error.contains("joint.train.steps"), "{error}");
}

/// A longer first phase would be trained on, and what stands on it thrown away without a word: it is refused.
#[test]
fn a_longer_first_phase_under_a_second_is_refused() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let mut config = config();
    let folder = tempfile::tempdir().unwrap();
    assert!(session(folder.path(), &config, Existing::Refuse, false));
    config.image_to_text.train.steps += 2;
    let resumed = try_session(folder.path(), &config, Existing::Resume, false);
    let error = resumed.unwrap_err().to_string();
    assert!(
        error.contains("image_to_text.train.steps: 3 → 5"),
        "{error}"
    );
    config.image_to_text.train.steps -= 2;
    // The last phase may be made longer.
    config.joint.train.steps += 1;
    assert!(session(folder.path(), &config, Existing::Resume, false));
}

#[test]
fn views_of_another_size_than_the_tokenizers_are_refused() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let mut config = config();
    config.transform.size = 32;
    let folder = tempfile::tempdir().unwrap();
    let error = try_session(folder.path(), &config, Existing::Refuse, false);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("transform.size = 32"), "{error}");
    assert!(error.contains("64"), "{error}");
}
