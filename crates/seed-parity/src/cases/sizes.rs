//! The configs of the tokenizer's models as a case gives them: from `config.json`, and where that is
//! silent from the shapes of the weights.

use seed_tokenizer::{
    BlockStackConfig, CausalQFormerConfig, QFormerConfig, QuantizerConfig, QueryAttention,
    ReverseQFormerConfig, TextSideConfig,
};
use seed_weights::{Checkpoint, WeightsError};
use serde_json::Value;

use crate::{case::Case, error::ParityError};

/// The Causal Q-Former whose keys are below `Qformer.bert`, with a text side if the config has a
/// vocabulary.
pub(super) fn causal_q_former(
    case: &Case<'_>,
    weights: &Checkpoint,
    attention: QueryAttention,
) -> Result<CausalQFormerConfig, ParityError> {
    let prefix = "Qformer.bert";
    // The released quantiser file has leftovers of a text side, and its config none.
    let text = if case.config.get("vocab_size").is_some() {
        Some(TextSideConfig {
            vocab_size: case.size("vocab_size")?,
            max_length: case.size("max_position_embeddings")?,
        })
    } else {
        None
    };
    Ok(CausalQFormerConfig {
        q_former: QFormerConfig {
            width: case.size("hidden_size")?,
            heads: case.size("num_attention_heads")?,
            depth: case.size("num_hidden_layers")?,
            mlp_hidden: case.size("intermediate_size")?,
            context_width: case.size("encoder_width")?,
            cross_attention_every: cross_attention_every(
                case,
                "cross_attention_freq",
                weights,
                prefix,
            ),
            dropout: 0.0,
            text,
        },
        queries: case.size("num_query_tokens")?,
        attention,
        embed_dim: dimension(weights, "vision_proj.weight", 0).ok(),
        language_head: false,
    })
}

/// A reverse Q-Former, its keys below `Reverse_Qformer.bert`.
pub(super) fn reverse_q_former(
    case: &Case<'_>,
    weights: &Checkpoint,
) -> Result<ReverseQFormerConfig, ParityError> {
    Ok(ReverseQFormerConfig {
        queries: dimension(weights, "reverse_tokens", 1)?,
        depth: case.size("reverse_layers")?,
        heads: case.size("num_attention_heads")?,
        mlp_hidden: case.size("intermediate_size")?,
        cross_attention_every: cross_attention_every(
            case,
            "reverse_cross_attention_freq",
            weights,
            "Reverse_Qformer.bert",
        ),
        dropout: 0.0,
    })
}

/// The blocks of each branch behind the codes.
pub(super) fn block_stack(
    case: &Case<'_>,
    weights: &Checkpoint,
) -> Result<BlockStackConfig, ParityError> {
    Ok(BlockStackConfig {
        depth: case.size("decoder_depth")?,
        heads: case.size("decoder_heads")?,
        mlp_hidden: dimension(weights, "blocks.0.mlp.fc1.weight", 0)?,
    })
}

/// The reference's quantiser.
pub(super) fn quantizer(case: &Case<'_>) -> Result<QuantizerConfig, ParityError> {
    let config =
        QuantizerConfig::reference(case.size("n_embed")?, case.size("codebook_embed_dim")?);
    let beta = case.config["beta"].as_f64().unwrap_or(config.beta);
    Ok(QuantizerConfig { beta, ..config })
}

/// One dimension of a tensor in a checkpoint.
pub(super) fn dimension(
    weights: &Checkpoint,
    key: &str,
    axis: usize,
) -> Result<usize, ParityError> {
    let size = weights.shape(key).and_then(|shape| shape.get(axis));
    size.copied().ok_or_else(|| {
        WeightsError::Missing {
            name: weights.name().to_owned(),
            keys: vec![key.to_owned()],
        }
        .into()
    })
}

/// Every how many layers a Q-Former has cross-attention: what the config says, or which layers of
/// the weights have it.
fn cross_attention_every(
    case: &Case<'_>,
    setting: &str,
    weights: &Checkpoint,
    prefix: &str,
) -> usize {
    if let Some(every) = case.config.get(setting).and_then(Value::as_u64) {
        return every as usize;
    }
    let key = |layer| format!("{prefix}.encoder.layer.{layer}.crossattention.self.query.weight");
    let layers = (0..).take_while(|layer| {
        let attention = format!("{prefix}.encoder.layer.{layer}.attention.self.query.weight");
        weights.shape(&attention).is_some()
    });
    let crossing: Vec<usize> = layers
        .filter(|layer| weights.shape(&key(*layer)).is_some())
        .collect();
    match crossing[..] {
        [] => 0,
        // Only the first: any number beyond the last layer.
        [_] => usize::MAX,
        [first, second, ..] => second - first,
    }
}
