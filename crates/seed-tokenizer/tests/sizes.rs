//! What a config says of its sizes is checked before anything is made of them.

#[path = "../../seed-nn/tests/shared/leaves.rs"]
mod leaves;

use std::{collections::HashMap, time::Instant};

use leaves::each_integer_is_bounded;
use safetensors::tensor::TensorView;
use seed_device::test_device;
use seed_nn::ConfigError;
use seed_tokenizer::{
    BlockStackConfig, CodebookUpdate, PublishedTokenizer, QFormerConfig, RasterConfig, Revival,
    SeedConfig, TextSideConfig, TokenEncoderConfig, TokenizerError,
};
use seed_weights::Checkpoint;

/// The raster layout at nano size.
fn raster() -> SeedConfig {
    let mut config = SeedConfig::nano();
    config.tokens = TokenEncoderConfig::Raster(RasterConfig {
        grid: [4, 8],
        blocks: BlockStackConfig {
            depth: 2,
            heads: 4,
            mlp_hidden: 512,
        },
        text: QFormerConfig {
            width: 128,
            heads: 4,
            depth: 2,
            mlp_hidden: 512,
            context_width: 128,
            cross_attention_every: 0,
            dropout: 0.0,
            text: Some(TextSideConfig {
                vocab_size: 2048,
                max_length: 32,
            }),
        },
        embed_dim: 128,
    });
    config
}

#[test]
fn each_size_has_a_limit() {
    let device = test_device();
    // How often a layer reads the image, or dead codes are looked for.
    let free = ["cross_attention_every", "every"];
    for (config, integers) in [
        (SeedConfig::seed_v1(), 29),
        (SeedConfig::seed_v2(), 27),
        (SeedConfig::seed_v2_one_query(), 29),
        (SeedConfig::nano(), 30),
        (raster(), 34),
    ] {
        let found =
            each_integer_is_bounded(&config, &free, |config| config.init(&device).map(drop));
        assert_eq!(found, integers, "{config:?}");
        // Each part checks itself, too.
        each_integer_is_bounded(&config.image, &free, |part| part.init(&device).map(drop));
        each_integer_is_bounded(&config.tokens, &free, |part| part.init(&device).map(drop));
        each_integer_is_bounded(&config.codes, &free, |part| part.init(&device).map(drop));
    }
}

#[test]
fn a_grid_whose_product_overflows_is_refused() {
    let mut config = raster();
    let TokenEncoderConfig::Raster(tokens) = &mut config.tokens else {
        unreachable!("made as a raster");
    };
    for side in [1 << 11, 1 << 20, 1 << 32, usize::MAX] {
        tokens.grid = [side, side];
        let error = tokens.validate().unwrap_err().to_string();
        assert!(error.contains("grid"), "{error}");
    }
}

#[test]
fn numbers_that_are_none_are_refused() {
    type Change = fn(&mut SeedConfig, f64);
    fn revival(config: &mut SeedConfig) -> &mut Revival {
        config.codes.quantizer.revival.as_mut().unwrap()
    }
    let cases: [(&str, Change); 6] = [
        ("beta", |c, x| c.codes.quantizer.beta = x),
        ("decay", |c, x| {
            c.codes.quantizer.update = CodebookUpdate::Ema { decay: x };
        }),
        ("revival.decay", |c, x| revival(c).decay = x),
        ("revival.threshold", |c, x| revival(c).threshold = x),
        ("dropout", |c, x| {
            c.codes.text_head.as_mut().unwrap().reverse.dropout = x;
        }),
        ("dropout", |c, x| match &mut c.tokens {
            TokenEncoderConfig::QFormer(tokens) => tokens.q_former.dropout = x,
            TokenEncoderConfig::Raster(_) => unreachable!("nano has a Q-Former"),
        }),
    ];
    for (name, change) in cases {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1] {
            let mut config = SeedConfig::nano();
            change(&mut config, number);
            let error: ConfigError = config.validate().unwrap_err();
            assert!(
                error.to_string().contains(name),
                "{name} = {number}: {error}"
            );
        }
    }
}

#[test]
fn a_file_of_a_billion_layers_is_refused_at_once() {
    let mut config = SeedConfig::nano();
    config.codes.blocks.depth = 1_000_000_000;
    let text = serde_json::to_string(&config).unwrap();
    let metadata = HashMap::from([("config".to_owned(), text)]);
    let tensors: [(&str, TensorView<'_>); 0] = [];
    let bytes = safetensors::serialize(tensors, Some(metadata)).unwrap();
    let checkpoint = Checkpoint::from_bytes("mine.safetensors", bytes).unwrap();
    let begun = Instant::now();
    let error = PublishedTokenizer::of(checkpoint, None).unwrap_err();
    assert!(begun.elapsed().as_secs() < 1);
    assert!(matches!(error, TokenizerError::Config { .. }), "{error}");
    for word in ["mine.safetensors", "decoder blocks", "depth = 1000000000"] {
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// Sizes at their limits cost more than 64 bits count.
#[test]
fn a_cost_beyond_64_bits_is_the_most_that_they_hold() {
    let mut config = SeedConfig::nano();
    config.image.image_size = 1 << 14;
    config.image.patch_size = 1;
    config.image.depth = 1 << 10;
    let cost = config.cost(32, &test_device()).unwrap();
    assert_eq!(cost.image_tower.flops, u64::MAX);
    assert_eq!(cost.encode_flops(), u64::MAX);
    assert_eq!(cost.stage_one(128).frozen_flops, u64::MAX);
    assert_eq!(cost.stage_two(128).frozen_flops, u64::MAX);
}
