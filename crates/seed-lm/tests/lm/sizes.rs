//! What a config says of its sizes is checked before anything is made of them.

use std::{collections::HashMap, time::Instant};

use burn::tensor::DType;
use safetensors::tensor::TensorView;
use seed_device::test_device;
use seed_lm::{LmError, LoraConfig, OptConfig, SavedLm, VisualHead, nano};
use seed_weights::Checkpoint;

use crate::{
    adapters,
    leaves::each_integer_is_bounded,
    models::{configs, pre_norm, visual_config},
};

#[test]
fn each_size_has_a_limit() {
    let device = test_device();
    for opt in configs() {
        let found = each_integer_is_bounded(&opt, &[], |opt| opt.init(&device).map(drop));
        assert_eq!(found, 10);
        let config = visual_config(&opt, VisualHead::Free);
        let opt = opt.init(&device).unwrap();
        let found = each_integer_is_bounded(&config, &[], |config| {
            config.init(opt.clone(), &device).map(drop)
        });
        assert_eq!(found, 13);
        each_integer_is_bounded(&config.visual, &[], |config| {
            config.init(16, &device).map(drop)
        });
    }
    let mut model = pre_norm(&device);
    let layers = model.linears_mut();
    let found = each_integer_is_bounded(&adapters::config(), &[], |config: LoraConfig| {
        config.init(&layers, &device).map(drop)
    });
    assert_eq!(found, 1);
    for published in [OptConfig::opt_125m(), OptConfig::opt_2_7b()] {
        published.validate().unwrap();
    }
}

/// A file without tensors whose metadata have that config.
fn file(config: &impl serde::Serialize) -> Checkpoint {
    let text = serde_json::to_string(config).unwrap();
    let metadata = HashMap::from([("config".to_owned(), text)]);
    let tensors: [(&str, TensorView<'_>); 0] = [];
    let bytes = safetensors::serialize(tensors, Some(metadata)).unwrap();
    Checkpoint::from_bytes("mine.safetensors", bytes).unwrap()
}

#[track_caller]
fn says_depth(error: &LmError) {
    assert!(matches!(error, LmError::Config(_)), "{error}");
    assert!(error.to_string().contains("depth = 1000000000"), "{error}");
}

#[test]
fn files_of_a_billion_layers_are_refused_at_once() {
    let begun = Instant::now();
    let mut opt = configs()[0].clone();
    opt.depth = 1_000_000_000;
    let error = nano::opt_from(&file(&opt), &test_device(), DType::F32).unwrap_err();
    says_depth(&error);

    let mut about = nano::saved().unwrap().about;
    about.model.opt.depth = 1_000_000_000;
    let error = SavedLm::of(String::new(), file(&opt), file(&about)).unwrap_err();
    says_depth(&error);

    let published = r#"{
        "vocab_size": 30, "max_position_embeddings": 48, "hidden_size": 16, "num_hidden_layers": 1000000000,
        "num_attention_heads": 4, "ffn_dim": 64
    }"#;
    says_depth(&OptConfig::from_published(published).unwrap_err());
    assert!(begun.elapsed().as_secs() < 1);
}
