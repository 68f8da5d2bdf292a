//! The works on one device: what a child process does.
//!
//! Training steps go through [`Trainer`], the loop that trains the models: a step is timed from the
//! moment the trainer has its batch until it asks for the next one.

use std::{collections::BTreeMap, path::Path, time::Instant};

use seed::{
    device::Device,
    encoders::nano,
    recipes::{
        clip::{ClipBatch, ClipRecipe, ClipTrainee},
        tokenizer::{
            Positives, Similarity, StageOne, StageOneBatch, StageTwo, StageTwoBatch, StageTwoShapes,
        },
    },
    tokenizer::{
        CodeAutoencoder, SeedTokenizer, TokenEncoder, code_autoencoder_keys, token_encoder_keys,
    },
    train::{BoxError, MetricsLine, Recipe, TrainConfig, read_metrics},
    weights::KeyMap,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::exchange::{Batches, Spec, fetch};
use crate::{
    from_pixels::{FromPixels, stack},
    steps::{scratch_run, timed_steps},
};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Work {
    /// Step of the Causal Q-Former on cached image tokens.
    #[value(name = "stage-1")]
    StageOne,
    /// Step of the code autoencoder on cached causal embeddings.
    #[value(name = "stage-2")]
    StageTwo,
    /// The same step, image tower and Causal Q-Former run from pixels first.
    #[value(name = "stage-2-uncached")]
    Uncached,
    /// Pixels to codes.
    Encode,
    /// Step of the nano CLIP, patches dropped.
    Clip,
    /// The loaders against what the steps consume.
    Loader,
}

impl Work {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::StageOne => "stage-1",
            Self::StageTwo => "stage-2",
            Self::Uncached => "stage-2-uncached",
            Self::Encode => "encode",
            Self::Clip => "clip",
            Self::Loader => "loader",
        }
    }

    /// Pictures of one step.
    pub(crate) fn batch_size(self, spec: &Spec) -> usize {
        match self {
            Self::StageOne => spec.tokenizer.stage_one.batch_size,
            Self::Clip => spec.clip.train.batch_size,
            _ => spec.tokenizer.stage_two.batch_size,
        }
    }
}

/// What a competitor says: one line of JSON on its standard output.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    /// Loss terms and gradient norm of the logged steps.
    pub(crate) values: BTreeMap<String, Vec<f64>>,
    /// Codes of all pictures, with [`Work::Encode`].
    pub(crate) codes: Vec<i64>,
    /// Milliseconds of each measured step.
    pub(crate) ms: Vec<f64>,
    /// Peak memory before the first weight was read: the program and its libraries.
    pub(crate) base_mb: Option<f64>,
    /// Peak memory at the end.
    pub(crate) peak_mb: Option<f64>,
    /// With [`Work::Loader`], one line a loader.
    pub(crate) loaders: Vec<LoaderAnswer>,
}

/// What is known about a loader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LoaderAnswer {
    /// The work it feeds.
    pub(crate) work: String,
    /// Pairs a second, collated, with nothing else to do.
    pub(crate) pairs_per_second: f64,
    /// Share of a training's time that went by waiting for it.
    pub(crate) waited: f64,
}

/// Does one work.
pub(crate) fn run(
    work: Work,
    spec: &Spec,
    folder: &Path,
    device: &Device,
) -> Result<Answer, BoxError> {
    let inputs = Batches::open(folder)?;
    match work {
        Work::StageOne => {
            let (recipe, model) = stage_one(spec, folder, &device.clone().autodiff())?;
            let image_tokens = inputs.rows("image_tokens")?;
            let (captions, concepts) = (inputs.texts("")?, inputs.concepts("concepts")?);
            let batch = || StageOneBatch {
                image_tokens: image_tokens.clone(),
                captions: captions.clone(),
                concepts: concepts.clone(),
            };
            train(
                &recipe,
                model,
                &spec.tokenizer.stage_one,
                spec,
                folder,
                batch,
            )
        }
        Work::StageTwo => {
            let (recipe, model) = stage_two(spec, folder, &device.clone().autodiff())?;
            let (embeddings, text_states) =
                (inputs.rows("embeddings")?, inputs.rows("text_states")?);
            let batch = || StageTwoBatch {
                embeddings: embeddings.clone(),
                text_states: text_states.clone(),
                image_embeddings: Vec::new(),
            };
            train(
                &recipe,
                model,
                &spec.tokenizer.stage_two,
                spec,
                folder,
                batch,
            )
        }
        Work::Uncached => {
            let (stage_two, model) = stage_two(spec, folder, &device.clone().autodiff())?;
            let recipe = FromPixels {
                stage_two,
                image: nano::clip(device)?.clip.image,
                tokens: tokens(spec, folder, device)?,
                image_size: spec.tokenizer.model.image.image_size,
                device: device.clone(),
            };
            let (pictures, text_states) = (inputs.rows("pictures")?, inputs.rows("text_states")?);
            let batch = || (pictures.clone(), text_states.clone());
            train(
                &recipe,
                model,
                &spec.tokenizer.stage_two,
                spec,
                folder,
                batch,
            )
        }
        Work::Encode => encode(spec, folder, &inputs, device),
        Work::Clip => {
            let (recipe, model) = clip(spec, folder, &device.clone().autodiff())?;
            let images = inputs.rows("clip_images")?;
            let (captions, concepts) = (inputs.texts("clip_")?, inputs.concepts("clip_concepts")?);
            let batch = || ClipBatch {
                images: images.clone(),
                captions: captions.clone(),
                concepts: concepts.clone(),
            };
            train(&recipe, model, &spec.clip.train, spec, folder, batch)
        }
        Work::Loader => super::loaders::run(spec, folder, device),
    }
}

