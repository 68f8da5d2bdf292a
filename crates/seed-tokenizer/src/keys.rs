//! Where each parameter of the tokenizer is in the published checkpoints (spec: the release's
//! `causal_qformer.pth`, `seed_tokenizer.pth` and `seed_quantizer.pt`).

use seed_weights::{KeyMap, KeyRule};

const Q_FORMER: &[KeyRule] = &[
    ("embeddings.norm", "embeddings.LayerNorm"),
    ("embeddings", "embeddings"),
    (
        "layers.{}.self_attention.output",
        "encoder.layer.{}.attention.output.dense",
    ),
    (
        "layers.{}.self_attention.norm",
        "encoder.layer.{}.attention.output.LayerNorm",
    ),
    (
        "layers.{}.self_attention",
        "encoder.layer.{}.attention.self",
    ),
    (
        "layers.{}.cross_attention.output",
        "encoder.layer.{}.crossattention.output.dense",
    ),
    (
        "layers.{}.cross_attention.norm",
        "encoder.layer.{}.crossattention.output.LayerNorm",
    ),
    (
        "layers.{}.cross_attention",
        "encoder.layer.{}.crossattention.self",
    ),
    (
        "layers.{}.query_mlp.fc1",
        "encoder.layer.{}.intermediate_query.dense",
    ),
    (
        "layers.{}.query_mlp.fc2",
        "encoder.layer.{}.output_query.dense",
    ),
    (
        "layers.{}.query_mlp.norm",
        "encoder.layer.{}.output_query.LayerNorm",
    ),
    (
        "layers.{}.text_mlp.fc1",
        "encoder.layer.{}.intermediate.dense",
    ),
    ("layers.{}.text_mlp.fc2", "encoder.layer.{}.output.dense"),
    (
        "layers.{}.text_mlp.norm",
        "encoder.layer.{}.output.LayerNorm",
    ),
];

const LANGUAGE_HEAD: &[KeyRule] = &[
    ("dense", "transform.dense"),
    ("norm", "transform.LayerNorm"),
    ("", ""),
];

const CODE_AUTOENCODER: &[KeyRule] = &[
    ("encode_task_layer.first", "encode_task_layer.0"),
    ("encode_task_layer.second", "encode_task_layer.2"),
    ("decode_task_layer.first", "decode_task_layer.0"),
    ("decode_task_layer.second", "decode_task_layer.2"),
    ("reconstruction", ""),
    ("text_head.stack.pos_embed", "pos_embed_text"),
    ("text_head.stack.blocks", "blocks_text"),
    ("text_head.reverse.tokens", "reverse_tokens"),
    ("text_head.distill_text_proj", "distill_text_proj"),
    ("image_head.stack.pos_embed", "pos_embed_image"),
    ("image_head.stack.blocks", "blocks_image"),
    ("image_head.reverse.tokens", "reverse_tokens"),
    ("image_head.image_down.0", "image_down.0"),
    ("image_head.image_down.1", "image_down.2"),
    ("image_head.image_down.2", "image_down.4"),
    ("image_head.distill_image_proj", "distill_image_proj"),
];

/// Keys of [`crate::CausalQFormer`], in the layout of `causal_qformer.pth`.
pub fn causal_q_former_keys() -> KeyMap {
    KeyMap::identity()
        .nest("q_former", "Qformer.bert", Q_FORMER)
        .nest("language_head", "Qformer.cls.predictions", LANGUAGE_HEAD)
        .nest("heads", "", &[("", "")])
}

/// Keys of [`crate::TokenEncoder`]: the Q-Former's are the reference's; the raster layout, which the
/// reference does not have, keeps our names.
pub fn token_encoder_keys() -> KeyMap {
    token_encoder_below(KeyMap::identity(), "")
}

/// Keys of [`crate::CodeAutoencoder`], in the layout of `seed_tokenizer.pth` (v1) and
/// `seed_quantizer.pt` (v2).
pub fn code_autoencoder_keys() -> KeyMap {
    code_autoencoder_below(KeyMap::identity(), "")
}

/// Keys of [`crate::SeedTokenizer`]: all published files as one.
pub fn tokenizer_keys() -> KeyMap {
    let keys = KeyMap::new(&[("image", "visual_encoder")]);
    let keys = token_encoder_below(keys, "tokens.");
    code_autoencoder_below(keys, "codes.").nest("codes", "", &[("", "")])
}

fn token_encoder_below(keys: KeyMap, ours: &str) -> KeyMap {
    let at = |path: &str| format!("{ours}{path}");
    keys.nest(&at("QFormer.q_former"), "Qformer.bert", Q_FORMER)
        .nest(
            &at("QFormer.language_head"),
            "Qformer.cls.predictions",
            LANGUAGE_HEAD,
        )
        .nest(&at("QFormer.heads"), "", &[("", "")])
        .nest(&at("QFormer"), "", &[("", "")])
        .nest(&at("Raster.heads"), "raster", &[("", "")])
        .nest(&at("Raster"), "raster", &[("", "")])
}

fn code_autoencoder_below(keys: KeyMap, ours: &str) -> KeyMap {
    let at = |path: &str| format!("{ours}{path}");
    keys.nest(ours.trim_end_matches('.'), "", CODE_AUTOENCODER)
        .nest(
            &at("text_head.reverse.q_former"),
            "Reverse_Qformer.bert",
            Q_FORMER,
        )
        .nest(
            &at("image_head.reverse.q_former"),
            "Reverse_Qformer.bert",
            Q_FORMER,
        )
}
