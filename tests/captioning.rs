//! BLIP-2's captioning: what a word may see, and that the loss teaches words.

use burn::{
    optim::GradientsParams,
    tensor::{Device, Distribution, Int, Tensor},
};
use seed::{
    device::test_device,
    tokenizer::{
        CausalQFormer, CausalQFormerConfig, QFormerConfig, QueryAttention, TextSideConfig,
        captioning_loss,
    },
    train::AdamWConfig,
};

const QUERIES: usize = 5;
const LENGTH: usize = 6;

fn model(attention: QueryAttention, device: &Device) -> CausalQFormer {
    let config = CausalQFormerConfig {
        q_former: QFormerConfig {
            width: 16,
            heads: 2,
            depth: 2,
            mlp_hidden: 32,
            context_width: 12,
            cross_attention_every: 1,
            dropout: 0.0,
            text: Some(TextSideConfig {
                vocab_size: 20,
                max_length: LENGTH,
            }),
        },
        queries: QUERIES,
        attention,
        embed_dim: None,
        language_head: true,
    };
    config.init(device).unwrap()
}

fn ids(ids: [i64; LENGTH], device: &Device) -> Tensor<2, Int> {
    Tensor::from_data([ids], device)
}

fn largest<const D: usize>(difference: Tensor<D>) -> f32 {
    difference.abs().max().into_scalar::<f32>()
}

#[test]
fn words_see_all_queries_and_no_later_word_and_queries_see_no_word() {
    let device = test_device();
    device.seed(4);
    let image = Tensor::random([1, 9, 12], Distribution::Normal(0.0, 1.0), &device);
    for attention in [QueryAttention::Causal, QueryAttention::Bidirectional] {
        let model = model(attention, &device);
        let places = Tensor::arange(0..LENGTH as i64, &device);
        let caption = |text| model.caption(image.clone(), ids(text, &device), places.clone());
        let (embeddings, scores) = caption([1, 2, 3, 4, 5, 6]);
        let (same, changed) = caption([1, 2, 3, 14, 15, 16]);
        let alone = model.forward(image.clone());
        assert!(largest(embeddings - alone.clone()) < 1e-5, "{attention:?}");
        assert!(largest(same - alone) < 1e-5, "{attention:?}");
        let moved = (changed - scores.clone()).abs().sum_dim(1);
        assert!(largest(moved.clone().narrow(0, 0, 3)) < 1e-4);
        for place in 3..LENGTH {
            assert!(largest(moved.clone().narrow(0, place, 1)) > 1e-2, "{place}");
        }
        // Another picture is other queries, and the first word hears of it.
        let text = ids([1, 2, 3, 4, 5, 6], &device);
        let (_, other) = model.caption(image.clone().neg(), text, places);
        assert!(largest((other - scores).narrow(0, 0, 1)) > 1e-3);
    }
}

#[test]
fn the_loss_is_the_smoothed_cross_entropy_of_pytorch() {
    let device = test_device();
    let scores = Tensor::<2>::from_data([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]], &device);
    let words = Tensor::<1, Int>::from_data([0i64, 1], &device);
    let loss = captioning_loss(scores, words, 0.1).into_scalar::<f32>();
    // torch.nn.functional.cross_entropy(…, label_smoothing=0.1)
    assert!((loss - 1.263_912).abs() < 1e-5, "{loss}");
}

#[test]
fn captions_are_learnt_from_pictures() {
    let device = test_device();
    device.seed(6);
    let image = Tensor::<3>::random([2, 9, 12], Distribution::Normal(0.0, 1.0), &device);
    let device = device.autodiff();
    let mut model = model(QueryAttention::Bidirectional, &device);
    let image = Tensor::from_data(image.into_data(), &device);
    // The same beginning: only the picture tells which word follows.
    let captions = Tensor::from_data([[1i64, 7, 2, 0, 0, 0], [1, 8, 2, 0, 0, 0]], &device);
    let places = Tensor::<1, Int>::from_data([0i64, 1, 6, 7], &device);
    let words = Tensor::<1, Int>::from_data([7i64, 2, 8, 2], &device);
    let mut optimizer = AdamWConfig::default().init(&model).unwrap();
    let mut losses = Vec::new();
    for _ in 0..60 {
        let (_, scores) = model.caption(image.clone(), captions.clone(), places.clone());
        let loss = captioning_loss(scores, words.clone(), 0.0);
        losses.push(loss.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(1e-2, model, gradients);
    }
    assert!(losses[0] > 2.0, "{}", losses[0]);
    assert!(losses[59] < 0.1, "{}", losses[59]);
}
