//! What must hold whatever the weights are (specification §9).

use burn::{
    module::{Module, Param},
    tensor::{Device, Distribution, Int, Tensor, TensorData},
};
use seed::{
    device::test_device,
    tokenizer::{
        BlockStackConfig, CausalQFormer, CausalQFormerConfig, CodeDistance, CodebookInit,
        CodebookUpdate, QFormerConfig, QuantizerConfig, QueryAttention, RasterConfig, Revival,
        SeedConfig, TokenEncoderConfig, concept_targets, contrast, cosine_distance,
        diagonal_targets,
    },
};

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn q_former(attention: QueryAttention, device: &Device) -> CausalQFormer {
    let config = CausalQFormerConfig {
        q_former: QFormerConfig {
            width: 16,
            heads: 2,
            depth: 3,
            mlp_hidden: 32,
            context_width: 12,
            cross_attention_every: 2,
            dropout: 0.0,
            text: None,
        },
        queries: 7,
        attention,
        embed_dim: Some(8),
        language_head: false,
    };
    config.init(device).unwrap()
}

#[test]
fn training_and_inference_attention_agree() {
    let device = test_device();
    device.seed(5);
    let config = BlockStackConfig {
        depth: 2,
        heads: 3,
        mlp_hidden: 40,
    };
    let stack = config.init(24, 9, &device).unwrap();
    let tokens = random([2, 9, 24], &device);
    // The fused attention runs without autodiff, the plain form with it.
    let trained = stack.clone().train().forward(tokens.clone().autodiff());
    let difference = (trained.inner() - stack.forward(tokens)).abs().max();
    assert!(numbers(difference)[0] < 1e-4);
}

/// Which tokens change when query `changed` is perturbed.
fn changed_tokens(attention: QueryAttention, changed: usize) -> Vec<bool> {
    let device = test_device();
    device.seed(3);
    let mut model = q_former(attention, &device);
    let context = random([2, 5, 12], &device);
    let before = model.forward(context.clone());
    let [_, queries, width] = model.query_tokens.dims();
    let noise = random([1, 1, width], &device);
    let range = [0..1, changed..changed + 1, 0..width];
    let tokens = model.query_tokens.val();
    let moved = tokens.clone().slice(range.clone()) + noise;
    model.query_tokens = Param::from_tensor(tokens.slice_assign(range, moved));
    let difference = (model.forward(context) - before)
        .abs()
        .sum_dim(2)
        .sum_dim(0);
    assert_eq!(difference.dims(), [1, queries, 1]);
    numbers(difference)
        .into_iter()
        .map(|value| value > 0.0)
        .collect()
}

#[test]
fn a_query_never_reaches_the_tokens_before_it() {
    for changed in 0..7 {
        let found = changed_tokens(QueryAttention::Causal, changed);
        let expected: Vec<bool> = (0..7).map(|token| token >= changed).collect();
        assert_eq!(found, expected, "query {changed}");
        assert_eq!(
            changed_tokens(QueryAttention::Bidirectional, changed),
            [true; 7]
        );
    }
}

#[test]
fn raster_tokens_follow_the_grid_row_by_row() {
    let device = test_device();
    let config = RasterConfig {
        grid: [2, 2],
        blocks: BlockStackConfig {
            depth: 0,
            heads: 2,
            mlp_hidden: 8,
        },
        text: QFormerConfig {
            width: 8,
            heads: 2,
            depth: 1,
            mlp_hidden: 8,
            context_width: 6,
            cross_attention_every: 0,
            dropout: 0.0,
            text: Some(seed::tokenizer::TextSideConfig {
                vocab_size: 9,
                max_length: 4,
            }),
        },
        embed_dim: 4,
    };
    let model = TokenEncoderConfig::Raster(config).init(&device).unwrap();
    let tokens = random([1, 17, 6], &device);
    let before = model.forward(tokens.clone());
    // Patch (row 0, column 3) of a 4×4 grid lies in the upper right quarter: token 1.
    let range = [0..1, 4..5, 0..6];
    let moved = tokens.slice_assign(range, random([1, 1, 6], &device));
    let difference = (model.forward(moved) - before).abs().sum_dim(2);
    let changed: Vec<bool> = numbers(difference)
        .into_iter()
        .map(|value| value > 0.0)
        .collect();
    assert_eq!(changed, [false, true, false, false]);
}

