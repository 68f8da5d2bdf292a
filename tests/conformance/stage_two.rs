use std::collections::BTreeMap;

use burn::{
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use seed_tokenizer::{
    BlockStackConfig, CodeAutoencoder, CodeAutoencoderConfig, QuantizerConfig,
    ReverseQFormerConfig, StageTwoTargets, StageTwoWeights, TextHeadConfig, code_autoencoder_keys,
};
use seed_train::AdamWConfig;
use serde_json::Value;

use crate::fixture::{Case, check_scalar, scalar};

fn model(case: &Case, device: &Device) -> CodeAutoencoder {
    let width = case.size("hidden_size");
    let config = CodeAutoencoderConfig {
        width,
        positions: case.size("num_query_tokens"),
        quantizer: QuantizerConfig {
            beta: case.config["beta"].as_f64().unwrap(),
            ..QuantizerConfig::reference(case.size("n_embed"), case.size("codebook_embed_dim"))
        },
        blocks: BlockStackConfig {
            depth: case.size("decoder_depth"),
            heads: case.size("decoder_heads"),
            mlp_hidden: 4 * width,
        },
        text_head: Some(TextHeadConfig {
            reverse: ReverseQFormerConfig {
                queries: case.size("num_reverse_tokens"),
                depth: case.size("reverse_layers"),
                heads: case.size("num_attention_heads"),
                mlp_hidden: case.size("intermediate_size"),
                dropout: 0.0,
            },
            target_width: case.size("text_features_dim"),
        }),
        image_head: None,
    };
    let model = config.init(device).unwrap();
    let (model, report) =
        seed_weights::load(model, &case.file("weights"), &code_autoencoder_keys()).unwrap();
    let leftovers = report
        .unused
        .iter()
        .all(|key| key.ends_with("position_ids"));
    assert!(leftovers, "unused: {:?}", report.unused);
    model
}

/// One step's slice `[batch, ..]` of an input `[steps, batch, ..]`.
fn batch(case: &Case, key: &str, step: usize) -> Tensor<3> {
    case.input::<4>("inputs", key)
        .narrow(0, step, 1)
        .squeeze_dim(0)
}

#[test]
fn every_intermediate_matches() {
    let case = Case::open("04_seed_v1_stage2");
    let model = model(&case, &case.device);
    let embeddings = batch(&case, "causal_embeddings", 0);
    let z = model.encode_task_layer.forward(embeddings.clone());
    case.check("outputs", "z", z.clone());
    let quantized = model.quantize(embeddings.clone());
    case.check_ids("outputs", "ids", quantized.codes.clone());
    case.check_ids("outputs", "ids", model.encode(embeddings));
    case.check("outputs", "zq", quantized.vectors.clone());
    let u = model.decode(quantized.codes.clone());
    case.check("outputs", "u", u.clone());
    case.check("outputs", "recon", model.reconstruct(quantized.codes));
    let head = model.text_head.as_ref().unwrap();
    let memory = head.stack.forward(u.clone());
    case.check("outputs", "text_memory", memory.clone());
    case.check("outputs", "reverse_hidden", head.reverse.forward(memory));
    case.check("outputs", "generation_embeddings", head.forward(u));
    let small = case.input::<3>("inputs", "small_tokens");
    let block = &model.reconstruction.blocks[0];
    case.check("outputs", "blocks_0_of_small_tokens", block.forward(small));
}

#[test]
fn losses_and_gradients_match() {
    let case = Case::open("04_seed_v1_stage2");
    let expected = case.json("expected.json");
    let model = model(&case, &case.device.clone().autodiff());
    let losses = step_losses(&case, &model, 0);
    let parts = [
        ("vq_raw", &losses.quantization),
        ("recon_raw", &losses.reconstruction),
        ("text_raw", losses.text.as_ref().unwrap()),
        ("total", &losses.total),
    ];
    for (name, value) in parts {
        check_scalar(
            name,
            scalar(value.clone().inner()),
            &expected["losses"][name],
            1e-5,
        );
    }
    let gradients = losses.total.backward();
    let found = seed_weights::gradients(&model, &gradients, &code_autoencoder_keys());
    for key in case.file("grads").keys() {
        case.check_data("grads", key, &found[key]);
    }
    for (key, sum_of_squares) in expected["grads_sumsq_all"].as_object().unwrap() {
        // A bias on the keys has no gradient but rounding noise.
        if key.ends_with(".self.key.bias") {
            continue;
        }
        let squares: f64 = found[key].iter::<f64>().map(|value| value * value).sum();
        check_scalar(key, squares, sum_of_squares, 1e-3);
    }
}

#[test]
fn three_optimiser_steps_match() {
    let case = Case::open("04_seed_v1_stage2");
    let expected = case.json("expected.json");
    let mut model = model(&case, &case.device.clone().autodiff());
    let settings = &case.config["adamw"];
    let rate = settings["lr"].as_f64().unwrap();
    let config = AdamWConfig {
        weight_decay: 0.05,
        ..AdamWConfig::default()
    };
    let mut optimizer = config.init(&model).unwrap();
    let mut totals = Vec::new();
    for step in 0..3 {
        let losses = step_losses(&case, &model, step);
        totals.push(scalar(losses.total.clone().inner()));
        let gradients = GradientsParams::from_grads(losses.total.backward(), &model);
        model = optimizer.step(rate, model, gradients);
    }
    totals.push(scalar(step_losses(&case, &model, 2).total.inner()));
    let golden: Vec<Value> =
        serde_json::from_value(expected["total_loss_before_each_step_and_after"].clone())
            .unwrap_or_else(|_| panic!("{}", expected));
    for (found, golden) in totals.iter().zip(&golden) {
        check_scalar("total loss", *found, golden, 1e-4);
    }
    let found = seed_weights::values(&model, &code_autoencoder_keys());
    check_parameters(&case, &found);
}

fn step_losses(
    case: &Case,
    model: &CodeAutoencoder,
    step: usize,
) -> seed_tokenizer::StageTwoLosses {
    let targets = StageTwoTargets {
        text: Some(batch(case, "text_features", step).autodiff()),
        image: None,
    };
    let embeddings = batch(case, "causal_embeddings", step).autodiff();
    model.losses(embeddings, targets, &StageTwoWeights::default())
}

/// Adam divides rounding noise by its own size, so entries without a true gradient wander.
fn check_parameters(case: &Case, found: &BTreeMap<String, TensorData>) {
    let golden = case.file("params_after_3_steps");
    for key in golden.keys() {
        if key.ends_with("self.key.bias") || key.ends_with("attn.qkv.bias") {
            continue;
        }
        let expected: Vec<f64> = golden.float(key).unwrap().iter().collect();
        let found: Vec<f64> = found[key].iter().collect();
        let off: Vec<f64> = found
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .collect();
        let close = off.iter().filter(|off| **off <= 2e-5).count();
        assert!(
            off.iter().all(|off| *off <= 3e-3),
            "{key}: an entry is off by more than 3e-3"
        );
        if off.len() >= 50 {
            assert!(
                close * 100 >= off.len() * 99,
                "{key}: {close} of {} agree",
                off.len()
            );
        }
    }
}
