//! The de-tokenizer of SEED v2 from its flat `.pt`, and the one-query head of the training code
//! (`qformer_quantizer.py`, `blip2_qformer_codebook_all_image.py`).

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use seed_nn::Linear;
use seed_tokenizer::{
    CodeAutoencoder, CodeAutoencoderConfig, ImageHeadConfig, ImageHeadForm, QueryAttention,
    ReverseQFormer, StageTwoTargets, StageTwoWeights, causal_q_former_keys, code_autoencoder_keys,
};
use serde_json::Value;

use super::sizes;
use crate::{
    case::{ANY, Case},
    error::ParityError,
    outputs::{Recorder, scalar},
};

const WEIGHTS: &str = "seed_quantizer";
/// What the one-query head has in the place of the released head's narrowing layers.
const QUERY_HEAD: &str = "query_head";

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let released = released(case, case.device)?;
    from_ids(case, out, &released)?;
    if case.has_input("vit_output")? {
        from_images(case, out, &released)?;
    }
    if case.has_input("image_features")? {
        let device = &case.device.clone().autodiff();
        losses(case, out, &self::released(case, device)?, "mlp")?;
        if let Some(model) = with_query_head(case, device)? {
            losses(case, out, &model, "query")?;
        }
    }
    Ok(())
}

fn config(case: &Case<'_>, form: ImageHeadForm) -> Result<CodeAutoencoderConfig, ParityError> {
    Ok(CodeAutoencoderConfig {
        width: case.size("hidden_size")?,
        positions: case.size("num_query_tokens")?,
        position_offsets: false,
        quantizer: sizes::quantizer(case)?,
        blocks: sizes::block_stack(case, &*case.weights(WEIGHTS)?)?,
        text_head: None,
        image_head: Some(ImageHeadConfig {
            target_width: case.size("image_features_dim")?,
            form,
        }),
    })
}

/// The released form: narrowing layers.
fn released(case: &Case<'_>, device: &Device) -> Result<CodeAutoencoder, ParityError> {
    let widths = case.config["image_down"].as_array();
    let widths = widths.and_then(|widths| {
        let widths = widths.iter().map(|width| Some(width.as_u64()? as usize));
        widths.collect::<Option<Vec<usize>>>()?.try_into().ok()
    });
    let widths =
        widths.ok_or_else(|| case.no_value("config.json", "image_down", "three widths"))?;
    let model = config(case, ImageHeadForm::Mlp { widths })?.init(device)?;
    let weights = case.weights(WEIGHTS)?;
    Ok(seed_weights::load(model, &weights, &code_autoencoder_keys())?.0)
}

/// The part of the one-query head that has a file of its own, at its place in the model.
#[derive(Module, Debug)]
struct QueryHead {
    image_head: QueryHeadParts,
}

#[derive(Module, Debug)]
struct QueryHeadParts {
    reverse: ReverseQFormer,
    distill_image_proj: Linear,
}

/// The released weights with the one-query head, if the case has one.
fn with_query_head(
    case: &Case<'_>,
    device: &Device,
) -> Result<Option<CodeAutoencoder>, ParityError> {
    // `query_head.safetensors` has the golden output, `query_head.pt` the weights.
    let path = ["pt", "pth"].map(|ending| case.path(&format!("{QUERY_HEAD}.{ending}")));
    let Some(path) = path.into_iter().find(|path| path.is_file()) else {
        return Ok(None);
    };
    let weights = seed_weights::Checkpoint::open(path)?;
    let reverse = sizes::reverse_q_former(case, &weights)?;
    let fresh = config(case, ImageHeadForm::Query { reverse })?.init(device)?;
    let mut model = released(case, device)?;
    if let (Some(head), Some(fresh)) = (model.image_head.as_mut(), fresh.image_head)
        && let Some(reverse) = fresh.reverse
    {
        let parts = QueryHead {
            image_head: QueryHeadParts {
                reverse,
                distill_image_proj: fresh.distill_image_proj,
            },
        };
        let (parts, _) = seed_weights::load(parts, &weights, &code_autoencoder_keys())?;
        head.image_down = None;
        head.reverse = Some(parts.image_head.reverse);
        head.distill_image_proj = parts.image_head.distill_image_proj;
    }
    Ok(Some(model))
}

