//! The Causal Q-Former and the contrastive loss of stage I (`Qformer_casual.py`,
//! `blip2_qformer_casual.py`), and the bilateral ablation (`Qformer.py`) with the same weights.

use burn::tensor::{Device, Int, Tensor};
use seed_tokenizer::{
    CausalQFormer, LABEL_SMOOTHING, QueryAttention, causal_q_former_keys, contrast,
    diagonal_targets,
};

use super::sizes;
use crate::{
    case::{ANY, Case},
    error::ParityError,
    outputs::{Recorder, scalar},
};

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    layers(case, out)?;
    for (attention, stem, prefix) in [
        (QueryAttention::Causal, "outputs", ""),
        (QueryAttention::Bidirectional, "bilateral", "bilateral_"),
    ] {
        features(case, out, attention, stem)?;
        stage_one(case, out, attention, prefix)?;
    }
    Ok(())
}

fn model(
    case: &Case<'_>,
    attention: QueryAttention,
    device: &Device,
) -> Result<CausalQFormer, ParityError> {
    let weights = case.weights("weights")?;
    let model = sizes::causal_q_former(case, &weights, attention)?.init(device)?;
    Ok(seed_weights::load(model, &weights, &causal_q_former_keys())?.0)
}

fn image_tokens(case: &Case<'_>) -> Result<Tensor<3>, ParityError> {
    case.input("vit_output", [ANY, ANY, case.size("encoder_width")?])
}

/// Ids and mask of the texts, if the case has texts and a text side.
fn text(case: &Case<'_>) -> Result<Option<[Tensor<2, Int>; 2]>, ParityError> {
    if !case.has_input("text_ids")? || case.config.get("vocab_size").is_none() {
        return Ok(None);
    }
    let ids = case.texts(
        "text_ids",
        case.size("vocab_size")?,
        case.size("max_position_embeddings")?,
    )?;
    let mask = case.indices("text_mask", ids.dims(), 2)?;
    Ok(Some([ids, mask]))
}

/// The queries layer by layer, the text, and both in one sequence.
fn layers(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let model = model(case, QueryAttention::Causal, case.device)?;
    let image_tokens = image_tokens(case)?;
    let [batch, _, _] = image_tokens.dims();
    let [_, count, width] = model.query_tokens.dims();
    let context = model.ln_vision.forward(image_tokens);
    let queries = model.query_tokens.val().expand([batch, count, width]);
    let mut x = model.q_former.embed_queries(queries.clone());
    out.tensor("outputs", "query_hidden_0", x.clone())?;
    let bias = seed_nn::causal_bias(count, case.device);
    for (index, layer) in model.q_former.layers.iter().enumerate() {
        x = layer.forward(x, count, Some(&context), Some(bias.clone()));
        out.tensor("outputs", &format!("query_hidden_{}", index + 1), x.clone())?;
    }
    // Small enough to show the epsilon of the embedding norm.
    if case.has_input("small_queries")? {
        let small = case.input("small_queries", [ANY, ANY, width])?;
        let small = model.q_former.embed_queries(small);
        out.tensor("outputs", "embedding_norm_of_small_queries", small)?;
    }
    if let Some([ids, mask]) = text(case)? {
        let states = model.q_former.forward_text(ids.clone(), mask.clone());
        out.tensor("outputs", "text_hidden", states)?;
        if ids.dims()[0] == batch {
            let joint =
                model
                    .q_former
                    .forward_joint(queries, ids, mask, context, QueryAttention::Causal);
            out.tensor("outputs", "joint_query_text", joint)?;
        }
    }
    Ok(())
}

/// Features of images and texts, and the cosines between them.
fn features(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    attention: QueryAttention,
    stem: &str,
) -> Result<(), ParityError> {
    if case.find(stem)?.is_none() {
        return Ok(());
    }
    let model = model(case, attention, case.device)?;
    let embeddings = model.forward(image_tokens(case)?);
    out.tensor(stem, "query_output", embeddings.clone())?;
    let image = model.image_feature(embeddings.clone());
    out.tensor(stem, "image_feature", image.clone())?;
    let all = model.query_features(embeddings);
    out.tensor(stem, "image_features_all_queries", all.clone())?;
    if let Some([ids, mask]) = text(case)? {
        let text = model.text_feature(ids, mask);
        out.tensor(stem, "text_feature", text.clone())?;
        let last = image.matmul(text.clone().transpose());
        out.tensor(stem, "sim_last_query", last)?;
        let best = all
            .matmul(text.transpose().unsqueeze::<3>())
            .max_dim(1)
            .squeeze_dim::<2>(1);
        out.tensor(stem, "sim_max_query", best)?;
    }
    Ok(())
}

/// The contrastive loss and its gradients.
fn stage_one(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    attention: QueryAttention,
    prefix: &str,
) -> Result<(), ParityError> {
    let Some([ids, mask]) = text(case)? else {
        return Ok(());
    };
    let device = &case.device.clone().autodiff();
    let model = model(case, attention, device)?;
    let embeddings = model.forward(image_tokens(case)?.autodiff());
    let image = model.image_feature(embeddings);
    let text = model.text_feature(ids.to_device(device), mask.to_device(device));
    if image.dims() != text.dims() {
        return Ok(());
    }
    let targets = diagonal_targets(image.dims()[0], device);
    let smoothing = case.config["label_smoothing"]
        .as_f64()
        .unwrap_or(LABEL_SMOOTHING);
    let temperature = model.contrastive_heads().temp.val();
    let loss = contrast(image, text, temperature, targets, smoothing).loss;
    let golden = |name: &str| {
        (
            format!("{prefix}{name}"),
            &case.expected[format!("{prefix}{name}")],
        )
    };
    let (name, value) = golden("itc_loss");
    out.scalar(&name, value, scalar(loss.clone().inner()), 1e-4);
    let found = seed_weights::gradients(&model, &loss.backward(), &causal_q_former_keys());
    out.gradients(&format!("{prefix}grads"), &found)?;
    let (name, value) = golden("grad_temp");
    if let Some(gradient) = found.get("temp").and_then(|data| data.iter::<f64>().next()) {
        out.scalar(&name, value, gradient, 1e-4);
    }
    Ok(())
}
