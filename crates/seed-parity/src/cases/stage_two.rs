//! Stage II of SEED v1: everything behind the causal embeddings, the losses and their gradients, steps of
//! AdamW, and the reference's schedule (`blip2_qformer_codebook_all_image.py`).

use std::collections::BTreeMap;

use burn::{
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use seed_tokenizer::{
    CodeAutoencoder, CodeAutoencoderConfig, CodebookUpdate, QuantizerConfig, StageTwoLosses,
    StageTwoTargets, StageTwoWeights, TextHeadConfig, code_autoencoder_keys,
};
use seed_train::{AdamWConfig, LrSchedule};

use super::sizes;
use crate::{
    case::{ANY, Case},
    comparison::{Rule, Values},
    error::ParityError,
    outputs::{Recorder, parameter, scalar},
};

/// The golden parameters: `params_after_3_steps`, of as many steps as the config says.
const AFTER_STEPS: &str = "params_after_";
/// A bias on the keys cancels in the softmax.
const KEY_BIAS: &str = "a bias on the keys has no gradient but rounding noise";

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    intermediates(case, out)?;
    if case.has_input("text_features")? {
        losses(case, out)?;
        if case.config.get("adamw").is_some() {
            steps(case, out)?;
        }
    }
    schedule(case, out)
}

fn model(case: &Case<'_>, device: &Device) -> Result<CodeAutoencoder, ParityError> {
    let weights = case.weights("weights")?;
    let legacy = case.config["legacy"].as_bool().unwrap_or(true);
    let config = CodeAutoencoderConfig {
        width: case.size("hidden_size")?,
        positions: case.size("num_query_tokens")?,
        position_offsets: false,
        quantizer: QuantizerConfig {
            update: if legacy {
                CodebookUpdate::Legacy
            } else {
                CodebookUpdate::Corrected
            },
            ..sizes::quantizer(case)?
        },
        blocks: sizes::block_stack(case, &weights)?,
        text_head: Some(TextHeadConfig {
            reverse: sizes::reverse_q_former(case, &weights)?,
            target_width: case.size("text_features_dim")?,
        }),
        image_head: None,
    };
    let model = config.init(device)?;
    Ok(seed_weights::load(model, &weights, &code_autoencoder_keys())?.0)
}

/// An input `[steps, batch, ..]`.
fn embeddings(case: &Case<'_>) -> Result<Tensor<4>, ParityError> {
    let sizes = [case.size("num_query_tokens")?, case.size("hidden_size")?];
    case.input("causal_embeddings", [ANY, ANY, sizes[0], sizes[1]])
}

fn batch(all: &Tensor<4>, step: usize) -> Tensor<3> {
    all.clone().narrow(0, step, 1).squeeze_dim(0)
}

fn intermediates(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let model = model(case, case.device)?;
    let embeddings = batch(&embeddings(case)?, 0);
    let z = model.encode_task_layer.forward(embeddings.clone());
    out.tensor("outputs", "z", z)?;
    let quantized = model.quantize(embeddings.clone());
    out.ids("outputs", "ids", model.encode(embeddings))?;
    out.tensor("outputs", "zq", quantized.vectors)?;
    let u = model.decode(quantized.codes.clone());
    out.tensor("outputs", "u", u.clone())?;
    out.tensor("outputs", "recon", model.reconstruct(quantized.codes))?;
    if let Some(head) = &model.text_head {
        let memory = head.stack.forward(u.clone());
        out.tensor("outputs", "text_memory", memory.clone())?;
        out.tensor("outputs", "reverse_hidden", head.reverse.forward(memory))?;
        out.tensor("outputs", "generation_embeddings", head.forward(u))?;
    }
    // Small enough to show the epsilon of the norms.
    if case.has_input("small_tokens")? {
        let small = case.input("small_tokens", [ANY, ANY, case.size("hidden_size")?])?;
        let small = model.reconstruction.blocks[0].forward(small);
        out.tensor("outputs", "blocks_0_of_small_tokens", small)?;
    }
    Ok(())
}

/// Inputs of all steps and the weights of the losses.
struct Training {
    embeddings: Tensor<4>,
    text: Tensor<4>,
    weights: StageTwoWeights,
}

impl Training {
    fn open(case: &Case<'_>) -> Result<Self, ParityError> {
        let embeddings = embeddings(case)?;
        let [steps, batch, ..] = embeddings.dims();
        let length = case.size("num_reverse_tokens")?;
        let text = [steps, batch, length, case.size("text_features_dim")?];
        let reference = StageTwoWeights::default();
        let weight = |name: &str, default| {
            case.config["loss_weights"][name]
                .as_f64()
                .unwrap_or(default)
        };
        Ok(Self {
            embeddings,
            text: case.input("text_features", text)?,
            weights: StageTwoWeights {
                quantization: weight("vq", reference.quantization),
                reconstruction: weight("recon", reference.reconstruction),
                text: weight("text", reference.text),
                image: reference.image,
            },
        })
    }

    fn batches(&self) -> usize {
        self.embeddings.dims()[0]
    }

    fn losses(&self, model: &CodeAutoencoder, step: usize) -> StageTwoLosses {
        let targets = StageTwoTargets {
            text: Some(batch(&self.text, step).autodiff()),
            image: None,
        };
        model.losses(
            batch(&self.embeddings, step).autodiff(),
            targets,
            &self.weights,
        )
    }
}