/// Stage I's encoder.
pub(crate) fn tokens(
    spec: &Spec,
    folder: &Path,
    device: &Device,
) -> Result<TokenEncoder, BoxError> {
    let model = spec.tokenizer.model.tokens.init(device)?;
    fetch(model, folder, "tokens", &token_encoder_keys())
}

/// Stage I on a training device.
pub(crate) fn stage_one(
    spec: &Spec,
    folder: &Path,
    device: &Device,
) -> Result<(StageOne, TokenEncoder), BoxError> {
    let image = &spec.tokenizer.model.image;
    let recipe = StageOne {
        image_tokens: [image.tokens(), image.width],
        identity: Value::Null,
        positives: Positives::Concept,
        similarity: Similarity::LastQuery,
        captioning: None,
        label_smoothing: spec.label_smoothing,
        device: device.clone(),
    };
    Ok((recipe, tokens(spec, folder, device)?))
}

/// Stage II on a training device.
pub(crate) fn stage_two(
    spec: &Spec,
    folder: &Path,
    device: &Device,
) -> Result<(StageTwo, CodeAutoencoder), BoxError> {
    let codes = &spec.tokenizer.model.codes;
    let head = codes.text_head.as_ref();
    let recipe = StageTwo::new(
        codes.clone(),
        StageTwoShapes {
            text: head.map(|head| [head.reverse.queries, head.target_width]),
            image: None,
        },
        Value::Null,
        spec.tokenizer.weights,
        device.clone(),
    );
    let model = fetch(
        codes.init(device)?,
        folder,
        "codes",
        &code_autoencoder_keys(),
    )?;
    Ok((recipe, model))
}

/// Keys of the towers as they are published, and ours of what training adds to them.
pub(crate) fn clip_trainee_keys() -> KeyMap {
    KeyMap::new(&[
        ("clip.image", "visual_encoder"),
        ("clip.text.layers", "text_model.encoder.layers"),
        ("clip.text", "text_model"),
        ("clip", ""),
    ])
}

/// The nano CLIP on a training device.
pub(crate) fn clip(
    spec: &Spec,
    folder: &Path,
    device: &Device,
) -> Result<(ClipRecipe, ClipTrainee), BoxError> {
    let recipe = spec.clip.recipe(spec.concepts, Value::Null, device);
    let model = fetch(recipe.init()?, folder, "clip", &clip_trainee_keys())?;
    Ok((recipe, model))
}

fn encode(
    spec: &Spec,
    folder: &Path,
    inputs: &Batches,
    device: &Device,
) -> Result<Answer, BoxError> {
    let codes = spec.tokenizer.model.codes.init(device)?;
    let tokenizer = SeedTokenizer {
        image: nano::clip(device)?.clip.image,
        tokens: tokens(spec, folder, device)?,
        codes: fetch(codes, folder, "codes", &code_autoencoder_keys())?,
    };
    let pictures = inputs.rows("pictures")?;
    let size = spec.tokenizer.model.image.image_size;
    let mut answer = Answer::default();
    for step in 0..spec.warmup + spec.steps {
        let begun = Instant::now();
        let codes = tokenizer.encode(stack(&pictures, size, device)).into_data();
        if step >= spec.warmup {
            answer.ms.push(1e3 * begun.elapsed().as_secs_f64());
        }
        answer.codes = codes.iter::<i64>().collect();
    }
    Ok(answer)
}

/// Trains on one batch again and again, and notes how long the trainer is busy with it.
fn train<R: Recipe>(
    recipe: &R,
    model: R::Model,
    config: &TrainConfig,
    spec: &Spec,
    folder: &Path,
    batch: impl Fn() -> R::Batch,
) -> Result<Answer, BoxError> {
    let (_scratch, mut run) = scratch_run(folder)?;
    let ms = timed_steps(recipe, model, config, &mut run, batch)?;
    let mut answer = Answer {
        ms: ms[spec.warmup as usize..].to_vec(),
        ..Answer::default()
    };
    for line in read_metrics(&run.metrics_path())? {
        if let MetricsLine::Train(step) = line {
            let named = step.parts.into_iter();
            for (name, value) in named.chain([("gradient_norm".to_owned(), step.gradient_norm)]) {
                answer.values.entry(name).or_default().push(value);
            }
        }
    }
    Ok(answer)
}
