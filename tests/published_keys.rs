//! Every key and shape of the published checkpoints, against the parameters of the presets.

use std::collections::BTreeMap;

use seed::{
    device::test_device,
    encoders::{ClipVisionConfig, clip_vision_keys},
    tokenizer::{SeedConfig, TokenEncoderConfig, tokenizer_keys},
    weights::{parameter_count, parameters},
};

/// Key and shape of every tensor of a release: one line a tensor, a tab between.
fn listing(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .map(|line| line.split_once('\t').expect("a key, a tab, a shape"))
        .map(|(key, shape)| (key.to_owned(), shape.to_owned()))
        .collect()
}

/// Key and shape of every parameter under the reference's names; a scalar is ours as `[1]`.
fn ours(config: &SeedConfig) -> BTreeMap<String, String> {
    let model = config.init(&test_device()).unwrap();
    let keys = tokenizer_keys();
    let named = parameters(&model).into_iter().map(|parameter| {
        let key = keys.key(&parameter.path);
        let shape = match key.as_str() {
            "temp" => "[]".to_owned(),
            _ => format!("{:?}", parameter.shape),
        };
        (key, shape)
    });
    named.collect()
}

/// What a release holds beyond parameters: a buffer of positions, and BERT's unused language head.
fn is_leftover(key: &str) -> bool {
    key.ends_with("embeddings.position_ids") || key.starts_with("Qformer.cls.")
}

/// Made by `tests/keys/clip_vision.py`.
#[test]
fn the_image_towers_of_clip_are_made_of_the_published_tensors() {
    for (config, text, values) in [
        (
            ClipVisionConfig::clip_l(),
            include_str!("keys/clip-l-14-vision.txt"),
            303_966_208,
        ),
        (
            ClipVisionConfig::clip_h(),
            include_str!("keys/clip-h-14-vision.txt"),
            632_076_800,
        ),
    ] {
        let model = config.init(&test_device()).unwrap();
        let keys = clip_vision_keys();
        let ours = parameters(&model)
            .into_iter()
            .map(|parameter| (keys.key(&parameter.path), format!("{:?}", parameter.shape)));
        assert_eq!(ours.collect::<BTreeMap<_, _>>(), listing(text));
        assert_eq!(parameter_count(&model), values);
    }
}

#[track_caller]
fn assert_same(config: &SeedConfig, text: &str, tensors: usize) {
    let published = listing(text);
    let ours = ours(config);
    for (key, shape) in &ours {
        assert_eq!(published.get(key), Some(shape), "{key}");
    }
    let extra = published.keys().filter(|key| !ours.contains_key(*key));
    let unknown: Vec<_> = extra.filter(|key| !is_leftover(key)).collect();
    assert!(unknown.is_empty(), "no parameter for {unknown:?}");
    assert_eq!(ours.len(), tensors);
}

#[test]
fn v1_is_made_of_the_published_tensors() {
    let config = SeedConfig::seed_v1();
    assert_same(&config, include_str!("keys/seed-v1.txt"), 1043);
}

#[test]
fn the_language_head_has_the_names_of_blip_2() {
    let mut config = SeedConfig::seed_v1();
    let TokenEncoderConfig::QFormer(q_former) = &mut config.tokens else {
        panic!("v1 has a Q-Former")
    };
    q_former.language_head = true;
    // The decoder is tied to the word embeddings: two more tensors of the file are copies.
    assert_same(&config, include_str!("keys/seed-v1.txt"), 1048);
}

#[test]
fn v2_is_made_of_the_published_tensors_without_what_only_stage_one_needs() {
    let mut config = SeedConfig::seed_v2();
    let TokenEncoderConfig::QFormer(q_former) = &mut config.tokens else {
        panic!("v2 has a Q-Former")
    };
    (q_former.q_former.text, q_former.embed_dim) = (None, None);
    assert_same(&config, include_str!("keys/seed-v2.txt"), 880);
}
