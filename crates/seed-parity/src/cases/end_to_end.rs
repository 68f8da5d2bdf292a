//! SEED v1 from its three published files: pictures to codes to generation embeddings
//! (`visual_tokenizer.py`).

use burn::tensor::{Tensor, TensorData};
use seed_data::{EvalTransform, Normalize, PictureOptions, read_picture};
use seed_encoders::{EvaVit, EvaVitConfig};
use seed_tokenizer::{
    CausalQFormer, CodeAutoencoder, CodeAutoencoderConfig, QueryAttention, SeedTokenizer,
    TextHeadConfig, TokenEncoder, causal_q_former_keys, code_autoencoder_keys,
};
use seed_weights::KeyMap;

use super::{preprocessing::normalize, sizes};
use crate::{
    case::Case,
    error::ParityError,
    outputs::{Recorder, scalar},
};

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let (image, encoder, codes) = (tower(case)?, encoder(case)?, codes(case)?);
    let images = pictures(case)?;
    out.tensor("outputs", "image_tensor", images.clone())?;
    let tokens = image.forward(images.clone());
    out.tensor("outputs", "vit_output", tokens.clone())?;
    out.tensor(
        "outputs",
        "image_embeds",
        encoder.ln_vision.forward(tokens.clone()),
    )?;
    let embeddings = encoder.forward(tokens);
    out.tensor("outputs", "causal_embeddings", embeddings.clone())?;
    out.tensor(
        "outputs",
        "z",
        codes.encode_task_layer.forward(embeddings.clone()),
    )?;
    out.scalar(
        "temp",
        &case.expected["temp"],
        scalar(encoder.contrastive_heads().temp.val()),
        0.0,
    );

    // What a user calls, from here on: pictures to ids, and ids alone to everything else.
    let features = (
        encoder.image_feature(embeddings),
        text_feature(case, &encoder)?,
    );
    let tokenizer = SeedTokenizer {
        image,
        tokens: TokenEncoder::QFormer(encoder),
        codes,
    };
    let ids = tokenizer.encode(images);
    out.ids("outputs", "ids", ids.clone())?;
    let u = tokenizer.codes.decode(ids.clone());
    out.tensor("outputs", "u", u.clone())?;
    if let Some(head) = &tokenizer.codes.text_head {
        out.tensor("outputs", "text_memory", head.stack.forward(u))?;
    }
    if let Some(generation) = tokenizer.generation_embeddings(ids.clone()) {
        out.tensor("outputs", "generation_embeddings", generation)?;
    }
    let rebuilt = tokenizer.codes.reconstruct(ids);
    out.tensor("outputs", "recon_embeddings", rebuilt.clone())?;
    let (embedding, text) = features;
    let code = tokenizer.tokens.image_feature(rebuilt);
    out.tensor("outputs", "feature_embedding", embedding.clone())?;
    out.tensor("outputs", "feature_code", code.clone())?;
    if let Some(text) = text {
        out.tensor("outputs", "feature_text", text.clone())?;
        let cosines = |image: Tensor<2>| image.matmul(text.clone().transpose());
        out.tensor("outputs", "sim_embedding", cosines(embedding))?;
        out.tensor("outputs", "sim_code", cosines(code))?;
    }
    Ok(())
}

/// The name of one of the files, as `config.json` gives it or as the release has it.
fn stem<'a>(case: &'a Case<'_>, file: &str, default: &'a str) -> &'a str {
    let name = case.config["files"][file].as_str().unwrap_or(default);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn tower(case: &Case<'_>) -> Result<EvaVit, ParityError> {
    let weights = case.weights(stem(case, "vit", "eva_vit_g"))?;
    let config = EvaVitConfig {
        image_size: case.size("img_size")?,
        patch_size: case.size("patch_size")?,
        width: case.size("vit_width")?,
        depth: case.size("vit_depth")?,
        heads: case.size("vit_heads")?,
        mlp_hidden: sizes::dimension(&weights, "blocks.0.mlp.fc1.weight", 0)?,
    };
    let tower = config.init(case.device)?;
    Ok(seed_weights::load(tower, &weights, &KeyMap::identity())?.0)
}

fn encoder(case: &Case<'_>) -> Result<CausalQFormer, ParityError> {
    let weights = case.weights(stem(case, "stage1", "causal_qformer"))?;
    let encoder =
        sizes::causal_q_former(case, &weights, QueryAttention::Causal)?.init(case.device)?;
    Ok(seed_weights::load(encoder, &weights, &causal_q_former_keys())?.0)
}

fn codes(case: &Case<'_>) -> Result<CodeAutoencoder, ParityError> {
    let weights = case.weights(stem(case, "stage2", "seed_tokenizer"))?;
    let config = CodeAutoencoderConfig {
        width: case.size("hidden_size")?,
        positions: case.size("num_query_tokens")?,
        position_offsets: false,
        quantizer: sizes::quantizer(case)?,
        blocks: sizes::block_stack(case, &weights)?,
        text_head: Some(TextHeadConfig {
            reverse: sizes::reverse_q_former(case, &weights)?,
            target_width: case.size("text_features_dim")?,
        }),
        image_head: None,
    };
    let codes = config.init(case.device)?;
    Ok(seed_weights::load(codes, &weights, &code_autoencoder_keys())?.0)
}

/// The case's pictures, decoded, squashed and normalised: `[pictures, 3, size, size]`.
fn pictures(case: &Case<'_>) -> Result<Tensor<4>, ParityError> {
    let names = case.config["images"].as_array();
    let names = names.filter(|names| !names.is_empty());
    let names = names.ok_or_else(|| case.no_value("config.json", "images", "list of pictures"))?;
    let size = case.size("img_size")?;
    let transform = EvalTransform::new(size as u32);
    let normalize = normalize(case).unwrap_or_else(Normalize::clip);
    let mut values = Vec::new();
    for name in names {
        let name = name.as_str().unwrap_or_default();
        let picture = read_picture(&case.path(name), &PictureOptions::reference())?;
        values.extend(transform.tensor(&picture, &normalize));
    }
    let data = TensorData::new(values, [names.len(), 3, size, size]);
    Ok(Tensor::from_data(data, case.device))
}

fn text_feature(
    case: &Case<'_>,
    encoder: &CausalQFormer,
) -> Result<Option<Tensor<2>>, ParityError> {
    if !case.has_input("text_ids")? {
        return Ok(None);
    }
    let ids = case.texts(
        "text_ids",
        case.size("vocab_size")?,
        case.size("max_position_embeddings")?,
    )?;
    let mask = case.indices("text_mask", ids.dims(), 2)?;
    Ok(Some(encoder.text_feature(ids, mask)))
}
