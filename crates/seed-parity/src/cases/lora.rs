//! LoRA on OPT (`peft`): an adapter as PEFT wrote it, its gradients, three steps of AdamW, merging, and back
//! into PEFT's file.

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use seed_lm::{Adapter, Layout, Opt};
use seed_train::{AdamWConfig, clip_by_norm, global_norm};
use seed_weights::{Checkpoint, KeyMap};

use super::opt;
use crate::{
    case::Case,
    comparison::Rule,
    error::ParityError,
    outputs::{Recorder, numbers, parameter, scalar},
};

const BASE: &str = "../08_opt/prenorm";
const ADAPTER: &str = "adapter";

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let (mut base, adapter) = open(case, case.device)?;
    let inputs = case.weights("inputs")?;
    let mask = opt::ids(&inputs, "mask", case.device)?;
    let logits = |model: &Opt| -> Result<Tensor<3>, ParityError> {
        let tokens = opt::ids(&inputs, "ids", case.device)?;
        let states = model.forward(model.embed(tokens), &Layout::padded(mask.clone()));
        Ok(opt::without_padding(opt::logits(model, states), &mask))
    };
    let mut adapted = base.clone();
    adapter.clone().attach(adapted.linears_mut())?;
    out.tensor("outputs", "logits", logits(&adapted)?)?;

    adapter.clone().merge(base.linears_mut())?;
    out.tensor("outputs", "merged_logits", logits(&base)?)?;
    let merged = seed_weights::values(&base, &KeyMap::new(&[("", "model.decoder")]));
    for key in case.golden_keys("merged")? {
        out.data("merged", &key, parameter(&merged, "merged", &key)?)?;
    }

    written(case, out, &adapter)?;
    training(case, out, "a")?;
    training(case, out, "b")
}

/// The base model and the adapter for it.
fn open(case: &Case<'_>, device: &Device) -> Result<(Opt, Adapter), ParityError> {
    let mut base = opt::load(case, BASE, device)?;
    let adapter = Adapter::open(&case.path(ADAPTER), &base.linears_mut(), device)?;
    Ok((base, adapter))
}

/// What we write is what PEFT wrote.
fn written(case: &Case<'_>, out: &mut Recorder<'_>, adapter: &Adapter) -> Result<(), ParityError> {
    let folder = tempfile::tempdir().map_err(ParityError::io(&std::env::temp_dir()))?;
    adapter.save(folder.path(), "tiny-opt")?;
    let found = Checkpoint::open(folder.path().join(seed_lm::ADAPTER_FILE))?;
    let golden = Checkpoint::open(case.path(ADAPTER).join(seed_lm::ADAPTER_FILE))?;
    for key in golden.keys() {
        let name = format!("written/{key}");
        out.push(
            name,
            numbers(&found.float(key)?),
            numbers(&golden.float(key)?),
            Rule::Exact,
        );
    }
    Ok(())
}

/// Gradients of the first step, and the factors after all of them, under one of the two settings.
fn training(case: &Case<'_>, out: &mut Recorder<'_>, setting: &str) -> Result<(), ParityError> {
    let device = case.device.clone().autodiff();
    let (base, mut adapter) = open(case, &device)?;
    // Frozen: no gradient is asked for.
    let base = base.no_grad();
    let inputs = case.weights("inputs")?;
    let layout = Layout::padded(opt::ids(&inputs, "mask", &device)?);
    let labels = inputs.int("labels")?;
    let number = |name: &str| case.number(&format!("/adamw_{setting}/{name}"));
    let config = AdamWConfig {
        beta1: number("betas/0")?,
        beta2: number("betas/1")?,
        epsilon: number("eps")?,
        weight_decay: number("weight_decay")?,
        ..AdamWConfig::default()
    };
    let (rate, steps) = (number("lr")?, number("steps")? as usize);
    let clip = case.config[format!("adamw_{setting}")]["clip_norm"].as_f64();
    let loss = |adapter: &Adapter| -> Result<Tensor<1>, ParityError> {
        let mut model = base.clone();
        adapter.clone().attach(model.linears_mut())?;
        let tokens = opt::ids(&inputs, "ids", &device)?;
        Ok(opt::loss(&model, model.embed(tokens), &layout, &labels))
    };
    let mut optimizer = config.init(&adapter)?;
    let mut losses = Vec::new();
    for step in 0..steps {
        let loss = loss(&adapter)?;
        losses.push(scalar(loss.clone().inner()));
        let gradients = loss.backward();
        if step == 0 && setting == "a" {
            let found = seed_weights::gradients(&adapter, &gradients, &adapter.keys());
            out.gradients("grads", &found)?;
        }
        let mut gradients = GradientsParams::from_grads(gradients, &adapter);
        if let (Some(most), Some(norm)) = (clip, global_norm(&adapter, &gradients)) {
            gradients = clip_by_norm(&adapter, gradients, norm, most);
        }
        adapter = optimizer.step(rate, adapter, gradients);
    }
    losses.push(scalar(loss(&adapter)?.inner()));
    let golden = &case.expected[format!("losses_{setting}")];
    for (step, value) in losses.iter().enumerate() {
        let name = format!("losses_{setting}/{step}");
        out.scalar(&name, &golden[step], *value, 1e-5);
    }
    let stem = format!("params_after_3_steps_{setting}");
    let found = seed_weights::values(&adapter, &adapter.keys());
    // Adam divides rounding noise by its own size: single entries with next to no gradient wander.
    let rule = if setting == "a" {
        Rule::Mostly {
            close: 2e-5,
            far: steps as f64 * rate,
        }
    } else {
        Rule::Within(2e-5)
    };
    for key in case.golden_keys(&stem)? {
        out.data_by(rule, &stem, &key, parameter(&found, &stem, &key)?)?;
    }
    Ok(())
}
