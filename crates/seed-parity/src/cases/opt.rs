//! OPT in both forms of its norms (`OPTForCausalLM` of transformers): states, loss, gradients, cached
//! decoding, generation, and each layout of weights.

use burn::{
    module::Module,
    tensor::{DType, Device, Int, Tensor, TensorData},
};
use seed_lm::{
    CausalLm, KvCache, Layout, LmError, Opt, OptConfig,
    generation::{Decoding, Generated, GenerationConfig, Prompt, VisualGrammar, generate},
    log_likelihoods, opt_keys,
};
use seed_nn::{Linear, LinearConfig};
use seed_weights::{Checkpoint, KeyMap};

use crate::{
    case::Case,
    comparison::Rule,
    error::ParityError,
    outputs::{Recorder, numbers, scalar},
};

const MODELS: [&str; 2] = ["prenorm", "postnorm"];
/// Ignored by the loss.
const IGNORED: i64 = -100;
/// Other files of the same weights, below the model's folder.
const LAYOUTS: [&str; 3] = [
    "sharded/model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model_no_model_prefix.bin",
];

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    for name in MODELS {
        if !case.path(name).is_dir() {
            continue;
        }
        let inputs = case.weights(&format!("inputs_{name}"))?;
        let model = load(case, name, case.device)?;
        states(case, out, name, &model, &inputs)?;
        gradients(case, out, name, &inputs)?;
        steps(out, name, &model, &inputs, case.device)?;
        layouts(case, out, name, &inputs)?;
    }
    if case.find("visual")?.is_some() {
        visual(case, out)?;
    }
    if case.find("generate")?.is_some() {
        generation(case, out)?;
    }
    Ok(())
}

pub(super) fn config(case: &Case<'_>, folder: &str) -> Result<OptConfig, ParityError> {
    let path = case.path(folder).join("config.json");
    let text = std::fs::read_to_string(&path).map_err(ParityError::io(&path))?;
    Ok(OptConfig::from_published(&text)?)
}

/// The model of a folder, as its `config.json` and `model.safetensors` have it.
pub(super) fn load(case: &Case<'_>, folder: &str, device: &Device) -> Result<Opt, ParityError> {
    let checkpoint = Checkpoint::open(case.path(folder).join("model.safetensors"))?;
    let model = config(case, folder)?.init(device)?;
    Ok(model.load(&checkpoint, DType::F32)?.0)
}

pub(super) fn ids(
    file: &Checkpoint,
    key: &str,
    device: &Device,
) -> Result<Tensor<2, Int>, ParityError> {
    Ok(Tensor::from_data(file.int(key)?, device))
}

/// Sets rows at padded positions to 0, as the golden values have them.
pub(super) fn without_padding(states: Tensor<3>, mask: &Tensor<2, Int>) -> Tensor<3> {
    let [batch, length, width] = states.dims();
    let kept = mask.clone().float().reshape([batch, length, 1]);
    states * kept.expand([batch, length, width])
}

/// Mean cross-entropy of the labels that are not ignored, each predicted by the token before it.
pub(super) fn loss(
    model: &Opt,
    embeddings: Tensor<3>,
    layout: &Layout,
    labels: &TensorData,
) -> Tensor<1> {
    let [_, length, width] = embeddings.dims();
    let device = embeddings.device();
    let (mut places, mut targets) = (Vec::new(), Vec::new());
    for (index, label) in labels.iter::<i64>().enumerate() {
        if label != IGNORED && index % length > 0 {
            places.push(index as i64 - 1);
            targets.push(label);
        }
    }
    let hidden = model.forward(embeddings, layout);
    let rows = hidden.dims()[0] * length;
    let select = |values: Vec<i64>| Tensor::<1, Int>::from_data(values.as_slice(), &device);
    let hidden = hidden.reshape([rows, width]).select(0, select(places));
    log_likelihoods(model.logits(hidden), select(targets))
        .mean()
        .neg()
}

