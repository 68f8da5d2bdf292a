//! The papers' sizes, counted without allocating them (specification §1.8), and impossible configs.

use burn::module::Module;
use seed::{
    device::test_device,
    nn::ConfigError,
    tokenizer::{SeedConfig, TokenEncoder, TokenEncoderConfig},
    weights::{parameter_count, parameters},
};

/// The specification counts BERT's `position_ids` `[1, 512]`, which is no parameter, with each Q-Former.
const POSITION_BUFFER: usize = 512;

/// Number of tensors and of parameters.
fn size<M: Module>(modules: &[&M]) -> (usize, usize) {
    modules.iter().fold((0, 0), |(tensors, count), module| {
        (
            tensors + parameters(*module).len(),
            count + parameter_count(*module),
        )
    })
}

#[test]
fn full_size_counts_are_the_papers() {
    let device = test_device();
    let v1 = SeedConfig::seed_v1().init(&device).unwrap();
    assert_eq!(size(&[&v1.image]), (511, 985_894_528));

    let TokenEncoder::QFormer(q_former) = &v1.tokens else {
        panic!("v1 has a Q-Former")
    };
    // The stage-I file, without BERT's unused language head and the buffer of positions.
    let language_head = 30_523 * 2 + 768 * 769 + 2 * 768 + 30_523 * 768;
    assert_eq!(
        parameter_count(q_former),
        210_176_631 - language_head - POSITION_BUFFER
    );
    // What inference keeps of it: no text network, no projections, no temperature.
    let kept = parameters(q_former).into_iter().filter(|parameter| {
        let text = [
            "text_mlp",
            "_embeddings",
            "vision_proj",
            "text_proj",
            "temp",
        ];
        !text.iter().any(|name| parameter.path.contains(name))
    });
    let kept: Vec<usize> = kept.map(|parameter| parameter.count()).collect();
    assert_eq!(
        (kept.len(), kept.iter().sum::<usize>()),
        (258 - 1, 105_165_568 - POSITION_BUFFER)
    );

    assert_eq!(size(&[&v1.codes.reconstruction]), (49, 28_376_064));
    let (tensors, count) = size(&[&v1.codes]);
    assert_eq!(
        (tensors - 49, count - 28_376_064),
        (148 - 1, 63_010_880 - POSITION_BUFFER)
    );

    let v2 = SeedConfig::seed_v2().init(&device).unwrap();
    assert_eq!(size(&[&v2.codes]), (112, 58_938_944));
}

#[test]
fn the_one_query_image_head_counts_too() {
    let model = SeedConfig::seed_v2_one_query()
        .init(&test_device())
        .unwrap();
    let head = model.codes.image_head.as_ref().unwrap();
    let (tensors, count) = size(&[head]);
    let (stack_tensors, stack_count) = size(&[&head.stack]);
    assert_eq!(
        (tensors - stack_tensors, count - stack_count),
        (90 - 1, 33_869_568 - POSITION_BUFFER)
    );
}

/// One way to break a config.
type Change = Box<dyn Fn(&mut SeedConfig)>;

#[test]
fn impossible_configs_are_refused_with_the_field() {
    let q_former = |config: &mut SeedConfig| match &mut config.tokens {
        TokenEncoderConfig::QFormer(tokens) => tokens.q_former.heads = 5,
        TokenEncoderConfig::Raster(_) => unreachable!("nano has a Q-Former"),
    };
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(q_former), "width 128 is not divisible by 5 heads"),
        (
            Box::new(|c| c.image.patch_size = 7),
            "image size 64 is not divisible by patch size 7",
        ),
        (
            Box::new(|c| c.image.width = 96),
            "tokens.context_width = 128",
        ),
        (Box::new(|c| c.codes.positions = 33), "codes.positions = 33"),
        (Box::new(|c| c.codes.quantizer.codes = 1), "codes = 1"),
        (Box::new(|c| c.codes.blocks.heads = 0), "0 heads"),
    ];
    for (change, expected) in cases {
        let mut config = SeedConfig::nano();
        change(&mut config);
        let error: ConfigError = config.init(&test_device()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn unknown_keys_of_a_config_are_named() {
    let mut value = serde_json::to_value(SeedConfig::nano()).unwrap();
    value["image"]["patchsize"] = 8.into();
    let error = serde_json::from_value::<SeedConfig>(value).unwrap_err();
    assert!(error.to_string().contains("patchsize"), "{error}");
}