fn losses(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let model = model(case, &case.device.clone().autodiff())?;
    let training = Training::open(case)?;
    let losses = training.losses(&model, 0);
    let weights = &training.weights;
    let golden = &case.expected["losses"];
    let mut part = |name: &str, value: &Tensor<1>, weight: f64| {
        let value = scalar(value.clone().inner());
        let raw = format!("{name}_raw");
        out.scalar(&format!("losses/{raw}"), &golden[&raw], value, 1e-5);
        let weighted = format!("{name}_weighted");
        out.scalar(
            &format!("losses/{weighted}"),
            &golden[&weighted],
            value * weight,
            1e-5,
        );
    };
    part("vq", &losses.quantization, weights.quantization);
    part("recon", &losses.reconstruction, weights.reconstruction);
    if let Some(text) = &losses.text {
        part("text", text, weights.text);
    }
    let total = scalar(losses.total.clone().inner());
    out.scalar("losses/total", &golden["total"], total, 1e-5);

    let gradients = losses.total.backward();
    let found = seed_weights::gradients(&model, &gradients, &code_autoencoder_keys());
    out.gradients("grads", &found)?;
    for (key, sum_of_squares) in case.expected["grads_sumsq_all"]
        .as_object()
        .into_iter()
        .flatten()
    {
        if key.ends_with(".self.key.bias") {
            continue;
        }
        let gradient = parameter(&found, "expected/grads_sumsq_all", key)?;
        let squares: f64 = gradient.iter::<f64>().map(|value| value * value).sum();
        out.scalar(
            &format!("grads_sumsq_all/{key}"),
            sum_of_squares,
            squares,
            1e-3,
        );
    }
    Ok(())
}

fn steps(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let mut model = model(case, &case.device.clone().autodiff())?;
    let training = Training::open(case)?;
    let config = AdamWConfig {
        beta1: case.number("/adamw/betas/0")?,
        beta2: case.number("/adamw/betas/1")?,
        epsilon: case.number("/adamw/eps")?,
        weight_decay: case.number("/adamw/weight_decay")?,
        ..AdamWConfig::default()
    };
    let rate = case.number("/adamw/lr")?;
    let steps = (case.number("/adamw/steps")? as usize).min(training.batches());
    let mut optimizer = config.init(&model)?;
    let mut totals = Vec::new();
    for step in 0..steps {
        let losses = training.losses(&model, step);
        totals.push(scalar(losses.total.clone().inner()));
        let gradients = GradientsParams::from_grads(losses.total.backward(), &model);
        model = optimizer.step(rate, model, gradients);
    }
    if let Some(last) = steps.checked_sub(1) {
        totals.push(scalar(training.losses(&model, last).total.inner()));
    }
    let golden = &case.expected["total_loss_before_each_step_and_after"];
    for (step, total) in totals.iter().enumerate() {
        let name = format!("total_loss_before_each_step_and_after/{step}");
        out.scalar(&name, &golden[step], *total, 1e-4);
    }
    // Adam divides rounding noise by its own size: single entries with next to no true gradient
    // wander by as much as the rate of all steps.
    let rule = Rule::Mostly {
        close: 0.02 * rate,
        far: steps as f64 * rate,
    };
    let found = seed_weights::values(&model, &code_autoencoder_keys());
    for stem in case.golden_stems()? {
        if stem.starts_with(AFTER_STEPS) {
            parameters(case, out, &stem, rule, &found)?;
        }
    }
    Ok(())
}

fn parameters(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    stem: &str,
    rule: Rule,
    found: &BTreeMap<String, TensorData>,
) -> Result<(), ParityError> {
    for key in case.golden_keys(stem)? {
        let name = format!("{stem}/{key}");
        if key.ends_with(".position_ids") {
            out.leave_out(name, "a buffer, no parameter");
        } else if key.ends_with(".self.key.bias") {
            out.leave_out(name, KEY_BIAS);
        } else if key.ends_with("attn.qkv.bias") {
            let golden = case.checkpoint(stem)?.float(&key)?;
            let found = without_keys(parameter(found, stem, &key)?);
            out.push(name, found, without_keys(&golden), rule);
        } else {
            out.data_by(rule, stem, &key, parameter(found, stem, &key)?)?;
        }
    }
    Ok(())
}

/// The first and last third of a packed bias: of queries and values.
fn without_keys(bias: &TensorData) -> Values {
    let mut entries: Vec<f64> = bias.iter().collect();
    let width = entries.len() / 3;
    entries.drain(width..2 * width);
    Values::Numbers {
        shape: vec![entries.len()],
        entries,
    }
}

fn schedule(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let golden = "learning_rates_epoch_step_lr";
    let Some(rows) = case.expected[golden].as_array() else {
        return Ok(());
    };
    let number = |name: &str| case.number(&format!("/lr_schedule/{name}"));
    let whole = |name: &str| number(name).map(|number| number as u64);
    let (epochs, steps_per_epoch) = (whole("max_epoch")?, whole("iters_per_epoch")?.max(1));
    let schedule = LrSchedule::PerEpoch {
        peak: number("init_lr")?,
        warmup_start: number("warmup_lr")?,
        warmup_steps: whole("warmup_steps")?,
        floor: number("min_lr")?,
        epochs,
        steps_per_epoch,
    };
    for (index, row) in rows.iter().enumerate() {
        if let (Some(epoch), Some(step)) = (row[0].as_u64(), row[1].as_u64()) {
            let rate = schedule.rate(epoch * steps_per_epoch + step, epochs * steps_per_epoch);
            out.scalar(&format!("{golden}/{index}"), &row[2], rate, 1e-9);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_third_of_a_packed_bias_is_dropped() {
        let bias = TensorData::new(vec![1.0f32, 2.0, 9.0, 9.0, 3.0, 4.0], [6]);
        let Values::Numbers { shape, entries } = without_keys(&bias) else {
            panic!("numbers")
        };
        assert_eq!((shape, entries), (vec![4], vec![1.0, 2.0, 3.0, 4.0]));
    }
}