pub(super) fn logits(model: &Opt, states: Tensor<3>) -> Tensor<3> {
    let [batch, length, width] = states.dims();
    let logits = model.logits(states.reshape([batch * length, width]));
    let vocabulary = logits.dims()[1];
    logits.reshape([batch, length, vocabulary])
}

fn states(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    name: &str,
    model: &Opt,
    inputs: &Checkpoint,
) -> Result<(), ParityError> {
    for side in ["right", "left"] {
        let tokens = ids(inputs, &format!("{side}_ids"), case.device)?;
        let mask = ids(inputs, &format!("{side}_mask"), case.device)?;
        let layout = Layout::padded(mask.clone());
        let states = model.hidden_states(model.embed(tokens.clone()), &layout);
        for (index, state) in states.into_iter().enumerate() {
            let state = without_padding(state, &mask);
            out.tensor(name, &format!("{side}_hidden_{index}"), state)?;
        }
        let logits = logits(model, model.forward(model.embed(tokens), &layout));
        let logits = without_padding(logits, &mask);
        out.tensor(name, &format!("{side}_logits"), logits)?;
    }
    Ok(())
}

fn gradients(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    name: &str,
    inputs: &Checkpoint,
) -> Result<(), ParityError> {
    let device = case.device.clone().autodiff();
    let checkpoint = Checkpoint::open(case.path(name).join("model.safetensors"))?;
    let model = load(case, name, &device)?;
    let tokens = ids(inputs, "right_ids", &device)?;
    let layout = Layout::padded(ids(inputs, "right_mask", &device)?);
    let loss = loss(&model, model.embed(tokens), &layout, &inputs.int("labels")?);
    let golden = format!("{name}_loss");
    out.scalar(
        &golden,
        &case.expected[&golden],
        scalar(loss.clone().inner()),
        1e-5,
    );
    let found = seed_weights::gradients(&model, &loss.backward(), &opt_keys(&checkpoint)?);
    out.gradients(&format!("{name}_grads"), &found)
}

/// Left-padded rows, all but the last two tokens at once, then one token a call, then four greedy tokens.
fn steps(
    out: &mut Recorder<'_>,
    name: &str,
    model: &Opt,
    inputs: &Checkpoint,
    device: &Device,
) -> Result<(), ParityError> {
    const GREEDY: usize = 4;
    let tokens = ids(inputs, "left_ids", device)?;
    let mask = ids(inputs, "left_mask", device)?;
    let [batch, length] = tokens.dims();
    let first = length - 2;
    let mut cache = KvCache::new(model.config(), batch, length + GREEDY, device)?;
    let mut rows = Vec::new();
    let start = tokens.clone().narrow(1, 0, first);
    let start_mask = mask.narrow(1, 0, first);
    rows.push(model.step(model.embed(start), Some(start_mask), &mut cache));
    for index in first..length + GREEDY {
        let token = if index < length {
            tokens.clone().narrow(1, index, 1)
        } else {
            rows[rows.len() - 1].clone().argmax(1)
        };
        rows.push(model.step(model.embed(token), None, &mut cache));
    }
    out.tensor(name, "step_logits", Tensor::stack::<3>(rows, 1))
}

/// The logits from every other layout of the same weights, held against those of `model.safetensors`.
fn layouts(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    name: &str,
    inputs: &Checkpoint,
) -> Result<(), ParityError> {
    let config = config(case, name)?;
    for layout in LAYOUTS {
        let path = case.path(name).join(layout);
        if !path.is_file() {
            continue;
        }
        let (model, _) = config
            .init(case.device)?
            .load(&Checkpoint::open(&path)?, DType::F32)?;
        let tokens = ids(inputs, "right_ids", case.device)?;
        let mask = ids(inputs, "right_mask", case.device)?;
        let states = model.forward(model.embed(tokens), &Layout::padded(mask.clone()));
        let logits = without_padding(logits(&model, states), &mask).into_data();
        let golden = case.checkpoint(name)?.float("right_logits")?;
        let tolerance = case
            .tolerance(&format!("{name}/right_logits"))
            .unwrap_or(2e-4);
        out.push(
            format!("{name}/{layout}"),
            numbers(&logits),
            numbers(&golden),
            Rule::Within(tolerance),
        );
    }
    Ok(())
}

