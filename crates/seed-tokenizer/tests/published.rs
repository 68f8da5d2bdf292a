//! Which release a checkpoint is of, and what is said of files that are of none.

use std::{collections::HashMap, fs, path::Path};

use safetensors::{Dtype, tensor::TensorView};
use seed_tokenizer::{
    ImageHeadForm, PublishedTokenizer, SeedConfig, TOKENIZER_FILE, TokenEncoderConfig,
    TokenizerError, nano,
};
use seed_weights::Checkpoint;

/// A file that holds these keys, each an empty tensor.
fn file(keys: &[&str], config: Option<String>) -> Vec<u8> {
    let views = keys.iter().map(|key| {
        let view = TensorView::new(Dtype::F32, vec![0], &[]).unwrap();
        (*key, view)
    });
    let metadata = config.map(|config| HashMap::from([("config".to_owned(), config)]));
    safetensors::serialize(views, metadata).unwrap()
}

fn recognised(keys: &[&str]) -> Result<PublishedTokenizer, TokenizerError> {
    let checkpoint = Checkpoint::from_bytes("test", file(keys, None)).unwrap();
    PublishedTokenizer::of(checkpoint, None)
}

fn image_head(found: &PublishedTokenizer) -> &ImageHeadForm {
    &found.config.codes.image_head.as_ref().unwrap().form
}

#[test]
fn each_release_is_known_by_its_keys() {
    let v1 = recognised(&["distill_text_proj.weight", "temp"]).unwrap();
    assert!(v1.release.starts_with("SEED v1"), "{}", v1.release);
    assert_eq!(v1.config.codes, SeedConfig::seed_v1().codes);

    let v2 = recognised(&["image_down.0.weight", "distill_image_proj.weight"]).unwrap();
    assert!(matches!(image_head(&v2), ImageHeadForm::Mlp { .. }));
    let TokenEncoderConfig::QFormer(q_former) = &v2.config.tokens else {
        panic!("v2 has a Q-Former")
    };
    // The released file leaves out what only stage I needs.
    assert_eq!((q_former.embed_dim, &q_former.q_former.text), (None, &None));

    let trained = recognised(&["reverse_tokens", "distill_image_proj.weight"]).unwrap();
    assert!(matches!(image_head(&trained), ImageHeadForm::Query { .. }));

    let error = recognised(&["model.decoder.embed_tokens.weight"]).unwrap_err();
    assert!(matches!(error, TokenizerError::NotATokenizer { .. }));
    assert!(error.to_string().contains("seed inspect"), "{error}");
}

#[test]
fn a_config_that_does_not_parse_or_fit_is_refused_with_its_place() {
    let open = |config: &str| {
        let bytes = file(&[], Some(config.to_owned()));
        let checkpoint = Checkpoint::from_bytes("mine.safetensors", bytes).unwrap();
        PublishedTokenizer::of(checkpoint, None).unwrap_err()
    };
    let error = open("{");
    assert!(matches!(error, TokenizerError::UnreadableConfig { .. }));
    assert!(error.to_string().starts_with("mine.safetensors"), "{error}");
    let mut config = SeedConfig::nano();
    config.codes.positions = 31;
    let error = open(&serde_json::to_string(&config).unwrap());
    assert!(matches!(error, TokenizerError::Config { .. }));
    assert!(error.to_string().contains("positions"), "{error}");
}

#[test]
fn a_folder_of_ours_or_of_a_release_is_opened_and_a_part_of_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, keys: &[&str]| {
        fs::write(folder.path().join(name), file(keys, None)).unwrap();
    };
    put("seed_quantizer.pt", &["image_down.0.weight"]);
    let error = PublishedTokenizer::open(folder.path()).unwrap_err();
    assert!(matches!(error, TokenizerError::Incomplete { .. }));
    assert!(error.to_string().contains("eva_vit_g.pth is missing"));

    put("eva_vit_g.pth", &["cls_token"]);
    let whole = PublishedTokenizer::open(folder.path()).unwrap();
    assert!(whole.checkpoint.shape("visual_encoder.cls_token").is_some());
    let by_file = PublishedTokenizer::open(folder.path().join("seed_quantizer.pt")).unwrap();
    assert_eq!(by_file.release, whole.release);

    let config = serde_json::to_string(&SeedConfig::nano()).unwrap();
    fs::write(folder.path().join(TOKENIZER_FILE), file(&[], Some(config))).unwrap();
    let ours = PublishedTokenizer::open(folder.path()).unwrap();
    assert_eq!(ours.config, SeedConfig::nano());
    assert!(PublishedTokenizer::open(Path::new("no-such-folder")).is_err());
}

#[test]
fn the_shipped_tokenizer_loads_whole_in_each_precision() {
    use burn::tensor::{DType, Distribution, Tensor};
    let device = seed_device::test_device();
    let published = nano::published().unwrap();
    let images = Tensor::<4>::random([2, 3, 64, 64], Distribution::Normal(0.0, 1.0), &device);
    let (model, report) = published.load(&device, DType::F32).unwrap();
    assert_eq!(report.unused, Vec::<String>::new());
    let codes = model.encode(images.clone()).into_data();
    // The file holds f16: kept so, the same numbers enter every product.
    for kept in seed_device::test_precisions(&device, &[seed_device::Precision::F16]) {
        let (half, _) = published.load(&device, kept.dtype()).unwrap();
        assert_eq!(half.encode(images.clone()).into_data(), codes);
    }
}
