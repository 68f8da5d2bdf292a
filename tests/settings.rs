//! Settings are obeyed or refused: every leaf of every training's settings, changed, gives other weights and another
//! identity of the run, or is refused with the key's name, or stands on a short list of what changes nothing that is
//! computed.

mod tiny;

use std::sync::{Arc, Mutex, PoisonError};

use seed::{
    data::Cache,
    device::test_device,
    recipes::{
        Splits, TrainingOutcome,
        autoencoder::AutoencoderTrainingConfig,
        clip::ClipPretrainingConfig,
        diffusion::DiffusionTrainingConfig,
        frozen::FrozenParts,
        language::{LmTrainingConfig, OptPretrainingConfig},
        tokenizer::{StageOneStart, TokenizerTraining, TokenizerTrainingConfig},
    },
    tokenizer::{ImageHeadConfig, ImageHeadForm, RasterConfig, TokenEncoderConfig},
    train::{Existing, ProgressMode, RunDir, RunInfo, StopFlag, TrainConfig, load_config},
    weights::Checkpoint,
};
use serde_json::{Value, json};
use tiny::{
    IMAGE_EMBEDDING, frozen_parts,
    leaves::{Changed, changed, leaves, names},
    squares, tokenizer_config,
};

/// Burn's random numbers are the process's: trainings that are compared take turns.
static RANDOM_NUMBERS: Mutex<()> = Mutex::new(());

/// What changes nothing that is computed: logging, looking and keeping in any step loop, and what is asked of the scores.
/// (LoRA has `targets` too, which decide everything.)
const FREE: [&str; 5] = [
    ".checkpoint_every",
    ".keep_last",
    ".log_every",
    "evaluate_every",
    "targets",
];

/// What is for the corpus' drawings or for a user's folder alone: part of the identity, though the squares of these tests
/// are neither.
const OF_OTHER_PICTURES: [&str; 3] = ["render_size", "styles", "split_seed"];

fn is_free(key: &str) -> bool {
    let free = |name: &&str| key == *name || (name.starts_with('.') && key.ends_with(*name));
    FREE.iter().any(free)
}

/// Settings whose every leaf matters: both targets, captioning, augmentation, clipping.
fn tokenizer() -> TokenizerTrainingConfig {
    let mut config = tokenizer_config();
    config.stage_one.steps = 3;
    config.stage_two.steps = 3;
    config.stage_two.seed = 43;
    for stage in [&mut config.stage_one, &mut config.stage_two] {
        stage.accumulation = 1;
        stage.clip_norm = Some(0.1);
        stage.optimizer.rate_multipliers.clear();
    }
    config.captioning = 1.0;
    if let Some(revival) = &mut config.model.codes.quantizer.revival {
        revival.threshold = 1.5;
    }
    config.transform.flip = 0.5;
    config.transform.augment.affine.probability = 1.0;
    config.transform.augment.affine.rotate = 20.0;
    config.transform.augment.affine.shear = 20.0;
    config.transform.augment.affine.shrink = 0.5;
    config.transform.augment.affine.shift = 0.2;
    config.transform.augment.jitter.brightness = 0.4;
    config.transform.augment.jitter.contrast = 0.4;
    config.transform.augment.jitter.saturation = 0.4;
    config.transform.augment.jitter.hue = 0.1;
    config.transform.augment.grayscale = 0.5;
    config.transform.augment.erase = 0.5;
    let TokenEncoderConfig::QFormer(tokens) = &mut config.model.tokens else {
        unreachable!("nano has a Q-Former")
    };
    tokens.language_head = true;
    tokens.q_former.dropout = 0.1;
    let codes = &mut config.model.codes;
    codes.image_head = Some(ImageHeadConfig {
        target_width: IMAGE_EMBEDDING,
        form: ImageHeadForm::Mlp { widths: [8, 8, 4] },
    });
    if let Some(head) = &mut codes.text_head {
        head.reverse.dropout = 0.1;
    }
    config
}