/// What stands before the text: the opening mark, projected codes, the closing mark, the prompt's words.
fn visual_prefix(
    case: &Case<'_>,
    model: &Opt,
    fc: &Linear,
    inputs: &Checkpoint,
    device: &Device,
) -> Result<Tensor<3>, ParityError> {
    let codes = Tensor::<3>::from_data(inputs.float("codes")?, device);
    let batch = codes.dims()[0];
    let mark = |name: &str| -> Result<Tensor<3>, ParityError> {
        let id = case.number(&format!("/visual/{name}"))? as i64;
        Ok(model.embed(Tensor::full([batch, 1], id, device)))
    };
    let prompt = model.embed(ids(inputs, "caption_prompt", device)?);
    let parts = vec![mark("boi")?, fc.forward(codes), mark("eoi")?, prompt];
    Ok(Tensor::cat(parts, 1))
}

fn projection(inputs: &Checkpoint, width: usize, device: &Device) -> Result<Linear, ParityError> {
    let code_width = inputs.shape("codes").map_or(0, |shape| shape[2]);
    let fc = LinearConfig::new(code_width, width).init(device);
    let keys = KeyMap::identity().nest("", "fc", &[("", "")]);
    Ok(seed_weights::load(fc, inputs, &keys)?.0)
}

fn visual(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let inputs = case.weights("inputs_prenorm")?;
    let device = case.device.clone().autodiff();
    let model = load(case, "prenorm", &device)?;
    let fc = projection(&inputs, model.config().embed_width, &device)?;
    let prefix = visual_prefix(case, &model, &fc, &inputs, &device)?;
    let caption = ids(&inputs, "caption", &device)?;
    let before = prefix.dims()[1];
    let embeddings = Tensor::cat(vec![prefix, model.embed(caption.clone())], 1);
    out.tensor("visual", "inputs_embeds", embeddings.clone().inner())?;

    let batch = embeddings.dims()[0];
    let pad = i64::from(model.config().pad);
    let labels = Tensor::cat(
        vec![
            Tensor::full([batch, before], IGNORED, &device),
            caption
                .clone()
                .mask_fill(caption.clone().equal_elem(pad), IGNORED),
        ],
        1,
    );
    let real = caption.not_equal_elem(pad).int();
    let mask = Tensor::cat(vec![Tensor::ones([batch, before], &device), real], 1);
    let layout = Layout::padded(mask.clone());
    let found = logits(&model, model.forward(embeddings.clone(), &layout));
    let found = without_padding(found, &mask);
    out.tensor("visual", "logits", found.inner())?;
    let loss = loss(&model, embeddings, &layout, &labels.into_data());
    let golden = &case.expected["visual_loss"];
    out.scalar("visual_loss", golden, scalar(loss.clone().inner()), 1e-5);
    let gradients = loss.backward();
    let keys = KeyMap::identity().nest("", "grad_fc", &[("", "")]);
    for (key, data) in seed_weights::gradients(&fc, &gradients, &keys) {
        out.data("visual", &key, &data)?;
    }
    if let Some(gradient) = model.embed_tokens.weight.val().grad(&gradients) {
        out.tensor("visual", "grad_embed_tokens", gradient)?;
    }
    Ok(())
}

