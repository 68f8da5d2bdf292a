//! What a config says of its sizes is checked before anything is made of them.

#[path = "../../seed-nn/tests/shared/leaves.rs"]
mod leaves;

use std::{collections::HashMap, time::Instant};

use leaves::each_integer_is_bounded;
use safetensors::tensor::TensorView;
use seed_device::test_device;
use seed_encoders::{
    ClipConfig, ClipTextConfig, ClipVisionConfig, EncoderConfigError, EndOfText, EvaVitConfig,
    nano::{self, NanoError},
};
use seed_nn::Activation;
use serde_json::{Value, json};

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
    let vision = ClipVisionConfig {
        image_size: 32,
        patch_size: 8,
        width: 16,
        depth: 2,
        heads: 4,
        mlp_hidden: 32,
        activation: Activation::Gelu,
        embed_dim: 8,
    };
    let found = each_integer_is_bounded(&vision, &[], |config| config.init(&device).map(drop));
    assert_eq!(found, 7);
}

#[test]
fn sizes_of_published_models_are_within_the_limits() {
    EvaVitConfig::vit_g().validate().unwrap();
    ClipTextConfig::clip_l().validate().unwrap();
    ClipVisionConfig::clip_l().validate().unwrap();
    ClipVisionConfig::clip_h().validate().unwrap();
}

/// `openai/clip-vit-large-patch14`, the fields that decide what is computed and some that do not.
fn published_pair() -> Value {
    json!({
        "architectures": ["CLIPModel"], "logit_scale_init_value": 2.6592, "model_type": "clip", "projection_dim": 768,
        "text_config": {
            "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 2, "hidden_act": "quick_gelu",
            "hidden_size": 768, "intermediate_size": 3072, "layer_norm_eps": 1e-05, "max_position_embeddings": 77,
            "model_type": "clip_text_model", "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1,
            "projection_dim": 768, "vocab_size": 49408
        },
        "vision_config": {
            "attention_dropout": 0.0, "hidden_act": "quick_gelu", "hidden_size": 1024, "image_size": 224,
            "intermediate_size": 4096, "layer_norm_eps": 1e-05, "model_type": "clip_vision_model",
            "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768
        }
    })
}

/// `image_encoder` of `stabilityai/stable-diffusion-2-1-unclip`.
fn published_h() -> Value {
    json!({
        "architectures": ["CLIPVisionModelWithProjection"], "attention_dropout": 0.0, "dropout": 0.0,
        "hidden_act": "gelu", "hidden_size": 1280, "image_size": 224, "initializer_factor": 1.0,
        "intermediate_size": 5120, "layer_norm_eps": 1e-05, "model_type": "clip_vision_model", "num_attention_heads": 16,
        "num_channels": 3, "num_hidden_layers": 32, "patch_size": 14, "projection_dim": 1024
    })
}

#[test]
fn published_configs_are_the_presets() {
    let pair = published_pair().to_string();
    let vision = ClipVisionConfig::from_transformers(&pair).unwrap();
    assert_eq!(vision, ClipVisionConfig::clip_l());
    let text = ClipTextConfig::from_transformers(&pair).unwrap();
    assert_eq!(text, ClipTextConfig::clip_l());
    let vision = ClipVisionConfig::from_transformers(&published_h().to_string()).unwrap();
    assert_eq!(vision, ClipVisionConfig::clip_h());

    // Of the pair, what is shared is said once for both.
    let mut pair = published_pair();
    pair["projection_dim"] = json!(640);
    let vision = ClipVisionConfig::from_transformers(&pair.to_string()).unwrap();
    assert_eq!(vision.embed_dim, 640);
    pair["text_config"]["eos_token_id"] = json!(49_407);
    let text = ClipTextConfig::from_transformers(&pair.to_string()).unwrap();
    assert_eq!(text.end_of_text, EndOfText::Token(49_407));
}

#[test]
fn what_a_published_config_may_not_say_is_named() {
    for (field, value) in [
        ("hidden_act", json!("gelu_new")),
        ("hidden_act", json!(3)),
        ("hidden_size", json!("wide")),
        ("layer_norm_eps", json!(1e-6)),
        ("model_type", json!("siglip_vision_model")),
        ("model_type", json!("clip_text_model")),
        ("num_channels", json!(4)),
        ("num_hidden_layers", json!(-1)),
    ] {
        let mut published = published_h();
        published[field] = value;
        let error = ClipVisionConfig::from_transformers(&published.to_string()).unwrap_err();
        assert!(
            matches!(error, EncoderConfigError::Published { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(field), "{error}");
    }
    let mut published = published_h();
    published["patch_size"] = json!(15);
    let error = ClipVisionConfig::from_transformers(&published.to_string()).unwrap_err();
    assert!(matches!(error, EncoderConfigError::Sizes(_)), "{error}");
    let mut pair = published_pair();
    pair.as_object_mut().unwrap().remove("vision_config");
    let error = ClipVisionConfig::from_transformers(&pair.to_string()).unwrap_err();
    assert!(error.to_string().contains("vision_config"), "{error}");
    for text in ["", "{", "[]", "null", "{}"] {
        assert!(ClipVisionConfig::from_transformers(text).is_err(), "{text}");
        assert!(ClipTextConfig::from_transformers(text).is_err(), "{text}");
    }
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
