//! CLIP's towers in published forms (`CLIPModel`, `CLIPTextModel` and `CLIPVisionModelWithProjection` of transformers).

use burn::tensor::Tensor;
use seed_encoders::{
    ClipText, ClipTextConfig, ClipVision, ClipVisionConfig, clip_text_keys, clip_vision_keys,
};
use seed_nn::{Linear, LinearConfig, l2_normalize};
use seed_weights::KeyMap;

use crate::{
    case::{ANY, Case},
    error::ParityError,
    outputs::Recorder,
};

/// Folder of a text tower, prefix of its inputs, and its golden file.
const TEXT: [(&str, &str, &str); 2] = [
    ("full_quick_gelu", "a", "a_text"),
    ("text_gelu", "b", "b_text"),
];
/// The same of the image towers.
const VISION: [(&str, &str, &str); 2] = [
    ("full_quick_gelu", "a", "a_vision"),
    ("vision_gelu", "b", "b_vision"),
];
/// Of the pair whose similarities are asked for.
const PAIR: &str = "full_quick_gelu";
/// Of a mean of cosines of features that are right to 1e-5.
const COSINE: f64 = 1e-5;

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let mut texts = None;
    for (folder, inputs, stem) in TEXT {
        if case.find(stem)?.is_some() {
            let pooled = text_states(case, out, folder, inputs, stem)?;
            if folder == PAIR {
                texts = Some(pooled);
            }
        }
    }
    for (folder, inputs, stem) in VISION {
        if case.find(stem)?.is_none() {
            continue;
        }
        let images = vision_states(case, out, folder, inputs, stem)?;
        if let Some(pooled) = texts.take_if(|_| folder == PAIR) {
            pair(case, out, images, pooled)?;
        }
    }
    Ok(())
}

/// States of a text tower; gives its pooled ones.
fn text_states(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    folder: &str,
    inputs: &str,
    stem: &str,
) -> Result<Tensor<2>, ParityError> {
    let (tower, sizes) = text_tower(case, folder)?;
    let ids = case.texts(&format!("{inputs}_ids"), sizes.vocab_size, sizes.max_length)?;
    let mut x = tower.embed(ids.clone());
    out.tensor(stem, "hidden_0", x.clone())?;
    let bias = seed_nn::causal_bias(ids.dims()[1], case.device);
    for (index, layer) in tower.layers.iter().enumerate() {
        x = layer.forward(x, Some(bias.clone()));
        out.tensor(stem, &format!("hidden_{}", index + 1), x.clone())?;
    }
    let output = tower.forward(ids.clone(), None);
    out.tensor(stem, "last_hidden_state", output.last_hidden_state)?;
    out.tensor(stem, "pooled", output.pooled.clone())?;
    let mask = format!("{inputs}_mask");
    if case.has_input(&mask)? {
        let mask = case.indices(&mask, ids.dims(), 2)?;
        let masked = tower.forward(ids, Some(mask)).last_hidden_state;
        out.tensor(stem, "last_hidden_state_with_padding_mask", masked)?;
    }
    Ok(output.pooled)
}

/// States of an image tower; gives its embeddings.
fn vision_states(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    folder: &str,
    inputs: &str,
    stem: &str,
) -> Result<Tensor<2>, ParityError> {
    let (tower, sizes) = vision_tower(case, folder)?;
    let side = sizes.image_size;
    let images = case.input::<4>(&format!("{inputs}_pixels"), [ANY, 3, side, side])?;
    let mut x = tower.embed(images.clone());
    out.tensor(stem, "hidden_0", x.clone())?;
    for (index, layer) in tower.layers.iter().enumerate() {
        x = layer.forward(x, None);
        out.tensor(stem, &format!("hidden_{}", index + 1), x.clone())?;
    }
    let output = tower.forward(images.clone());
    out.tensor(stem, "last_hidden_state", output.last_hidden_state)?;
    out.tensor(stem, "image_embeds", output.projected.clone())?;
    if folder == PAIR {
        let mirrored = tower.forward(images.flip([3])).projected;
        out.tensor(stem, "image_embeds_mirrored", mirrored.clone())?;
        let cosines = l2_normalize(output.projected.clone()) * l2_normalize(mirrored);
        let mean = 100.0 * f64::from(cosines.sum_dim(1).mean().into_scalar::<f32>());
        let name = "image_image_cosine_mean_x100";
        out.scalar(name, &case.expected[name], mean, COSINE);
    }
    Ok(output.projected)
}

/// What the pair says of its images and texts.
fn pair(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    images: Tensor<2>,
    pooled: Tensor<2>,
) -> Result<(), ParityError> {
    const STEM: &str = "a_text";
    let weights = case.weights(&format!("{PAIR}/model"))?;
    let (width, shared) = (pooled.dims()[1], images.dims()[1]);
    let projection: Linear = LinearConfig::new(width, shared)
        .with_bias(false)
        .init(case.device);
    let keys = KeyMap::identity().nest("", "text_projection", &[("", "")]);
    let (projection, _) = seed_weights::load(projection, &weights, &keys)?;
    let texts = projection.forward(pooled);
    out.tensor(STEM, "text_embeds", texts.clone())?;
    let scale = weights.float("logit_scale")?.iter::<f32>().sum::<f32>();
    let cosines = l2_normalize(images).matmul(l2_normalize(texts).transpose());
    out.tensor(STEM, "logits_per_image", cosines.mul_scalar(scale.exp()))
}

/// The text tower of a folder with `config.json` and `model.safetensors`, and its sizes.
pub(super) fn text_tower(
    case: &Case<'_>,
    folder: &str,
) -> Result<(ClipText, ClipTextConfig), ParityError> {
    let sizes = ClipTextConfig::from_transformers(&config(case, folder)?)?;
    let weights = case.weights(&format!("{folder}/model"))?;
    let (tower, _) = seed_weights::load(sizes.init(case.device)?, &weights, &clip_text_keys())?;
    Ok((tower, sizes))
}

fn vision_tower(
    case: &Case<'_>,
    folder: &str,
) -> Result<(ClipVision, ClipVisionConfig), ParityError> {
    let sizes = ClipVisionConfig::from_transformers(&config(case, folder)?)?;
    let weights = case.weights(&format!("{folder}/model"))?;
    let (tower, _) = seed_weights::load(sizes.init(case.device)?, &weights, &clip_vision_keys())?;
    Ok((tower, sizes))
}

fn config(case: &Case<'_>, folder: &str) -> Result<String, ParityError> {
    Ok(case.json(&format!("{folder}/config.json"))?.to_string())
}