fn from_ids(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    released: &CodeAutoencoder,
) -> Result<(), ParityError> {
    let shape = [ANY, case.size("num_query_tokens")?];
    let u = released.decode(case.indices("ids", shape, case.size("n_embed")?)?);
    out.tensor("outputs", "u", u.clone())?;
    if let Some(head) = &released.image_head {
        let memory = head.stack.forward(u.clone());
        out.tensor("outputs", "blocks_image", memory.clone())?;
        out.tensor("outputs", "image_down", head.narrow(memory))?;
        out.tensor("outputs", "image_embedding", head.forward(u.clone()))?;
    }
    let query = with_query_head(case, case.device)?;
    if let Some(head) = query.and_then(|model| model.image_head) {
        out.tensor(QUERY_HEAD, "image_embedding", head.forward(u))?;
    }
    Ok(())
}

/// Image tokens to codes with the encoder of the same file, and back.
fn from_images(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    released: &CodeAutoencoder,
) -> Result<(), ParityError> {
    let weights = case.weights(WEIGHTS)?;
    let encoder =
        sizes::causal_q_former(case, &weights, QueryAttention::Causal)?.init(case.device)?;
    let (encoder, _) = seed_weights::load(encoder, &weights, &causal_q_former_keys())?;
    let tokens = case.input("vit_output", [ANY, ANY, case.size("encoder_width")?])?;
    let ids = released.encode(encoder.forward(tokens));
    out.ids("outputs", "encode_ids", ids.clone())?;
    let u = released.decode(ids);
    out.tensor("outputs", "encode_u", u.clone())?;
    if let Some(head) = &released.image_head {
        out.tensor("outputs", "roundtrip_embedding", head.forward(u))?;
    }
    Ok(())
}

fn losses(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    model: &CodeAutoencoder,
    head: &str,
) -> Result<(), ParityError> {
    let reference = StageTwoWeights::default();
    let weight = |name: &str, default| {
        case.config["loss_weights"][name]
            .as_f64()
            .unwrap_or(default)
    };
    let weights = StageTwoWeights {
        quantization: weight("vq", reference.quantization),
        reconstruction: weight("recon", reference.reconstruction),
        image: weight("image", reference.image),
        text: reference.text,
    };
    let [positions, width] = [case.size("num_query_tokens")?, case.size("hidden_size")?];
    let embeddings = case.input("causal_embeddings", [ANY, positions, width])?;
    let target = [embeddings.dims()[0], case.size("image_features_dim")?];
    let targets = StageTwoTargets {
        text: None,
        image: Some(Tensor::autodiff(case.input("image_features", target)?)),
    };
    let losses = model.losses(embeddings.autodiff(), targets, &weights);
    let section = format!("{head}_losses");
    let golden: &Value = &case.expected[&section];
    let mut part = |name: &str, value: &Tensor<1>, weight: f64| {
        let value = weight * scalar(value.clone().inner());
        out.scalar(&format!("{section}/{name}"), &golden[name], value, 1e-5);
    };
    part("vq_weighted", &losses.quantization, weights.quantization);
    part(
        "recon_weighted",
        &losses.reconstruction,
        weights.reconstruction,
    );
    if let Some(image) = &losses.image {
        part("image_weighted", image, weights.image);
    }
    part("total", &losses.total, 1.0);
    let gradients = losses.total.backward();
    let found = seed_weights::gradients(model, &gradients, &code_autoencoder_keys());
    out.gradients(&format!("{head}_grads"), &found)
}
