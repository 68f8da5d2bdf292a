//! What a config says of its sizes is checked before anything is made of them.

#[path = "../../seed-nn/tests/shared/leaves.rs"]
mod leaves;

use std::{collections::HashMap, time::Instant};

use leaves::each_integer_is_bounded;
use safetensors::tensor::TensorView;
use seed_device::test_device;
use seed_encoders::{
    ClipConfig, ClipTextConfig, EndOfText, EvaVitConfig,
    nano::{self, NanoError},
};
use seed_nn::Activation;

fn config() -> ClipConfig {
    ClipConfig {
        image: EvaVitConfig {
            image_size: 32,
            patch_size: 8,
            width: 16,
            depth: 2,
            heads: 4,
            mlp_hidden: 32,
        },
        text: ClipTextConfig {
            vocab_size: 40,
            max_length: 8,
            width: 16,
            depth: 2,
            heads: 4,
            mlp_hidden: 32,
            activation: Activation::Gelu,
            end_of_text: EndOfText::Token(39),
        },
        embed_dim: 8,
    }
}

#[test]
fn each_size_has_a_limit() {
    let device = test_device();
    let found = each_integer_is_bounded(&config(), &[], |config| config.init(&device).map(drop));
    assert_eq!(found, 14);
}

#[test]
fn sizes_of_published_models_are_within_the_limits() {
    EvaVitConfig::vit_g().validate().unwrap();
    ClipTextConfig::clip_l().validate().unwrap();
}

#[test]
fn a_file_of_a_billion_layers_is_refused_at_once() {
    let mut config = config();
    config.image.depth = 1_000_000_000;
    let text = serde_json::to_string(&config).unwrap();
    let metadata = HashMap::from([("config".to_owned(), text)]);
    let tensors: [(&str, TensorView<'_>); 0] = [];
    let bytes = safetensors::serialize(tensors, Some(metadata)).unwrap();
    let begun = Instant::now();
    let error = nano::clip_from("mine.safetensors", bytes.into(), &test_device()).unwrap_err();
    assert!(begun.elapsed().as_secs() < 1);
    assert!(matches!(error, NanoError::Config { .. }), "{error}");
    for word in ["mine.safetensors", "image tower", "depth = 1000000000"] {
        assert!(error.to_string().contains(word), "{error}");
    }
}
