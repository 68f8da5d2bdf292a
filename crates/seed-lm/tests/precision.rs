//! Weights kept in half precision and in 8 bits, and activations in half precision.
//!
//! A program of its own, one test at a time: a device has one random stream, and how near two precisions are depends on
//! the weights that are drawn from it.

#[expect(dead_code, reason = "the other tests use the rest")]
#[path = "lm/models.rs"]
mod models;

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};
use seed_device::{Precision, fused::keeps_eight_bit, left_out, test_device, test_precisions};
use seed_lm::{
    Adapter, Layout, LmError, LoraConfig, Opt, OptConfig, SeedLm, VisualHead,
    generation::{GenerationConfig, Prompt, generate},
};

use models::{adapter, apart, assert_close, checkpoint, configs, ids, logits, numbers, seed_lm};

const TOKENS: [[i64; 6]; 2] = [[2, 5, 9, 14, 3, 3], [2, 17, 4, 29, 6, 11]];

/// Nobody else draws from the device's stream while this is held.
fn alone() -> MutexGuard<'static, ()> {
    static STREAM: Mutex<()> = Mutex::new(());
    STREAM.lock().unwrap_or_else(PoisonError::into_inner)
}

fn largest(tensor: Tensor<2>) -> f32 {
    numbers(tensor)
        .into_iter()
        .fold(0.0, |most, value| most.max(value.abs()))
}

#[test]
fn half_weights_are_close_to_whole_ones() {
    let _alone = alone();
    let device = test_device();
    for config in configs() {
        device.seed(61);
        let model = config.init(&device).unwrap();
        let file = checkpoint(&model);
        let load = |dtype| config.init(&device).unwrap().load(&file, dtype).unwrap().0;
        let tokens = ids(TOKENS, &device);
        let expected = logits(&model, tokens.clone());
        assert_close(
            logits(&load(DType::F32), tokens.clone()),
            expected.clone(),
            0.0,
        );
        let scale = largest(expected.clone());
        // Their mantissas have 11 and 8 bits.
        for dtype in halves(&device) {
            let most = if dtype == DType::F16 { 4e-3 } else { 3e-2 };
            let mut half = load(dtype);
            for (name, linear) in half.linears_mut() {
                assert_eq!(linear.weight.val().dtype(), dtype, "{name}");
            }
            assert_eq!(half.embed_tokens.weight.val().dtype(), DType::F32);
            let difference = apart(logits(&half, tokens.clone()), expected.clone());
            assert!(
                difference > 0.0 && difference <= most * scale,
                "{difference} of {scale}"
            );
        }
    }
}

/// The halves that the device has.
fn halves(device: &Device) -> Vec<DType> {
    let has = test_precisions(device, &[Precision::F16, Precision::Bf16]);
    has.into_iter().map(Precision::dtype).collect()
}

/// What follows a prompt, read whole each time.
fn without_cache(model: &Opt, prompt: &[i64], new: usize) -> Vec<u32> {
    let mut all = prompt.to_vec();
    for _ in 0..new {
        let tokens = Tensor::<1, burn::tensor::Int>::from_data(all.as_slice(), &model.device());
        let scores = logits(model, tokens.unsqueeze());
        let last = scores.dims()[0] - 1;
        let id = scores
            .narrow(0, last, 1)
            .argmax(1)
            .into_data()
            .iter::<i64>()
            .next();
        all.push(id.unwrap());
    }
    all[prompt.len()..].iter().map(|id| *id as u32).collect()
}

#[test]
fn half_weights_generate_and_take_adapters() {
    let _alone = alone();
    let device = test_device();
    let config = &configs()[0];
    device.seed(62);
    let file = checkpoint(&config.init(&device).unwrap());
    for dtype in halves(&device) {
        let most = if dtype == DType::F16 { 1e-2 } else { 1e-1 };
        let (mut model, _) = config.init(&device).unwrap().load(&file, dtype).unwrap();
        let greedy = GenerationConfig::greedy(7, None);
        let found = generate(&model, Prompt::Ids(vec![vec![2, 5, 9]]), &greedy).unwrap();
        assert_eq!(found.best()[0], without_cache(&model, &[2, 5, 9], 7));

        let adapter = adapter(&model, &small_lora(), 63, &device);
        let plain = logits(&model, ids(TOKENS, &device));
        adapter.clone().attach(model.linears_mut()).unwrap();
        let attached = logits(&model, ids(TOKENS, &device));
        assert!(apart(plain, attached.clone()) > 1e-2);
        adapter.merge(model.linears_mut()).unwrap();
        for (_, linear) in model.linears_mut() {
            assert_eq!(linear.weight.val().dtype(), dtype);
        }
        // The merged weights are rounded once more.
        let merged = logits(&model, ids(TOKENS, &device));
        let difference = apart(merged, attached.clone()) / largest(attached);
        assert!(difference <= most, "{dtype:?}: {difference}");
    }
}

