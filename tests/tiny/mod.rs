//! Trainings small enough for tests.

#[allow(dead_code, reason = "not every test walks settings")]
pub(crate) mod leaves;
pub(crate) mod squares;

use std::sync::Arc;

use seed::{
    data::{PairSet, TrainTransform, train_wordpiece},
    device::{Device, seed},
    encoders::{ClipTextConfig, EndOfText, EvaVitConfig},
    nn::{Activation, LayerNormConfig, LinearConfig},
    recipes::{
        frozen::{FrozenParts, FrozenText, FrozenTower, ImageEmbedding},
        tokenizer::{StageOneStart, TokenizerTrainingConfig},
    },
    tokenizer::{SeedConfig, TokenEncoderConfig},
    train::{LrSchedule, TrainConfig},
    weights::{KeyMap, values},
};
use squares::Squares;

/// Width of the frozen image embedding.
pub(crate) const IMAGE_EMBEDDING: usize = 6;

/// Numbered squares.
pub(crate) fn squares(count: usize) -> Squares {
    Squares::new(count, |index| {
        vec![format!("square number {index}, of many, blue")]
    })
}

/// Settings of a tokenizer that trains in a moment.
pub(crate) fn tokenizer_config() -> TokenizerTrainingConfig {
    let mut model = SeedConfig::nano();
    model.image = EvaVitConfig {
        image_size: 16,
        patch_size: 8,
        width: 16,
        depth: 1,
        heads: 2,
        mlp_hidden: 16,
    };
    let TokenEncoderConfig::QFormer(tokens) = &mut model.tokens else {
        unreachable!("nano has a Q-Former")
    };
    tokens.queries = 4;
    tokens.embed_dim = Some(8);
    tokens.q_former.width = 16;
    tokens.q_former.heads = 2;
    tokens.q_former.mlp_hidden = 16;
    tokens.q_former.context_width = 16;
    let codes = &mut model.codes;
    codes.width = 16;
    codes.positions = 4;
    codes.quantizer.codes = 8;
    codes.quantizer.dim = 4;
    if let Some(revival) = &mut codes.quantizer.revival {
        revival.every = 2;
    }
    codes.blocks.heads = 2;
    if let Some(head) = &mut codes.text_head {
        head.target_width = 8;
        head.reverse.queries = 6;
        head.reverse.heads = 2;
    }
    let train = TrainConfig {
        steps: 5,
        batch_size: 4,
        accumulation: 2,
        schedule: LrSchedule::Cosine {
            peak: 1e-2,
            warmup_steps: 1,
            floor: 0.0,
        },
        checkpoint_every: 2,
        log_every: 1,
        ..TrainConfig::default()
    };
    TokenizerTrainingConfig {
        model,
        render_size: 20,
        styles: Vec::new(),
        // One batch of frozen outputs: a stop that is asked for before the first step comes after it.
        views: 1,
        transform: TrainTransform::new(16),
        text_length: 8,
        start: StageOneStart::Random,
        stage_one: train.clone(),
        stage_two: train,
        ..TokenizerTrainingConfig::nano().unwrap()
    }
}

/// Frozen parts that fit it, drawn from a seed.
pub(crate) fn frozen_parts(
    config: &TokenizerTrainingConfig,
    set: &Squares,
    device: &Device,
) -> FrozenParts {
    seed(device, 1);
    let captions = (0..set.len()).map(|index| set.captions(index)[0].clone());
    let tokenizer = train_wordpiece(captions, 64).unwrap();
    let text_config = ClipTextConfig {
        vocab_size: tokenizer.vocab_size(),
        max_length: 6,
        width: 8,
        depth: 1,
        heads: 2,
        mlp_hidden: 8,
        activation: Activation::Gelu,
        end_of_text: EndOfText::Token(tokenizer.special().end as usize),
    };
    let image = config.model.image.init(device).unwrap();
    let text = text_config.init(device).unwrap();
    let image_embedding = ImageEmbedding {
        norm: LayerNormConfig::new(config.model.image.width).init(device),
        projection: LinearConfig::new(config.model.image.width, IMAGE_EMBEDDING).init(device),
    };
    // Burn draws parameters when they are first used: draw them now, from the seed above.
    values(&image, &KeyMap::identity());
    values(&text, &KeyMap::identity());
    values(&image_embedding, &KeyMap::identity());
    FrozenParts {
        image: FrozenTower::new(image, config.model.image.clone()),
        image_embedding: Some(image_embedding),
        text: FrozenText::new(text, text_config, Arc::new(tokenizer)).unwrap(),
        q_former: None,
    }
}