#[test]
fn gradients_go_straight_through_the_quantiser() {
    let device = test_device().autodiff();
    let quantizer = QuantizerConfig::reference(16, 4).init(&device).unwrap();
    let z = random([2, 3, 4], &device).require_grad();
    let cotangent = random([2, 3, 4], &device);
    let found = quantizer.forward(z.clone());
    let gradients = (found.vectors * cotangent.clone()).sum().backward();
    assert_eq!(
        numbers(z.grad(&gradients).unwrap()),
        numbers(cotangent.inner())
    );
}

#[test]
fn the_nearest_code_is_the_nearest_and_permutes_with_the_codebook() {
    let device = test_device();
    for distance in [CodeDistance::L2, CodeDistance::Cosine] {
        let config = QuantizerConfig {
            distance,
            ..QuantizerConfig::reference(16, 4)
        };
        let mut quantizer = config.init(&device).unwrap();
        let codebook = random([16, 4], &device);
        quantizer.embedding.weight = Param::from_tensor(codebook.clone());
        let z = random([4, 8, 4], &device);
        let found: Vec<i64> = quantizer
            .nearest(z.clone())
            .into_data()
            .iter::<i64>()
            .collect();

        let rows: Vec<Vec<f32>> = numbers(quantizer.codebook())
            .chunks(4)
            .map(<[_]>::to_vec)
            .collect();
        let vectors = numbers(z.clone());
        let brute = vectors.chunks(4).map(|z| {
            let length = match distance {
                CodeDistance::L2 => 1.0,
                CodeDistance::Cosine => z.iter().map(|v| v * v).sum::<f32>().sqrt(),
            };
            let gap = |row: &[f32]| -> f32 {
                row.iter()
                    .zip(z)
                    .map(|(r, z)| (r - z / length).powi(2))
                    .sum()
            };
            (0..16)
                .min_by(|&a, &b| gap(&rows[a]).total_cmp(&gap(&rows[b])))
                .unwrap() as i64
        });
        assert_eq!(found, brute.collect::<Vec<i64>>(), "{distance:?}");

        let reversed = Tensor::<1, Int>::from_data(
            TensorData::from((0..16).rev().collect::<Vec<i64>>().as_slice()),
            &device,
        );
        quantizer.embedding.weight = Param::from_tensor(codebook.select(0, reversed));
        let permuted: Vec<i64> = quantizer.nearest(z).into_data().iter::<i64>().collect();
        assert!(found.iter().zip(&permuted).all(|(a, b)| a + b == 15));
    }
}

#[test]
fn beta_sits_on_the_codebook_in_legacy_and_on_the_commitment_when_corrected() {
    let device = test_device().autodiff();
    let base = QuantizerConfig::reference(16, 4);
    let quantizer = base.init(&device).unwrap();
    let n = 2.0 * 3.0 * 4.0;
    for (update, on_z, on_code) in [
        (CodebookUpdate::Legacy, 1.0, 0.25),
        (CodebookUpdate::Corrected, 0.25, 1.0),
    ] {
        let mut model = QuantizerConfig {
            update,
            ..base.clone()
        }
        .init(&device)
        .unwrap();
        model.embedding = quantizer.embedding.clone();
        let z = random([2, 3, 4], &device).require_grad();
        let found = model.forward(z.clone());
        let gradients = found.loss.backward();
        let gap = z.clone().inner() - found.vectors.inner();
        let expected = numbers(gap.clone().mul_scalar(on_z * 2.0 / n));
        close(&numbers(z.grad(&gradients).unwrap()), &expected);
        let total = numbers(gap.mul_scalar(-on_code * 2.0 / n).sum_dim(1).sum_dim(0));
        let codebook = model.embedding.weight.val().grad(&gradients).unwrap();
        close(&numbers(codebook.sum_dim(0)), &total);
    }
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!(
            (a - b).abs() <= 1e-5 + 1e-4 * b.abs(),
            "{a} where {b} is expected"
        );
    }
}

#[test]
fn the_moving_average_is_the_running_mean_in_closed_form() {
    let device = test_device();
    let decay = 0.5;
    let config = QuantizerConfig {
        update: CodebookUpdate::Ema { decay },
        ..QuantizerConfig::reference(2, 1)
    };
    let mut quantizer = config.init(&device).unwrap();
    quantizer.embedding.weight =
        Param::from_tensor(Tensor::<2>::from_data([[-1.0], [1.0]], &device))
            .set_require_grad(false);
    // Two vectors choose code 1, none chooses code 0.
    let vectors = Tensor::<3>::from_data([[[2.0], [4.0]]], &device);
    let quantizer = quantizer.after_step(vectors, 1).quantizer;
    // Counts start at 1 and sums at what the codes are: code 1 has (0.5·1 + 0.5·6) / (0.5·1 + 0.5·2) = 7/3.
    close(&numbers(quantizer.codebook()), &[-1.0, 7.0 / 3.0]);
}