#[test]
fn eight_bits_are_close_and_take_adapters() {
    let _alone = alone();
    let device = test_device();
    // Whole blocks in every layer.
    let config = OptConfig::pre_norm(30, 64, 2, 4).with_max_length(48);
    device.seed(64);
    let whole = config.init(&device).unwrap();
    if !keeps_eight_bit(&device) {
        assert!(matches!(
            whole.in_eight_bit(),
            Err(LmError::NoEightBit { .. })
        ));
        left_out(&device, "weights in 8 bits");
        return;
    }
    let tokens = || ids(TOKENS, &device);
    let expected = logits(&whole, tokens());
    let mut model = whole.clone().in_eight_bit().unwrap();
    assert!(
        model
            .linears_mut()
            .iter()
            .all(|(_, linear)| linear.is_eight_bit())
    );
    let found = logits(&model, tokens());
    let difference = apart(found, expected.clone()) / largest(expected);
    assert!(difference > 0.0 && difference < 3e-2, "{difference}");

    // A prompt goes through the general product, single tokens through the one of few rows.
    let greedy = GenerationConfig::greedy(7, None);
    let found = generate(&model, Prompt::Ids(vec![vec![2, 5, 9, 14, 3, 7]]), &greedy).unwrap();
    assert_eq!(
        found.best()[0],
        without_cache(&model, &[2, 5, 9, 14, 3, 7], 7)
    );

    let adapter = adapter(&model, &small_lora(), 65, &device);
    let plain = logits(&model, tokens());
    adapter.clone().attach(model.linears_mut()).unwrap();
    assert!(apart(plain, logits(&model, tokens())) > 1e-2);
    let refused = adapter.merge(model.linears_mut()).unwrap_err();
    assert!(refused.to_string().contains("merge the adapter first"));
}

/// The loss of [`TOKENS`] with activations of the given type, and the adapter's gradients, which are f32.
fn loss_and_gradients(model: &SeedLm, adapter: &Adapter, activations: DType) -> (f32, Vec<f32>) {
    let mut model = model.clone();
    let device = model.opt.device();
    adapter.clone().attach(model.opt.linears_mut()).unwrap();
    let layout = Layout::full(6, &device);
    let embeddings = model.embed(ids(TOKENS, &device)).cast(activations);
    let places = Tensor::from_data([0i64, 1, 2, 3, 4, 6, 7, 8, 9, 10], &device);
    let targets = Tensor::from_data([5i64, 9, 14, 3, 3, 17, 4, 29, 6, 11], &device);
    let loss = model.log_likelihoods(embeddings, &layout, places, targets);
    assert_eq!(loss.dtype(), DType::F32);
    let loss = loss.mean().neg();
    let gradients = loss.backward();
    let mut found = Vec::new();
    for (_, linear) in model.opt.linears_mut() {
        if let Some(branch) = &linear.lora {
            for factor in [&branch.a, &branch.b] {
                let gradient = factor.val().grad(&gradients).unwrap();
                assert_eq!(gradient.dtype(), DType::F32);
                found.extend(numbers(gradient));
            }
        }
    }
    (loss.into_scalar(), found)
}

fn small_lora() -> LoraConfig {
    LoraConfig {
        rank: 2,
        dropout: 0.0,
        ..LoraConfig::default()
    }
}

/// In bf16 a frozen model gives nearly the losses of f32, and its adapter nearly the gradients.
#[test]
fn bf16_activations_train_f32_adapters() {
    let _alone = alone();
    let device = test_device().autodiff();
    if !halves(&device).contains(&DType::BF16) {
        return;
    }
    for config in configs() {
        let model = seed_lm(&config, VisualHead::Tied, 66, &device);
        let adapter = adapter(&model.opt, &small_lora(), 67, &device);
        let whole = loss_and_gradients(&model, &adapter, DType::F32);
        let half = loss_and_gradients(&model, &adapter, DType::BF16);
        let off = (whole.0 - half.0).abs() / whole.0;
        assert!(off > 0.0 && off < 1e-2, "{off}");
        // Of the whole gradient: ReLU lets other units through where rounding decides, which moves single elements far.
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let (a, b) = (whole.1, half.1);
        let cosine = product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt();
        assert!(cosine > 0.95, "{cosine}");
    }
}

/// A frozen base kept in half precision trains its adapter as the same numbers in f32 do.
#[test]
fn half_weights_train_adapters_as_the_same_numbers_in_f32() {
    let _alone = alone();
    let device = test_device().autodiff();
    for config in configs() {
        let mut model = seed_lm(&config, VisualHead::Tied, 68, &device);
        let adapter = adapter(&model.opt, &small_lora(), 69, &device);
        for dtype in halves(&device) {
            let init = || config.init(&device).unwrap();
            model.opt = init()
                .load(&checkpoint(&model.opt), dtype)
                .unwrap()
                .0
                .no_grad();
            let half = loss_and_gradients(&model, &adapter, DType::F32);
            let rounded = checkpoint(&model.opt);
            model.opt = init().load(&rounded, DType::F32).unwrap().0.no_grad();
            let whole = loss_and_gradients(&model, &adapter, DType::F32);
            assert!((half.0 - whole.0).abs() <= 1e-6 * whole.0, "{dtype:?}");
            let largest = whole.1.iter().fold(0.0f32, |most, g| most.max(g.abs()));
            assert!(largest > 0.0);
            for (half, whole) in half.1.iter().zip(&whole.1) {
                assert!(
                    (half - whole).abs() <= 1e-5 * largest,
                    "{dtype:?}: {half} {whole}"
                );
            }
        }
    }
}
