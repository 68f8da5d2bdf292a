//! Adapters: on, off, merged, exchanged, trained, kept.

use burn::{
    module::Module,
    optim::{AdamWConfig, GradientsParams},
    tensor::{Device, Int, Tensor},
};
use seed_device::test_device;
use seed_lm::{Adapter, Adapters, LmError, LoraConfig, Opt};
use seed_nn::Linear;
use seed_weights::KeyMap;

use crate::models::{adapter, apart, assert_close, ids, logits, pre_norm};

const TOKENS: [[i64; 6]; 2] = [[2, 5, 9, 14, 3, 3], [2, 17, 4, 29, 6, 11]];

pub(crate) fn config() -> LoraConfig {
    LoraConfig {
        rank: 3,
        alpha: 5.0,
        dropout: 0.0,
        targets: ["q_proj", "v_proj", "fc2"].map(str::to_owned).to_vec(),
    }
}

fn tokens(device: &Device) -> Tensor<2, Int> {
    ids(TOKENS, device)
}

fn weights(layers: Vec<(String, &mut Linear)>) -> Vec<Tensor<2>> {
    let weight = |(_, linear): (String, &mut Linear)| linear.weight.val();
    layers.into_iter().map(weight).collect()
}

fn adapted(model: &Opt, adapter: &Adapter) -> Tensor<2> {
    let mut model = model.clone();
    adapter.clone().attach(model.linears_mut()).unwrap();
    logits(&model, tokens(&model.device()))
}

#[test]
fn a_new_adapter_adds_nothing_and_another_does() {
    let device = test_device();
    let mut model = pre_norm(&device);
    let plain = logits(&model, tokens(&device));
    let fresh = config().init(&model.linears_mut(), &device).unwrap();
    assert_eq!(fresh.names().len(), 6);
    assert_close(adapted(&model, &fresh), plain.clone(), 0.0);
    let other = adapter(&model, &config(), 21, &device);
    assert!(apart(adapted(&model, &other), plain) > 1e-2);
}

#[test]
fn merged_is_attached_and_unmerged_is_as_before() {
    let device = test_device();
    let mut model = pre_norm(&device);
    let adapter = adapter(&model, &config(), 22, &device);
    let expected = adapted(&model, &adapter);
    let before = weights(model.linears_mut());
    let plain = logits(&model, tokens(&device));

    adapter.clone().merge(model.linears_mut()).unwrap();
    assert!(
        model
            .linears_mut()
            .iter()
            .all(|(_, linear)| linear.lora.is_none())
    );
    assert_close(logits(&model, tokens(&device)), expected, 1e-4);
    adapter.unmerge(model.linears_mut()).unwrap();
    for (before, after) in before.into_iter().zip(weights(model.linears_mut())) {
        assert_close(before, after, 1e-6);
    }
    assert_close(logits(&model, tokens(&device)), plain, 1e-4);
}

#[test]
fn an_adapter_comes_back_from_its_files() {
    let device = test_device();
    let mut model = pre_norm(&device);
    let adapter = adapter(&model, &config(), 23, &device);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("new/adapter");
    adapter.save(&folder, "some/base").unwrap();
    let opened = Adapter::open(&folder, &model.linears_mut(), &device).unwrap();
    assert_eq!(opened.config(), adapter.config());
    assert_eq!(opened.names(), adapter.names());
    assert_close(adapted(&model, &opened), adapted(&model, &adapter), 0.0);
}

#[test]
fn adapters_are_switched_by_name() {
    let device = test_device();
    let mut model = pre_norm(&device);
    let plain = logits(&model, tokens(&device));
    let narrow = LoraConfig {
        rank: 1,
        targets: vec!["k_proj".to_owned()],
        ..config()
    };
    let (first, second) = (
        adapter(&model, &config(), 24, &device),
        adapter(&model, &narrow, 25, &device),
    );
    let expected = [adapted(&model, &first), adapted(&model, &second)];
    assert!(apart(expected[0].clone(), expected[1].clone()) > 1e-2);
    let mut adapters = Adapters::default();
    adapters.insert("words", first);
    adapters.insert("pictures", second);
    assert_eq!(adapters.names().collect::<Vec<_>>(), ["pictures", "words"]);
    for (name, expected) in [
        ("words", &expected[0]),
        ("pictures", &expected[1]),
        ("words", &expected[0]),
    ] {
        adapters.switch(name, model.linears_mut()).unwrap();
        assert_close(logits(&model, tokens(&device)), expected.clone(), 0.0);
    }
    let error = adapters.switch("sounds", model.linears_mut()).unwrap_err();
    assert!(matches!(error, LmError::NoAdapter { .. }));
    assert!(error.to_string().contains("pictures, words"), "{error}");
    Adapter::detach(model.linears_mut(), &config()).unwrap();
    assert!(Adapter::detach(model.linears_mut(), &config()).is_none());
    assert_close(logits(&model, tokens(&device)), plain, 0.0);
}

#[test]
fn training_an_adapter_leaves_the_base_as_it_is() {
    let device = test_device().autodiff();
    let base = pre_norm(&device).no_grad();
    let adapter = adapter(&base, &config(), 26, &device);
    let mut model = base.clone();
    adapter.attach(model.linears_mut()).unwrap();
    let before = seed_weights::values(&model, &KeyMap::identity());
    let targets = Tensor::<1, Int>::from_data([5, 9, 14, 3, 3, 2, 17, 4, 29, 6, 11, 2], &device);
    let mut optimizer = AdamWConfig::new().init();
    let mut losses = Vec::new();
    for _ in 0..5 {
        let scores = logits(&model, tokens(&device));
        let loss = seed_lm::log_likelihoods(scores, targets.clone())
            .mean()
            .neg();
        losses.push(loss.clone().into_scalar::<f32>());
        let gradients = loss.backward();
        let found = seed_weights::gradients(&model, &gradients, &KeyMap::identity());
        assert_eq!(found.len(), 12);
        assert!(found.keys().all(|key| key.contains(".lora.")), "{found:?}");
        let gradients = GradientsParams::from_grads(gradients, &model);
        assert_eq!(gradients.len(), 12);
        model = optimizer.step(1e-2, model, gradients);
    }
    assert!(losses[4] < losses[0] - 0.1, "{losses:?}");
    // Two moments of each factor, and of nothing else.
    assert_eq!(optimizer.to_record().len(), 24);
    let after = seed_weights::values(&model, &KeyMap::identity());
    assert_eq!(before.len(), after.len());
    for (key, before) in before {
        let same = before.as_bytes() == after[&key].as_bytes();
        assert_eq!(same, !key.contains(".lora."), "{key}");
    }
}