/// The tensors of the whole tokenizer after both stages, or the refusal.
fn trained(config: &TokenizerTrainingConfig, frozen: &FrozenParts) -> Result<Vec<u8>, String> {
    let device = test_device();
    let set = Arc::new(squares(12).in_twos());
    let splits = Splits {
        renderings: vec![set],
        evaluations: Vec::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path().join("cache"), 1 << 26).unwrap();
    let info = RunInfo {
        config: Value::Null,
        seed: 42,
        device: "test".to_owned(),
        outputs: &[],
    };
    let mut run = RunDir::open(folder.path(), "run", Existing::Refuse, &info).unwrap();
    let training = TokenizerTraining {
        config,
        frozen,
        splits: &splits,
        cache: &cache,
        device: &device,
        progress: ProgressMode::Quiet,
        stop: StopFlag::new(),
    };
    match training.train(&mut run) {
        Ok(TrainingOutcome::Finished(_)) => {
            let file = folder.path().join("run/tokenizer.safetensors");
            let weights = Checkpoint::open(file).unwrap();
            let mut keys: Vec<&str> = weights.keys().collect();
            keys.sort_unstable();
            let tensors = keys.into_iter().flat_map(|key| {
                let mut bytes = key.as_bytes().to_vec();
                bytes.extend(weights.stored(key).unwrap().as_bytes());
                bytes
            });
            Ok(tensors.collect())
        }
        Ok(TrainingOutcome::Interrupted { .. }) => panic!("nobody asked for a stop"),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn every_setting_of_the_tokenizer_is_obeyed_or_refused() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let config = tokenizer();
    let frozen = frozen_parts(&config, &squares(12), &test_device());
    let others = [
        ("attention", json!("bidirectional")),
        ("distance", json!("l2")),
        ("update", json!("legacy")),
        ("init", json!("uniform")),
        ("quantizer.codes", json!(12)),
        ("revival.every", json!(1)),
        ("reverse.cross_attention_every", json!(1)),
        ("embed_dim", json!(4)),
        ("positives", json!("own")),
        ("similarity", json!("best_query")),
        ("start", json!("q_former")),
        ("filter", json!("bilinear")),
        ("scale", json!([0.2, 0.4])),
        ("ratio", json!([0.5, 0.6])),
        ("kind", json!("per-epoch")),
        ("styles", json!(["plain"])),
        (
            "targets",
            json!([{ "score": "lost_by_codes", "set": "held out", "at_most": 3.3 }]),
        ),
        (
            "rate_multipliers",
            json!([{ "pattern": "bias$", "factor": 0.0 }]),
        ),
        ("image_head.form.mlp.widths", json!([8, 8, 8])),
        ("epsilon", json!(1.0)),
        ("weight_decay", json!(20.0)),
    ];
    let plain = trained(&config, &frozen).unwrap();
    assert!(
        plain == trained(&config, &frozen).unwrap(),
        "two trainings of the same settings"
    );
    let mut wrong = Vec::new();
    let mut obeyed = 0;
    for key in leaves(&config) {
        let result = match changed(&config, &key, &others) {
            Changed::Refused(refusal) => Err(refusal),
            Changed::Read(changed) => {
                trained(&changed, &frozen).map(|weights| (weights, changed.identity()))
            }
        };
        match result {
            Err(refusal) if names(&refusal, &key) => {}
            Err(refusal) => wrong.push(format!("{key}: refused without its name: {refusal}")),
            Ok((weights, _)) if weights == plain && is_free(&key) => {}
            Ok((weights, _)) if weights == plain && !OF_OTHER_PICTURES.contains(&key.as_str()) => {
                wrong.push(format!("{key}: ignored"));
            }
            Ok((_, identity)) if identity == config.identity() => {
                wrong.push(format!("{key}: obeyed, and not part of the run's identity"));
            }
            Ok(_) => obeyed += 1,
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(obeyed > 60, "only {obeyed} settings were seen to be obeyed");
}

/// A change of any leaf changes the identity, or is refused with its name, or is free.
fn identified<T: serde::Serialize + serde::de::DeserializeOwned>(
    config: &T,
    others: &[(&str, Value)],
    identity: impl Fn(&T) -> Result<Value, String>,
) {
    let plain = identity(config).unwrap();
    let mut wrong = Vec::new();
    for key in leaves(config) {
        let result = match changed(config, &key, others) {
            Changed::Refused(refusal) => Err(refusal),
            Changed::Read(changed) => identity(&changed),
        };
        match result {
            Err(refusal) if !names(&refusal, &key) => {
                wrong.push(format!("{key}: refused without its name: {refusal}"));
            }
            Ok(found) if found == plain && !is_free(&key) => {
                wrong.push(format!("{key}: not part of the run's identity"));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// With the step loop's, as a checkpoint keeps it.
fn whole(settings: Value, train: &TrainConfig) -> Value {
    json!({ "settings": settings, "train": train.identity() })
}

#[test]
fn every_setting_of_the_language_model_is_identified() {
    let others = [
        ("vectors", json!("codebook")),
        ("head", json!("free")),
        ("visual_input", json!("embeddings")),
        ("condition", json!("{image} something else")),
        ("target", json!("{caption}")),
        ("activations", json!("bf16")),
        ("base_weights", json!("f16")),
        ("targets", json!(["q_proj"])),
        ("filter", json!("bilinear")),
        ("scale", json!([0.2, 0.4])),
        ("ratio", json!([0.5, 0.6])),
        ("styles", json!(["plain"])),
        ("kind", json!("per-epoch")),
        (
            "rate_multipliers",
            json!([{ "pattern": "bias$", "factor": 0.0 }]),
        ),
    ];
    let config = LmTrainingConfig::nano().unwrap();
    identified(&config, &others, |config| {
        config.validate().map_err(|error| error.to_string())?;
        Ok(config.identity())
    });
}

#[test]
fn every_setting_of_the_frozen_parts_is_identified() {
    let others = [
        ("activation", json!("quick_gelu")),
        ("end_of_text", json!({ "token": 2 })),
        ("activations", json!("bf16")),
        ("filter", json!("bilinear")),
        ("scale", json!([0.2, 0.4])),
        ("ratio", json!([0.5, 0.6])),
        ("kind", json!("per-epoch")),
        ("styles", json!(["plain"])),
        (
            "rate_multipliers",
            json!([{ "pattern": "bias$", "factor": 0.0 }]),
        ),
    ];
    let clip = ClipPretrainingConfig::nano().unwrap();
    identified(&clip, &others, |config| {
        config.validate().map_err(|error| error.to_string())?;
        Ok(whole(config.identity(), &config.train))
    });
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/experiments/nano-opt/config.toml"
    );
    let opt: OptPretrainingConfig = load_config(file.as_ref()).unwrap();
    identified(&opt, &others, |config| {
        config.validate().map_err(|error| error.to_string())?;
        Ok(whole(config.identity(), &config.train))
    });
}

#[test]
fn every_setting_of_the_diffusion_model_is_identified() {
    let others = [
        (".channels", json!([32, 48])),
        (
            "unet.levels",
            json!([{ "channels": 48, "heads": 2, "attends": true }]),
        ),
        ("beta_schedule", json!("linear")),
        ("prediction_type", json!("epsilon")),
        ("class_embedding", json!("identity")),
        ("filter", json!("bilinear")),
        ("scale", json!([0.2, 0.4])),
        ("ratio", json!([0.5, 0.6])),
        ("styles", json!(["plain"])),
        ("kind", json!("per-epoch")),
        (
            "rate_multipliers",
            json!([{ "pattern": "bias$", "factor": 0.0 }]),
        ),
    ];
    let autoencoder = AutoencoderTrainingConfig::nano().unwrap();
    identified(&autoencoder, &others, |config| {
        config.validate().map_err(|error| error.to_string())?;
        Ok(whole(config.identity(), &config.train))
    });
    let unet = DiffusionTrainingConfig::nano().unwrap();
    identified(&unet, &others, |config| {
        config.validate().map_err(|error| error.to_string())?;
        Ok(whole(config.identity(), &config.train))
    });
}

/// Changes the settings and tells how they are refused for these frozen parts.
fn refusal(change: impl FnOnce(&mut TokenizerTrainingConfig)) -> String {
    let mut config = tokenizer();
    let frozen = frozen_parts(&config, &squares(12), &test_device());
    change(&mut config);
    config.validate_for(&frozen).unwrap_err().to_string()
}

#[test]
fn what_the_frozen_parts_cannot_serve_is_refused_by_name() {
    let _turn = RANDOM_NUMBERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    // Of other heads the codes of the saved file would be wrong.
    let refused = refusal(|config| config.model.image.heads = 4);
    assert!(refused.contains("model.image.heads = 4"), "{refused}");
    assert!(refused.contains("must be 2"), "{refused}");
    // Rows of another width would be cut in the wrong places.
    let refused = refusal(|config| {
        config.model.codes.text_head.as_mut().unwrap().target_width = 16;
    });
    assert!(refused.contains("text_head.target_width = 16"), "{refused}");
    let refused = refusal(|config| {
        config.model.codes.image_head.as_mut().unwrap().target_width = 16;
    });
    assert!(
        refused.contains("image_head.target_width = 16"),
        "{refused}"
    );
    let refused = refusal(|config| config.transform.size = 24);
    assert!(refused.contains("transform.size = 24"), "{refused}");
    let refused = refusal(|config| config.start = StageOneStart::QFormer);
    assert!(refused.contains("q_former"), "{refused}");
    // Tokens of the patch grid cannot start from a Q-Former: they have other parameters.
    let refused = refusal(|config| {
        config.model.tokens = TokenEncoderConfig::Raster(raster(config));
        config.captioning = 0.0;
        config.start = StageOneStart::QFormer;
    });
    assert!(refused.contains("start = q_former"), "{refused}");
}

/// The patch grid as four tokens, beside the same text side.
fn raster(config: &TokenizerTrainingConfig) -> RasterConfig {
    let TokenEncoderConfig::QFormer(tokens) = &config.model.tokens else {
        unreachable!("nano has a Q-Former")
    };
    let mut text = tokens.q_former.clone();
    text.cross_attention_every = 0;
    RasterConfig {
        grid: [2, 2],
        blocks: config.model.codes.blocks.clone(),
        text,
        embed_dim: 8,
    }
}

#[test]
fn settings_of_the_experiments_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments");
    let file = |name: &str| std::path::Path::new(folder).join(name).join("config.toml");
    for name in ["nano-lm", "codes-or-vectors"] {
        let config: LmTrainingConfig = load_config(&file(name)).unwrap();
        config.validate().unwrap();
    }
    let config: TokenizerTrainingConfig = load_config(&file("nano-q-former")).unwrap();
    config.validate().unwrap();
    ClipPretrainingConfig::nano().unwrap().validate().unwrap();
}
