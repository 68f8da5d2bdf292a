//! CLIP's text tower in two published forms (`CLIPTextModel` of transformers).

use seed_encoders::{ClipText, ClipTextConfig, EndOfText, clip_text_keys};
use seed_nn::Activation;

use crate::{case::Case, error::ParityError, outputs::Recorder};

/// Folder of the model, prefix of its inputs, and the golden files of its two towers.
const MODELS: [(&str, &str, &str); 2] = [
    ("full_quick_gelu", "a", "a_text"),
    ("text_gelu", "b", "b_text"),
];
/// What the published L/14 config says and does not mean.
const HISTORIC_END: usize = 2;

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    for (folder, inputs, stem) in MODELS {
        if case.find(stem)?.is_some() {
            states(case, out, folder, inputs, stem)?;
        }
    }
    for vision in ["a_vision", "b_vision"] {
        if case.find(vision)?.is_some() {
            out.leave_out(
                format!("{vision}/*"),
                "CLIP's image tower is not built here yet",
            );
        }
    }
    Ok(())
}

fn states(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    folder: &str,
    inputs: &str,
    stem: &str,
) -> Result<(), ParityError> {
    let (tower, sizes) = text_tower(case, folder)?;
    let ids = case.texts(&format!("{inputs}_ids"), sizes.vocab_size, sizes.max_length)?;
    let mut x = tower.embed(ids.clone());
    out.tensor(stem, "hidden_0", x.clone())?;
    let bias = seed_nn::causal_bias(ids.dims()[1], case.device);
    for (index, layer) in tower.layers.iter().enumerate() {
        x = layer.forward(x, bias.clone());
        out.tensor(stem, &format!("hidden_{}", index + 1), x.clone())?;
    }
    let output = tower.forward(ids.clone(), None);
    out.tensor(stem, "last_hidden_state", output.last_hidden_state)?;
    out.tensor(stem, "pooled", output.pooled)?;
    let mask = format!("{inputs}_mask");
    if case.has_input(&mask)? {
        let mask = case.indices(&mask, ids.dims(), 2)?;
        let masked = tower.forward(ids, Some(mask)).last_hidden_state;
        out.tensor(stem, "last_hidden_state_with_padding_mask", masked)?;
    }
    for pair in ["text_embeds", "logits_per_image"] {
        if case.checkpoint(stem)?.shape(pair).is_some() {
            let reason = "the projections of CLIP's pair come with its image tower";
            out.leave_out(format!("{stem}/{pair}"), reason);
        }
    }
    Ok(())
}

/// The text tower of a folder with `config.json` and `model.safetensors`, and its sizes.
pub(super) fn text_tower(
    case: &Case<'_>,
    folder: &str,
) -> Result<(ClipText, ClipTextConfig), ParityError> {
    let file = format!("{folder}/config.json");
    let config = case.json(&file)?;
    let config = config.get("text_config").unwrap_or(&config);
    let size = |key: &str| case.size_of(config, &file, key);
    let activation = match config["hidden_act"].as_str() {
        Some("quick_gelu") => Activation::QuickGelu,
        Some("gelu") => Activation::Gelu,
        _ => return Err(case.no_value(&file, "hidden_act", "`gelu` or `quick_gelu`")),
    };
    let end_of_text = match size("eos_token_id")? {
        HISTORIC_END => EndOfText::LargestId,
        end => EndOfText::Token(end),
    };
    let sizes = ClipTextConfig {
        vocab_size: size("vocab_size")?,
        max_length: size("max_position_embeddings")?,
        width: size("hidden_size")?,
        depth: size("num_hidden_layers")?,
        heads: size("num_attention_heads")?,
        mlp_hidden: size("intermediate_size")?,
        activation,
        end_of_text,
    };
    let weights = case.weights(&format!("{folder}/model"))?;
    let (tower, _) = seed_weights::load(sizes.init(case.device)?, &weights, &clip_text_keys())?;
    Ok((tower, sizes))
}