#[test]
fn dead_codes_come_back_as_vectors_of_the_batch() {
    let device = test_device();
    device.seed(1);
    let config = QuantizerConfig {
        revival: Some(Revival {
            every: 2,
            threshold: 0.3,
            decay: 0.5,
        }),
        ..QuantizerConfig::reference(4, 2)
    };
    let mut quantizer = config.init(&device).unwrap();
    let far = Tensor::<2>::from_data(
        [[0.0, 0.0], [90.0, 90.0], [91.0, 90.0], [92.0, 90.0]],
        &device,
    );
    quantizer.embedding.weight = Param::from_tensor(far);
    let vectors = Tensor::<3>::from_data([[[1.0, 1.0], [-1.0, 1.0]]], &device);
    let once = quantizer.after_step(vectors.clone(), 0).quantizer;
    // Two steps apart, so not yet.
    close(&numbers(once.codebook())[2..4], &[90.0, 90.0]);
    let twice = once.after_step(vectors, 1).quantizer;
    for row in numbers(twice.codebook()).chunks(2).skip(1) {
        assert!(row == [1.0, 1.0] || row == [-1.0, 1.0], "{row:?}");
    }
    close(&numbers(twice.codebook())[..2], &[0.0, 0.0]);
}

#[test]
fn the_first_batch_fills_the_codebook_and_keeps_its_training() {
    let device = test_device().autodiff();
    let config = QuantizerConfig {
        init: CodebookInit::FirstBatch,
        ..QuantizerConfig::reference(8, 2)
    };
    let quantizer = config.init(&device).unwrap();
    let id = quantizer.embedding.weight.id;
    let vectors = random([2, 3, 2], &device);
    let quantizer = quantizer.after_step(vectors.clone(), 0).quantizer;
    let drawn: Vec<Vec<f32>> = numbers(vectors.inner())
        .chunks(2)
        .map(<[_]>::to_vec)
        .collect();
    for row in numbers(quantizer.codebook().inner()).chunks(2) {
        assert!(
            drawn.contains(&row.to_vec()),
            "{row:?} is no vector of the batch"
        );
    }
    assert_eq!(
        quantizer.embedding.weight.id, id,
        "the optimiser would lose its state"
    );
    assert!(quantizer.embedding.weight.val().is_require_grad());
}

#[test]
fn contrast_on_orthonormal_pairs_has_its_closed_form() {
    let device = test_device();
    let (batch, temperature, smoothing) = (5usize, 0.5f64, 0.1f64);
    let features = Tensor::<2>::eye(batch, &device);
    let found = contrast(
        features.clone(),
        features,
        Tensor::from_data([temperature], &device),
        diagonal_targets(batch, &device),
        smoothing,
    );
    let log_sum = ((1.0 / temperature).exp() + (batch - 1) as f64).ln();
    let own = 1.0 - smoothing + smoothing / batch as f64;
    let expected = log_sum - own / temperature;
    assert!((f64::from(numbers(found.loss)[0]) - expected).abs() < 1e-5);
    assert_eq!(numbers(found.accuracy), [1.0]);
}

#[test]
fn twins_share_the_target() {
    let targets = numbers(concept_targets(&[7, 3, 7], &test_device()));
    assert_eq!(targets, [0.5, 0.0, 0.5, 0.0, 1.0, 0.0, 0.5, 0.0, 0.5]);
}

#[test]
fn cosine_distance_is_zero_along_and_two_against() {
    let device = test_device();
    let x = random([2, 3, 4], &device);
    let distance =
        |factor: f64| numbers(cosine_distance(x.clone().mul_scalar(factor), x.clone()))[0];
    assert!(distance(3.0).abs() < 1e-5);
    assert!((distance(-0.5) - 2.0).abs() < 1e-5);
}

#[test]
fn decoding_the_codes_is_all_the_decoder_needs() {
    let device = test_device();
    device.seed(5);
    let model = SeedConfig::nano().init(&device).unwrap();
    let images = random([2, 3, 64, 64], &device);
    let codes = model.encode(images.clone());
    assert_eq!(codes.dims(), [2, 32]);
    let embeddings = model.embed(images);
    let quantized = model.codes.quantize(embeddings);
    close(
        &numbers(model.codes.decode(codes.clone())),
        &numbers(model.codes.decode_vectors(quantized.vectors)),
    );
    let generation = model.generation_embeddings(codes.clone()).unwrap();
    assert_eq!(generation.dims(), [2, 16, 128]);
    assert!(
        model.image_embedding(codes).is_none(),
        "nano has no image head"
    );
}
