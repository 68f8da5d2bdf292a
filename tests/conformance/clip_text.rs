use seed_encoders::{ClipText, ClipTextConfig, EndOfText, clip_text_keys};
use seed_nn::Activation;
use serde_json::Value;

use crate::fixture::Case;

fn tower(case: &Case, folder: &str, config: &Value, end_of_text: EndOfText) -> ClipText {
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let config = ClipTextConfig {
        vocab_size: size("vocab_size"),
        max_length: size("max_position_embeddings"),
        width: size("hidden_size"),
        depth: size("num_hidden_layers"),
        heads: size("num_attention_heads"),
        mlp_hidden: size("intermediate_size"),
        activation: match config["hidden_act"].as_str() {
            Some("quick_gelu") => Activation::QuickGelu,
            _ => Activation::Gelu,
        },
        end_of_text,
    };
    let weights = case.file(&format!("{folder}/model"));
    let tower = config.init(&case.device).unwrap();
    seed_weights::load(tower, &weights, &clip_text_keys())
        .unwrap()
        .0
}

#[test]
fn the_published_l14_form_matches_layer_by_layer() {
    let case = Case::open("10_clip");
    let config = case.json("full_quick_gelu/config.json");
    let text = &config["text_config"];
    let tower = tower(&case, "full_quick_gelu", text, EndOfText::LargestId);
    let ids = case.int_input::<2>("inputs", "a_ids");
    let mut x = tower.embed(ids.clone());
    case.check("a_text", "hidden_0", x.clone());
    let bias = seed_nn::causal_bias(ids.dims()[1], &case.device);
    for (index, layer) in tower.layers.iter().enumerate() {
        x = layer.forward(x, bias.clone());
        case.check("a_text", &format!("hidden_{}", index + 1), x.clone());
    }
    let output = tower.forward(ids.clone(), None);
    case.check("a_text", "last_hidden_state", output.last_hidden_state);
    case.check("a_text", "pooled", output.pooled);
    let mask = case.int_input::<2>("inputs", "a_mask");
    let masked = tower.forward(ids, Some(mask)).last_hidden_state;
    case.check("a_text", "last_hidden_state_with_padding_mask", masked);
}

#[test]
fn the_gelu_form_pools_at_the_end_token() {
    let case = Case::open("10_clip");
    let config = case.json("text_gelu/config.json");
    let end = config["eos_token_id"].as_u64().unwrap() as usize;
    let tower = tower(&case, "text_gelu", &config, EndOfText::Token(end));
    let output = tower.forward(case.int_input::<2>("inputs", "b_ids"), None);
    case.check("b_text", "last_hidden_state", output.last_hidden_state);
    case.check("b_text", "pooled", output.pooled);
}
