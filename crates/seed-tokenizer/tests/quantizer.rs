//! How the codebook moves beside gradients: the moving average, the first batch, revival.

use burn::{
    module::Param,
    tensor::{Bool, Device, Distribution, Tensor, TensorData},
};
use seed_device::test_device;
use seed_tokenizer::{
    AfterStep, CodeDistance, CodebookInit, CodebookUpdate, QuantizerConfig, Revival,
    VectorQuantizer,
};

fn ema(codes: usize, dim: usize, decay: f64) -> QuantizerConfig {
    QuantizerConfig {
        update: CodebookUpdate::Ema { decay },
        ..QuantizerConfig::reference(codes, dim)
    }
}

/// A new quantiser with that codebook.
fn with_codebook<const K: usize, const D: usize>(
    config: &QuantizerConfig,
    codebook: [[f32; D]; K],
    device: &Device,
) -> VectorQuantizer {
    let mut quantizer = config.init(device).unwrap();
    let codebook = Tensor::<2>::from_data(codebook, device);
    quantizer.embedding.weight = Param::from_tensor(codebook).set_require_grad(false);
    quantizer
}

fn rows(tensor: Tensor<2>) -> Vec<Vec<f32>> {
    let width = tensor.dims()[1];
    let numbers: Vec<f32> = tensor.into_data().iter::<f32>().collect();
    numbers.chunks(width).map(<[f32]>::to_vec).collect()
}

fn codebook(quantizer: &VectorQuantizer) -> Vec<Vec<f32>> {
    rows(quantizer.embedding.weight.val().inner())
}

fn marked(replaced: Option<Tensor<2, Bool>>) -> Vec<bool> {
    let replaced = replaced.expect("codes were replaced");
    assert_eq!(replaced.dims()[1], 1);
    replaced.into_data().iter::<bool>().collect()
}

fn batch(vectors: &[[f32; 2]], device: &Device) -> Tensor<3> {
    let shape = [1, vectors.len(), 2];
    Tensor::from_data(TensorData::new(vectors.concat(), shape), device)
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let apart = (f64::from(*found) - expected).abs();
        assert!(apart <= 1e-5, "{found} where {expected} is expected");
    }
}

/// Counts start at 1 and sums at the codes themselves: a code that is chosen once moves by `1 − decay` over 1.
#[test]
fn counts_and_sums_agree_at_the_start() {
    let device = test_device();
    let quantizer = ema(8, 2, 0.9).init(&device).unwrap();
    let before = codebook(&quantizer);
    let far = batch(&[[1.0, 2.0]], &device);
    let chosen = quantizer.nearest(far.clone()).into_data();
    let chosen = chosen.iter::<i64>().next().unwrap() as usize;
    let AfterStep {
        quantizer,
        replaced,
    } = quantizer.after_step(far, 0);
    assert!(replaced.is_none());
    for (code, (before, after)) in before.iter().zip(codebook(&quantizer)).enumerate() {
        if code == chosen {
            let expected = [1.0, 2.0].iter().zip(before);
            let expected = expected.map(|(z, e)| 0.9 * f64::from(*e) + 0.1 * z);
            assert_close(&after, &expected.collect::<Vec<_>>());
        } else {
            assert_eq!(&after, before, "code {code} was not chosen");
        }
    }
}

/// The same after the first batch, and after a revival.
#[test]
fn counts_and_sums_agree_where_codes_were_put_elsewhere() {
    let device = test_device();
    device.seed(3);
    let config = QuantizerConfig {
        init: CodebookInit::FirstBatch,
        revival: Some(Revival {
            every: 2,
            threshold: 0.9,
            decay: 0.5,
        }),
        ..ema(2, 2, 0.75)
    };
    let quantizer = with_codebook(&config, [[50.0, 50.0], [60.0, 60.0]], &device);
    let AfterStep {
        quantizer,
        replaced,
    } = quantizer.after_step(batch(&[[1.0, 1.0]], &device), 0);
    assert_eq!(marked(replaced), [true, true]);
    assert_eq!(codebook(&quantizer), [[1.0, 1.0], [1.0, 1.0]]);

    // Code 0 is the first of two equally near ones; the count of the other falls to 0.75, and it comes back.
    let AfterStep {
        quantizer,
        replaced,
    } = quantizer.after_step(batch(&[[5.0, 1.0]], &device), 1);
    assert_eq!(marked(replaced), [false, true]);
    let found = codebook(&quantizer);
    assert_close(&found[0], &[0.75 + 0.25 * 5.0, 1.0]);
    assert_close(&found[1], &[5.0, 1.0]);

    // Its count is 1 again: it moves as far as a new code does.
    let AfterStep {
        quantizer,
        replaced,
    } = quantizer.after_step(batch(&[[9.0, 1.0]], &device), 2);
    assert!(replaced.is_none(), "revival is every second step");
    let found = codebook(&quantizer);
    assert_close(&found[1], &[0.75 * 5.0 + 0.25 * 9.0, 1.0]);
    assert_close(&found[0], &[2.0, 1.0]);
}

