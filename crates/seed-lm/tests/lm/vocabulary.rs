//! The grown vocabulary: its scores, its files, its heads.

use burn::{
    module::Param,
    tensor::{DType, Device, Tensor},
};
use seed_device::test_device;
use seed_lm::{
    CausalLm, SeedLm, SeedLmConfig, VisualHead, VisualVocabulary, visual_vocabulary_keys,
};
use seed_weights::{About, Checkpoint};

use crate::models::{
    CODES, WORDS, apart, assert_close, configs, ids, numbers, random, seed_lm, visual_config,
};

/// Scores after the last token of a row of words and codes.
fn scores(model: &SeedLm) -> Tensor<2> {
    let device = CausalLm::device(model);
    let tokens = ids([[2, 5, 37, 31, 30, 36, 38, 9]], &device);
    let mut cache = model.cache(1, 8).unwrap();
    model.step(model.embed(tokens), None, &mut cache)
}

/// A model with a tied head, and one with another head that is the same in all else.
fn alike(head: VisualHead, device: &Device) -> [SeedLm; 2] {
    let [tied, mut other] =
        [VisualHead::Tied, head].map(|head| seed_lm(&configs()[0], head, 53, device));
    other.opt = tied.opt.clone();
    other.vocabulary.codebook = tied.vocabulary.codebook.clone();
    other.vocabulary.projection = tied.vocabulary.projection.clone();
    other.vocabulary.marks = tied.vocabulary.marks.clone();
    [tied, other]
}

#[test]
fn the_vocabulary_comes_back_from_its_file() {
    let device = test_device();
    let heads = [VisualHead::Tied, VisualHead::Free, VisualHead::Offset];
    for (opt, head) in configs().iter().cycle().zip(heads) {
        let mut model = seed_lm(opt, head, 51, &device);
        let expected = scores(&model);
        assert_eq!(expected.dims(), [1, WORDS + CODES + 2]);
        assert_eq!(model.vocabulary(), WORDS + CODES + 2);
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

        let SeedLmConfig { visual, .. } = visual_config(opt, head);
        device.seed(52);
        let fresh = visual.init(opt.embed_width, &device).unwrap();
        model.vocabulary = fresh.clone();
        assert!(apart(scores(&model), expected.clone()) > 1e-3);
        let checkpoint = Checkpoint::open(&path).unwrap();
        let (vocabulary, report) = seed_weights::load(fresh, &checkpoint, &keys).unwrap();
        assert!(report.unused.is_empty());
        model.vocabulary = vocabulary;
        assert_close(scores(&model), expected, 0.0);
    }
}

#[test]
fn a_free_head_has_rows_of_its_own() {
    let device = test_device();
    let [tied, mut free] = alike(VisualHead::Free, &device);
    let (of_tied, of_free) = (scores(&tied), scores(&free));
    let words = |scores: &Tensor<2>| scores.clone().narrow(1, 0, WORDS);
    assert_close(words(&of_tied), words(&of_free), 0.0);
    assert!(apart(of_tied.clone(), of_free) > 1e-3);
    // With the embeddings as its rows it is the tied one.
    let rows = free.vocabulary.table();
    free.vocabulary.head = Some(Param::from_tensor(rows));
    assert_close(scores(&free), of_tied, 0.0);
}

#[test]
fn a_head_with_offsets_begins_as_the_tied_one() {
    let device = test_device();
    let [tied, mut offset] = alike(VisualHead::Offset, &device);
    let before = scores(&tied);
    assert_close(scores(&offset), before.clone(), 0.0);
    // An offset moves the scores of its own code alone.
    let width = tied.opt.config().embed_width;
    let one = random([1, width], &device);
    let rest = Tensor::zeros([CODES + 1, width], &device);
    offset.vocabulary.head = Some(Param::from_tensor(Tensor::cat(vec![one, rest], 0)));
    let after = scores(&offset);
    let moved = |from: usize, count: usize| {
        let part = |scores: &Tensor<2>| scores.clone().narrow(1, from, count);
        apart(part(&after), part(&before))
    };
    assert!(moved(WORDS, 1) > 1e-3);
    assert!(moved(0, WORDS) < 1e-6 && moved(WORDS + 1, CODES + 1) < 1e-6);
}

#[test]
fn words_and_codes_are_embedded_side_by_side() {
    let device = test_device();
    let model = seed_lm(&configs()[1], VisualHead::Tied, 54, &device);
    let mixed = model.embed(ids([[4, 32, 38, 29]], &device));
    let words = model.opt.embed(ids([[4, 29]], &device));
    let table = model.vocabulary.table();
    let row = |tensor: &Tensor<3>, index| numbers(tensor.clone().narrow(1, index, 1));
    assert_eq!(row(&mixed, 0), row(&words, 0));
    assert_eq!(row(&mixed, 3), row(&words, 1));
    assert_eq!(row(&mixed, 1), numbers(table.clone().narrow(0, 2, 1)));
    assert_eq!(row(&mixed, 2), numbers(table.narrow(0, CODES + 1, 1)));
}

#[test]
fn ids_and_codes_translate_both_ways() {
    let ids = visual_config(&configs()[0], VisualHead::Tied).ids();
    let image = ids.image(&[6, 0, 3]).unwrap();
    assert_eq!(image, [37, 36, 30, 33, 38]);
    assert_eq!(ids.codes_in(&image), Some(vec![6, 0, 3]));
    assert_eq!(ids.code(29), None);
    assert_eq!(ids.code(37), None);
    for bad in [
        &image[..4],
        &[37, 36, 30, 38],
        &[37, 36, 30, 33, 33],
        &[3, 4],
        &[],
    ] {
        assert_eq!(ids.codes_in(bad), None, "{bad:?}");
    }
}

#[test]
fn codes_enter_as_words_do_once_calibrated() {
    let device = test_device();
    let model = seed_lm(&configs()[0], VisualHead::Tied, 5, &device);
    // Vectors that have much in common, as those of a decoding layer.
    let vectors = random([CODES, 6], &device) * 0.1 + 3.0;
    let vocabulary = model.vocabulary.with_codebook(vectors.clone()).unwrap();
    let rows = |vocabulary: &VisualVocabulary| vocabulary.table().narrow(0, 0, CODES);
    let number = |tensor: Tensor<1>| tensor.into_data().iter::<f32>().next().unwrap();
    let mean = |rows: Tensor<2>| number(rows.mean_dim(0).abs().max());
    assert!(mean(rows(&vocabulary)) > 0.5, "the test shows nothing");
    let vocabulary = vocabulary.calibrated(vectors, 0.07);
    assert!(mean(rows(&vocabulary)) < 1e-4);
    let deviation = number(rows(&vocabulary).square().mean().sqrt());
    assert!((deviation - 0.07).abs() < 1e-4, "{deviation}");
}
