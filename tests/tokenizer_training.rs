//! Both stages on a handful of made-up pictures: they run, resume exactly, and pay for the frozen
//! parts once.

mod squares;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use seed::{
    data::{Cache, PairSet, TrainTransform, train_wordpiece},
    device::{Device, seed, test_device},
    encoders::{ClipTextConfig, EndOfText, EvaVitConfig},
    eval::SetName,
    nn::Activation,
    tokenizer::{SeedConfig, TokenEncoderConfig},
    train::{
        Existing, LrSchedule, ProgressMode, RunDir, RunInfo, StopFlag, TrainConfig,
        recipes::{
            EvaluationSet, FrozenParts, Splits, StageOneStart, TokenizerOutcome, TokenizerTraining,
            TokenizerTrainingConfig,
        },
    },
    weights::{Checkpoint, KeyMap, values},
};
use squares::Squares;

/// Burn's random numbers are the process's: trainings that are compared bit for bit take turns with others.
static RANDOM_NUMBERS: Mutex<()> = Mutex::new(());

/// Numbered squares.
fn squares(count: usize) -> Squares {
    Squares::new(count, |index| {
        vec![format!("square number {index} of many")]
    })
}

fn config() -> TokenizerTrainingConfig {
    let mut model = SeedConfig::nano();
    model.image = EvaVitConfig {
        image_size: 16,
        patch_size: 8,
        width: 16,
        depth: 1,
        heads: 2,
        mlp_hidden: 16,
    };
    let TokenEncoderConfig::QFormer(tokens) = &mut model.tokens else {
        unreachable!("nano has a Q-Former")
    };
    tokens.queries = 4;
    tokens.embed_dim = Some(8);
    tokens.q_former.width = 16;
    tokens.q_former.heads = 2;
    tokens.q_former.mlp_hidden = 16;
    tokens.q_former.context_width = 16;
    let codes = &mut model.codes;
    codes.width = 16;
    codes.positions = 4;
    codes.quantizer.codes = 8;
    codes.quantizer.dim = 4;
    if let Some(revival) = &mut codes.quantizer.revival {
        revival.every = 2;
    }
    codes.blocks.heads = 2;
    if let Some(head) = &mut codes.text_head {
        head.target_width = 8;
        head.reverse.queries = 6;
        head.reverse.heads = 2;
    }
    let train = TrainConfig {
        steps: 5,
        batch_size: 4,
        accumulation: 2,
        schedule: LrSchedule::Cosine {
            peak: 1e-2,
            warmup_steps: 1,
            floor: 0.0,
        },
        checkpoint_every: 2,
        log_every: 1,
        ..TrainConfig::default()
    };
    TokenizerTrainingConfig {
        model,
        render_size: 20,
        styles: Vec::new(),
        views: 2,
        transform: TrainTransform::new(16),
        text_length: 8,
        start: StageOneStart::Random,
        stage_one: train.clone(),
        stage_two: train,
        ..TokenizerTrainingConfig::nano()
    }
}

fn frozen(config: &TokenizerTrainingConfig, set: &Squares, device: &Device) -> FrozenParts {
    seed(device, 1);
    let captions = (0..set.len()).map(|index| set.captions(index)[0].clone());
    let tokenizer = train_wordpiece(captions, 64).unwrap();
    let text_config = ClipTextConfig {
        vocab_size: tokenizer.vocab_size(),
        max_length: 6,
        width: 8,
        depth: 1,
        heads: 2,
        mlp_hidden: 8,
        activation: Activation::Gelu,
        end_of_text: EndOfText::Token(tokenizer.special().end as usize),
    };
    let image = config.model.image.init(device).unwrap();
    let text = text_config.init(device).unwrap();
    // Burn draws parameters when they are first used: draw them now, from the seed above.
    values(&image, &KeyMap::identity());
    values(&text, &KeyMap::identity());
    FrozenParts {
        image,
        text,
        text_config,
        q_former: None,
        tokenizer: Arc::new(tokenizer),
        identity: "made up".to_owned(),
    }
}

/// One session of a run; true if it got to the end.
fn session(
    folder: &Path,
    config: &TokenizerTrainingConfig,
    existing: Existing,
    interrupt: bool,
) -> bool {
    let device = test_device();
    let set = Arc::new(squares(12));
    let splits = Splits {
        renderings: vec![set.clone()],
        evaluations: vec![EvaluationSet {
            name: SetName::new("validation", "made up", "seen"),
            set: set.clone(),
        }],
    };
    let cache = Cache::open(folder.join("cache"), 1 << 24).unwrap();
    let info = RunInfo {
        config: serde_json::to_value(config).unwrap(),
        seed: 42,
        device: "test".to_owned(),
    };
    let mut run = RunDir::open(folder, "run", existing, &info).unwrap();
    let stop = StopFlag::new();
    if interrupt {
        // Asked for before the first step, it ends each stage after one step.
        stop.request();
    }
    let training = TokenizerTraining {
        config,
        frozen: &frozen(config, &set, &device),
        splits: &splits,
        cache: &cache,
        device: &device,
        progress: ProgressMode::Quiet,
        stop,
    };
    match training.train(&mut run).unwrap() {
        TokenizerOutcome::Finished(trained) => {
            let report = training.report(&trained, &run, &[]).unwrap();
            assert_eq!(report.retrieval.len(), 1);
            assert!(run.path().join("report.html").exists());
            true
        }
        TokenizerOutcome::Interrupted { .. } => false,
    }
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
    let config = config();
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
    let mut config = config();
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
    let mut config = config();
    config.text_length = 99;
    let error = config.validate().unwrap_err().to_string();
    assert!(error.contains("text_length = 99"), "{error}");
}
