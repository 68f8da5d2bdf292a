//! What does not fit is refused with a reason, before anything is computed.

use std::{fs, path::Path};

use burn::tensor::{DType, Tensor};
use seed_device::test_device;
use seed_lm::{
    ADAPTER_CONFIG_FILE, ADAPTER_FILE, Adapter, KvCache, LmError, LoraConfig, Opt, OptConfig,
    Sequence, SequenceBatch, VisualHead, VisualIds,
    generation::{Decoding, GenerationConfig, Prompt, VisualGrammar, generate},
    opt_keys, visual_vocabulary_keys,
};
use seed_weights::{About, Checkpoint, WeightsError};

use crate::{
    adapters,
    models::{CODES, POSITIONS, adapter, checkpoint, configs, pre_norm, seed_lm, visual_config},
};

#[track_caller]
fn says(error: impl std::fmt::Display, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

/// The error of greedy generation with some settings changed.
#[track_caller]
fn refused(prompt: Vec<Vec<u32>>, change: impl Fn(&mut GenerationConfig)) -> LmError {
    let mut config = GenerationConfig::greedy(4, None);
    change(&mut config);
    let model = seed_lm(&configs()[0], VisualHead::Tied, 71, &test_device());
    generate(&model, Prompt::Ids(prompt), &config).unwrap_err()
}

#[test]
fn prompts() {
    let error = refused(vec![vec![2], Vec::new()], |_| ());
    assert!(matches!(error, LmError::EmptyPrompt { row: 1 }));
    let error = refused(vec![vec![2, 39]], |_| ());
    assert!(matches!(error, LmError::IdOutOfRange { id: 39, size: 39 }));
    let error = refused(vec![vec![2; POSITIONS - 3]], |_| ());
    says(&error, &["49 tokens", "48 positions", "max_new_tokens"]);
    assert!(matches!(error, LmError::TooLong { .. }));
    let error = refused(vec![vec![2; 3]], |config| {
        config.max_new_tokens = usize::MAX;
    });
    assert!(matches!(error, LmError::TooLong { .. }), "{error}");

    let device = test_device();
    let model = pre_norm(&device);
    let empty = Tensor::<3>::zeros([1, 0, 16], &device);
    let greedy = GenerationConfig::greedy(4, None);
    let error = generate(&model, Prompt::Embeddings(empty), &greedy).unwrap_err();
    assert!(matches!(error, LmError::EmptyPrompt { row: 0 }));
    let narrow = Tensor::<3>::zeros([1, 2, 15], &device);
    let error = generate(&model, Prompt::Embeddings(narrow), &greedy).unwrap_err();
    says(error, &["15", "16"]);
    let error = KvCache::new(model.config(), 1, POSITIONS + 1, &device).unwrap_err();
    assert!(matches!(error, LmError::TooLong { .. }));
}

#[test]
fn settings_of_generation() {
    type Change = fn(&mut GenerationConfig);
    fn sample(temperature: f64, top_p: f64) -> Decoding {
        Decoding::Sample {
            temperature,
            top_k: 0,
            top_p,
            seed: 0,
        }
    }
    fn beam(beams: usize, length_penalty: f64) -> Decoding {
        Decoding::Beam {
            beams,
            length_penalty,
            early_stopping: false,
        }
    }
    let cases: [(&str, Change); 14] = [
        ("temperature is 0", |c| c.decoding = sample(0.0, 1.0)),
        ("temperature is -1", |c| c.decoding = sample(-1.0, 1.0)),
        ("temperature is NaN", |c| c.decoding = sample(f64::NAN, 1.0)),
        ("temperature is inf", |c| {
            c.decoding = sample(f64::INFINITY, 1.0);
        }),
        ("top_p is 0", |c| c.decoding = sample(1.0, 0.0)),
        ("top_p is 1.5", |c| c.decoding = sample(1.0, 1.5)),
        ("top_p is NaN", |c| c.decoding = sample(1.0, f64::NAN)),
        ("beams is 0", |c| c.decoding = beam(0, 1.0)),
        ("length_penalty is NaN", |c| c.decoding = beam(2, f64::NAN)),
        ("max_new_tokens is 0", |c| c.max_new_tokens = 0),
        ("repetition_penalty is 0", |c| c.repetition_penalty = 0.0),
        ("repetition_penalty is NaN", |c| {
            c.repetition_penalty = f64::NAN;
        }),
        ("token 39 is beyond the vocabulary's 39", |c| {
            c.end = Some(39);
        }),
        ("min_new_tokens is 5", |c| c.min_new_tokens = 5),
    ];
    for (words, change) in cases {
        says(refused(vec![vec![2]], change), &[words]);
    }
}

#[test]
fn grammars() {
    type Change = fn(&mut VisualGrammar);
    let sound = VisualIds {
        words: 30,
        codes: CODES,
        per_image: 3,
    };
    let cases: [(&str, Change); 5] = [
        ("39 is beyond", |g| g.open = 39),
        ("40 is beyond", |g| g.close = 40),
        ("49 is beyond", |g| g.codes = 39..50),
        ("grammar.codes", |g| g.codes = 30..30),
        ("grammar.codes", |g| g.open = 31),
    ];
    for (words, change) in cases {
        let mut grammar = VisualGrammar::from(sound);
        change(&mut grammar);
        let error = refused(vec![vec![2]], |config| {
            config.grammar = Some(grammar.clone());
        });
        says(error, &[words]);
    }
}

#[test]
fn codes_and_codebooks() {
    let ids = visual_config(&configs()[0], VisualHead::Tied).ids();
    for code in [-1, 7, i64::MAX] {
        let error = ids.image(&[0, code]).unwrap_err();
        says(&error, &[&format!("code {code}"), "7 codes"]);
    }
    let device = test_device();
    let model = seed_lm(&configs()[0], VisualHead::Tied, 72, &device);
    for shape in [[8, 6], [7, 5]] {
        let codebook = Tensor::<2>::zeros(shape, &device);
        let error = model
            .vocabulary
            .clone()
            .with_codebook(codebook)
            .unwrap_err();
        says(error, &[&format!("{shape:?}"), "[7, 6]"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocabulary.safetensors");
    let keys = visual_vocabulary_keys();
    seed_weights::save(
        &model.vocabulary,
        &path,
        &keys,
        DType::F32,
        About::default(),
    )
    .unwrap();
    let file = Checkpoint::open(&path).unwrap();
    let mut other = visual_config(&configs()[0], VisualHead::Tied).visual;
    other.codes = 9;
    let error = seed_weights::load(other.init(16, &device).unwrap(), &file, &keys).unwrap_err();
    says(error, &["codebook", "[7, 6]", "[9, 6]"]);
    other.codes = 7;
    other.head = VisualHead::Free;
    let error = seed_weights::load(other.init(16, &device).unwrap(), &file, &keys).unwrap_err();
    assert!(
        matches!(&error, WeightsError::Missing { keys, .. } if keys == &["head"]),
        "{error}"
    );
    other.code_width = 0;
    assert!(other.init(16, &device).is_err());
}

#[test]
fn sequences() {
    let sequences = [Sequence {
        ids: vec![2; POSITIONS + 1],
        target: 1,
    }];
    for error in [
        SequenceBatch::padded(&sequences, 1, POSITIONS).unwrap_err(),
        SequenceBatch::packed(&sequences, 1, POSITIONS).unwrap_err(),
    ] {
        assert!(matches!(
            error,
            LmError::TooLong {
                length: 49,
                longest: 48
            }
        ));
    }
}

/// A published config with one field changed, or taken out.
fn published(field: &str, value: Option<serde_json::Value>) -> String {
    let mut config = serde_json::json!({
        "model_type": "opt", "vocab_size": 30, "max_position_embeddings": 48, "hidden_size": 16,
        "word_embed_proj_dim": 12, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64,
        "do_layer_norm_before": false, "activation_function": "relu", "dropout": 0.1,
        "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1, "torch_dtype": "float16",
    });
    match value {
        Some(value) => config[field] = value,
        None => drop(config.as_object_mut().unwrap().remove(field)),
    }
    config.to_string()
}

#[test]
fn published_configs() {
    let sound = published("torch_dtype", None);
    assert_eq!(OptConfig::from_published(&sound).unwrap(), configs()[1]);
    for (field, value, words) in [
        ("hidden_size", None, "`hidden_size`"),
        ("vocab_size", None, "`vocab_size`"),
        ("num_hidden_layers", None, "`num_hidden_layers`"),
        ("ffn_dim", None, "`ffn_dim`"),
        ("ffn_dim", Some("64".into()), "invalid type"),
        (
            "model_type",
            Some("llama".into()),
            "`model_type` is `llama`",
        ),
        ("activation_function", Some("gelu".into()), "`gelu`"),
        ("enable_bias", Some(false.into()), "without bias"),
        (
            "layer_norm_elementwise_affine",
            Some(false.into()),
            "norms without scale",
        ),
        (
            "_remove_final_layer_norm",
            Some(true.into()),
            "_remove_final_layer_norm",
        ),
        (
            "num_attention_heads",
            Some(3.into()),
            "not divisible by 3 heads",
        ),
        (
            "num_attention_heads",
            Some(0.into()),
            "not divisible by 0 heads",
        ),
        ("num_hidden_layers", Some(0.into()), "depth = 0"),
        ("max_position_embeddings", Some(0.into()), "max_length = 0"),
        ("eos_token_id", Some(30.into()), "end = 30"),
        ("dropout", Some(1.5.into()), "`dropout` is 1.5"),
    ] {
        let text = published(field, value);
        says(OptConfig::from_published(&text).unwrap_err(), &[words]);
    }
    says(
        OptConfig::from_published("[]").unwrap_err(),
        &["config.json"],
    );
    says(
        OptConfig::from_published("{").unwrap_err(),
        &["config.json"],
    );
}

#[test]
fn checkpoints() {
    let device = test_device();
    let file = checkpoint(&pre_norm(&device));
    let load = |config: OptConfig, dtype| config.init(&device).unwrap().load(&file, dtype);
    let [pre, post] = configs();
    let deeper = OptConfig {
        depth: 3,
        ..pre.clone()
    };
    let error = load(deeper, DType::F32).unwrap_err();
    says(&error, &["16 tensor(s) missing", "model.decoder.layers.2."]);
    let error = load(post, DType::F32).unwrap_err();
    says(error, &["project_in"]);
    let wider = OptConfig {
        vocab_size: 31,
        ..pre.clone()
    };
    says(
        load(wider, DType::F32).unwrap_err(),
        &["embed_tokens", "[30, 16]", "[31, 16]"],
    );
    let error = load(pre, DType::F64).unwrap_err();
    assert!(matches!(error, WeightsError::Precision { .. }));

    // No table of words: no OPT.
    let model = seed_lm(&configs()[0], VisualHead::Tied, 73, &device);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let keys = visual_vocabulary_keys();
    seed_weights::save(
        &model.vocabulary,
        &path,
        &keys,
        DType::F32,
        About::default(),
    )
    .unwrap();
    let error = opt_keys(&Checkpoint::open(&path).unwrap()).unwrap_err();
    says(error, &["embed_tokens.weight"]);
}

/// An adapter's two files, some of them changed.
struct Files {
    folder: tempfile::TempDir,
    model: Opt,
}

impl Files {
    fn new() -> Self {
        let device = test_device();
        let model = pre_norm(&device);
        let folder = tempfile::tempdir().unwrap();
        adapter(&model, &adapters::config(), 74, &device)
            .save(folder.path(), "base")
            .unwrap();
        Self { folder, model }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    #[track_caller]
    fn error(&self) -> LmError {
        self.error_for(self.model.clone())
    }

    #[track_caller]
    fn error_for(&self, mut model: Opt) -> LmError {
        Adapter::open(self.path(), &model.linears_mut(), &test_device()).unwrap_err()
    }

    fn set(&self, option: &str, value: serde_json::Value) {
        let path = self.path().join(ADAPTER_CONFIG_FILE);
        let mut config: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        config[option] = value;
        fs::write(path, config.to_string()).unwrap();
    }
}

#[test]
fn options_of_adapters() {
    for (option, value, words) in [
        ("peft_type", "IA3".into(), "IA3"),
        ("use_dora", true.into(), "use_dora"),
        ("use_rslora", true.into(), "use_rslora"),
        ("use_qalora", true.into(), "use_qalora"),
        ("lora_bias", true.into(), "lora_bias"),
        ("fan_in_fan_out", true.into(), "fan_in_fan_out"),
        ("bias", "lora_only".into(), "lora_only"),
        (
            "modules_to_save",
            serde_json::json!(["embed_tokens"]),
            "embed_tokens",
        ),
        (
            "rank_pattern",
            serde_json::json!({"q_proj": 2}),
            "rank_pattern",
        ),
        (
            "alpha_pattern",
            serde_json::json!({"q_proj": 2.0}),
            "alpha_pattern",
        ),
        (
            "alora_invocation_tokens",
            serde_json::json!([1, 2]),
            "alora_invocation_tokens",
        ),
        (
            "target_modules",
            serde_json::json!(["query"]),
            "self_attn.k_proj",
        ),
        ("target_modules", ".*q_proj".into(), "target_modules"),
        ("r", 0.into(), "rank"),
        ("r", "many".into(), "LoRA adapter"),
        ("lora_alpha", (-1).into(), "alpha"),
        ("lora_dropout", 1.0.into(), "dropout"),
    ] {
        let files = Files::new();
        files.set(option, value);
        says(files.error(), &[words]);
    }
}

#[test]
fn files_of_adapters() {
    let files = Files::new();
    let path = files.path().join(ADAPTER_FILE);
    let whole = fs::read(&path).unwrap();
    for length in [0, 5, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = files.error();
        assert!(matches!(error, LmError::Weights(_)), "{error}");
    }
    fs::remove_file(&path).unwrap();
    says(files.error(), &[ADAPTER_FILE]);
    fs::write(&path, whole).unwrap();
    fs::write(files.path().join(ADAPTER_CONFIG_FILE), "{").unwrap();
    says(files.error(), &[ADAPTER_CONFIG_FILE]);
    fs::remove_file(files.path().join(ADAPTER_CONFIG_FILE)).unwrap();
    assert!(matches!(files.error(), LmError::File { .. }));
}

#[test]
fn adapters_of_other_models() {
    let device = test_device();
    let files = Files::new();
    let pre = configs()[0].clone();
    let init = |config: OptConfig| config.init(&device).unwrap();
    // A layer more than the adapter has, and one less.
    let error = files.error_for(init(OptConfig {
        depth: 3,
        ..pre.clone()
    }));
    says(error, &["missing", "layers.2."]);
    let error = files.error_for(init(OptConfig {
        depth: 1,
        ..pre.clone()
    }));
    says(&error, &["another base model", "6 of its tensors"]);
    assert!(matches!(error, LmError::OtherBase { .. }));
    let error = files.error_for(init(OptConfig {
        mlp_hidden: 60,
        ..pre.clone()
    }));
    says(error, &["fc2.lora_A", "[3, 64]", "[3, 60]"]);
    // Another rank than the file's.
    files.set("r", 4.into());
    says(files.error(), &["[3, "]);

    // One that is in memory already.
    let model = pre_norm(&device);
    let adapter = adapter(&model, &adapters::config(), 75, &device);
    let mut other = init(OptConfig {
        mlp_hidden: 60,
        ..pre.clone()
    });
    for error in [
        adapter.clone().attach(other.linears_mut()).unwrap_err(),
        adapter.clone().merge(other.linears_mut()).unwrap_err(),
    ] {
        says(error, &["layers.0.fc2", "[60, 16]", "[64, 16]"]);
    }
    assert!(
        other
            .linears_mut()
            .iter()
            .all(|(_, linear)| linear.lora.is_none())
    );
    let mut shallow = init(OptConfig { depth: 1, ..pre });
    let error = adapter.attach(shallow.linears_mut()).unwrap_err();
    says(error, &["no layer model.decoder.layers.1."]);

    let nothing = LoraConfig {
        targets: vec!["proj".to_owned()],
        ..LoraConfig::default()
    };
    let error = nothing.init(&shallow.linears_mut(), &device).unwrap_err();
    assert!(matches!(error, LmError::NoTarget { .. }));
}
