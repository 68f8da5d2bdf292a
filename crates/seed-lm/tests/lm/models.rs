//! Small random models, and numbers held against each other.

use burn::{
    module::Param,
    tensor::{DType, Device, Distribution, Int, Tensor, TensorData},
};
use seed_lm::{
    Adapter, LoraConfig, Opt, OptConfig, SeedLm, SeedLmConfig, VisualHead, VisualVocabularyConfig,
};
use seed_weights::{About, Checkpoint, KeyMap};

pub(crate) const WORDS: usize = 30;
pub(crate) const CODES: usize = 7;
pub(crate) const PER_IMAGE: usize = 3;
pub(crate) const POSITIONS: usize = 48;

/// Norms first, and norms last with a projection on either side, as in the 350M model.
pub(crate) fn configs() -> [OptConfig; 2] {
    let pre = OptConfig::pre_norm(WORDS, 16, 2, 4).with_max_length(POSITIONS);
    let post = OptConfig {
        norm_first: false,
        embed_width: 12,
        ..pre.clone()
    };
    [pre, post]
}

pub(crate) fn pre_norm(device: &Device) -> Opt {
    device.seed(11);
    configs()[0].init(device).unwrap()
}

pub(crate) fn visual_config(opt: &OptConfig, head: VisualHead) -> SeedLmConfig {
    SeedLmConfig {
        opt: opt.clone(),
        visual: VisualVocabularyConfig {
            codes: CODES,
            vectors: seed_lm::CodeVectors::Codebook,
            code_width: 6,
            per_image: PER_IMAGE,
            head,
        },
    }
}

/// Words and codes, both random, the codebook too.
pub(crate) fn seed_lm(opt: &OptConfig, head: VisualHead, seed: u64, device: &Device) -> SeedLm {
    device.seed(seed);
    let config = visual_config(opt, head);
    let mut model = config.init(opt.init(device).unwrap(), device).unwrap();
    let codebook = random([CODES, 6], device);
    model.vocabulary = model.vocabulary.with_codebook(codebook).unwrap();
    model
}

pub(crate) fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// An adapter whose second factors are not zero.
pub(crate) fn adapter(model: &Opt, config: &LoraConfig, seed: u64, device: &Device) -> Adapter {
    let mut model = model.clone();
    device.seed(seed);
    let adapter = config.init(&model.linears_mut(), device).unwrap();
    adapter.attach(model.linears_mut()).unwrap();
    for (_, linear) in model.linears_mut() {
        if let Some(branch) = &mut linear.lora {
            let shape = branch.b.val().dims();
            branch.b = Param::from_tensor(random(shape, device) * 0.3);
        }
    }
    Adapter::detach(model.linears_mut(), config).unwrap()
}

/// Rows of ids as they are.
pub(crate) fn ids<const R: usize, const L: usize>(
    rows: [[i64; L]; R],
    device: &Device,
) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::from(rows), device)
}

pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The scores of the text vocabulary everywhere, row-major.
pub(crate) fn logits(model: &Opt, tokens: Tensor<2, Int>) -> Tensor<2> {
    let [batch, length] = tokens.dims();
    let layout = seed_lm::Layout::full(length, &tokens.device());
    let hidden = model.forward(model.embed(tokens), &layout);
    let width = hidden.dims()[2];
    model.logits(hidden.reshape([batch * length, width]))
}

/// The largest difference.
pub(crate) fn apart<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (numbers(a), numbers(b));
    let differences = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
    // A NaN is no small difference.
    differences.fold(0.0, |most, d| if d <= most { most } else { d })
}

#[track_caller]
pub(crate) fn assert_close<const D: usize>(a: Tensor<D>, b: Tensor<D>, most: f32) {
    let difference = apart(a, b);
    assert!(difference <= most, "{difference} apart");
}

/// The model as a checkpoint of transformers, in memory.
pub(crate) fn checkpoint(model: &Opt) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let keys = KeyMap::identity().nest("", "model.decoder", &[("", "")]);
    seed_weights::save(model, &path, &keys, DType::F32, About::default()).unwrap();
    Checkpoint::from_bytes("model.safetensors", std::fs::read(path).unwrap()).unwrap()
}