/// However many steps pass: its count goes towards 0, and the code stays where it is, to the bit.
#[test]
fn a_code_that_nothing_chooses_keeps_its_place() {
    let device = test_device();
    for distance in [CodeDistance::L2, CodeDistance::Cosine] {
        let config = QuantizerConfig {
            distance,
            ..ema(3, 2, 0.9)
        };
        let start = [[1.0, 0.1], [-0.3, 0.7], [0.2, -0.9]];
        let quantizer = with_codebook(&config, start, &device);
        // One of the two that are then left alone has been chosen before.
        let once = batch(&[[-0.6, 0.8]], &device);
        let mut quantizer = quantizer.after_step(once.clone(), 0).quantizer;
        let before = codebook(&quantizer);
        assert_ne!(before[1], start[1]);
        let near_the_first = batch(&[[1.0, 0.0], [1.0, 0.2]], &device);
        for step in 1..1500 {
            quantizer = quantizer.after_step(near_the_first.clone(), step).quantizer;
        }
        assert_eq!(codebook(&quantizer)[1..], before[1..]);
        let counts = rows(quantizer.running_counts.as_ref().unwrap().val());
        assert!(counts[1][0] < 1e-30 && counts[2][0] < 1e-30, "{counts:?}");
        // What chooses it after all that time is all that its average is of.
        let quantizer = quantizer.after_step(once, 1500).quantizer;
        assert_close(&codebook(&quantizer)[1], &[-0.6, 0.8]);
    }
}

/// Against the recurrences of VQ-VAE's appendix A.1, kept in 64 bits.
#[test]
fn chosen_codes_move_as_in_the_paper() {
    const DECAY: f64 = 0.8;
    let device = test_device();
    device.seed(17);
    let start = [[0.5, 0.5], [-0.5, 0.5], [0.0, -0.5]];
    let mut quantizer = with_codebook(&ema(3, 2, DECAY), start, &device);
    let mut counts = [1.0f64; 3];
    let mut sums = start.map(|code| code.map(f64::from));
    for step in 0..40 {
        let vectors = Tensor::<3>::random([2, 3, 2], Distribution::Normal(0.0, 1.0), &device);
        let chosen = quantizer.nearest(vectors.clone()).into_data();
        let flat = rows(vectors.clone().reshape([6, 2]));
        for running in counts.iter_mut().chain(sums.as_flattened_mut()) {
            *running *= DECAY;
        }
        for (code, vector) in chosen.iter::<i64>().zip(flat) {
            counts[code as usize] += 1.0 - DECAY;
            for (sum, x) in sums[code as usize].iter_mut().zip(vector) {
                *sum += (1.0 - DECAY) * f64::from(x);
            }
        }
        quantizer = quantizer.after_step(vectors, step).quantizer;
        for ((code, sum), count) in codebook(&quantizer).iter().zip(sums).zip(counts) {
            assert_close(code, &sum.map(|sum| sum / count));
        }
    }
}

#[test]
fn it_is_said_which_codes_were_replaced() {
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
    let start = [[0.0, 0.0], [90.0, 90.0], [91.0, 90.0], [92.0, 90.0]];
    let quantizer = with_codebook(&config, start, &device);
    let vectors = batch(&[[1.0, 1.0], [-1.0, 1.0]], &device);
    let AfterStep {
        quantizer,
        replaced,
    } = quantizer.after_step(vectors.clone(), 0);
    assert!(replaced.is_none());
    let AfterStep {
        quantizer,
        replaced,
    } = quantizer.after_step(vectors.clone(), 1);
    assert_eq!(marked(replaced), [false, true, true, true]);
    let found = codebook(&quantizer);
    assert_eq!(found[0], start[0]);
    for code in &found[1..] {
        assert!(code == &[1.0, 1.0] || code == &[-1.0, 1.0], "{code:?}");
    }

    let plain = QuantizerConfig::reference(4, 2);
    let AfterStep {
        quantizer,
        replaced,
    } = with_codebook(&plain, start, &device).after_step(vectors, 0);
    assert!(replaced.is_none());
    assert_eq!(codebook(&quantizer), start);
}