/// Every search over the same prompts.
fn generation(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let inputs = case.weights("inputs_prenorm")?;
    let model = load(case, "prenorm", case.device)?.valid();
    let mask: Vec<i64> = inputs.int("left_mask")?.iter::<i64>().collect();
    let tokens = inputs.int("left_ids")?;
    let length = tokens.shape()[1];
    let all: Vec<i64> = tokens.iter::<i64>().collect();
    let prompts: Vec<Vec<u32>> = all
        .chunks(length)
        .zip(mask.chunks(length))
        .map(|(row, mask)| {
            let real = row.iter().zip(mask).filter(|(_, mask)| **mask == 1);
            real.map(|(id, _)| *id as u32).collect()
        })
        .collect();
    let new = case.size("max_new_tokens")?;
    let beams = case.size("num_beams")?;
    let end = Some(case.size("eos")? as u32);
    let greedy = GenerationConfig::greedy(new, end);
    let beam = |length_penalty, early_stopping| GenerationConfig {
        decoding: Decoding::Beam {
            beams,
            length_penalty,
            early_stopping,
        },
        ..greedy.clone()
    };
    let run = |config: &GenerationConfig| generate(&model, Prompt::Ids(prompts.clone()), config);
    record(case, out, "greedy", new, run(&greedy))?;
    let longer = GenerationConfig {
        min_new_tokens: case.size("min_new_tokens")?,
        ..greedy.clone()
    };
    record(case, out, "greedy_min_new", new, run(&longer))?;
    for (name, penalty, early) in [
        ("beam5_lp0", 0.0, false),
        ("beam5_lp1", 1.0, false),
        ("beam5_lpminus1", -1.0, false),
        ("beam5_lp1_early", 1.0, true),
    ] {
        record(case, out, name, new, run(&beam(penalty, early)))?;
    }

    let visual = |name: &str| case.number(&format!("/visual/{name}"));
    let (first, count) = (visual("first")? as u32, visual("count")? as u32);
    let grammar = VisualGrammar {
        open: visual("boi")? as u32,
        close: visual("eoi")? as u32,
        codes: first..first + count,
        per_image: visual("n")? as usize,
    };
    let opened: Vec<Vec<u32>> = prompts
        .iter()
        .map(|prompt| [prompt.as_slice(), &[grammar.open]].concat())
        .collect();
    let image = grammar.per_image + 1;
    for (name, config) in [
        ("constrained_greedy", greedy.clone()),
        ("constrained_beam5", beam(1.0, false)),
    ] {
        let config = GenerationConfig {
            max_new_tokens: image,
            grammar: Some(grammar.clone()),
            ..config
        };
        let found = generate(&model, Prompt::Ids(opened.clone()), &config);
        record(case, out, name, image, found)?;
    }

    let fc = projection(&inputs, model.config().embed_width, case.device)?;
    let prefix = visual_prefix(case, &model, &fc, &inputs, case.device)?;
    for (name, config) in [
        ("embeds_greedy", greedy.clone()),
        ("embeds_beam5_lp0", beam(0.0, false)),
    ] {
        let found = generate(&model, Prompt::Embeddings(prefix.clone()), &config);
        record(case, out, name, new, found)?;
    }
    Ok(())
}

/// Ids, filled up with the padding id, and scores under the golden names.
fn record(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    name: &str,
    length: usize,
    found: Result<Generated, LmError>,
) -> Result<(), ParityError> {
    let found = found?;
    let golden = case.checkpoint("generate")?;
    let Some(shape) = golden.shape(name) else {
        return Ok(());
    };
    let (mut ids, mut scores) = (Vec::new(), Vec::new());
    let pad = case.size("pad")? as i64;
    for hypothesis in found.rows.iter().flatten() {
        let mut row: Vec<i64> = hypothesis.ids.iter().map(|id| i64::from(*id)).collect();
        row.resize(length, pad);
        ids.extend(row);
        scores.push(hypothesis.score as f32);
    }
    let device = case.device;
    if shape.len() == 2 {
        let shape = [found.rows.len(), length];
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), device);
        return out.ids("generate", name, ids);
    }
    let hypotheses = found.rows[0].len();
    let shape = [found.rows.len(), hypotheses];
    let all = TensorData::new(ids, [shape[0], hypotheses, length]);
    out.ids("generate", name, Tensor::<3, Int>::from_data(all, device))?;
    let scores = TensorData::new(scores, shape);
    out.data("generate", &format!("{name}_scores"), &scores)
}
