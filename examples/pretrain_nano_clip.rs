//! Trains the frozen parts of the nano models: an EVA image tower and a CLIP text tower, in contrast,
//! on the training split of the embedded corpus.
//!
//! ```text
//! cargo run --release --example pretrain_nano_clip -- --device libtorch
//! ```

use std::{error::Error, path::PathBuf, sync::Arc};

use burn::module::Module;
use clap::Parser;
use seed::{
    data::{Cache, Corpus},
    device::{DeviceSpec, Precision},
    recipes::{
        clip::{ClipPretraining, ClipPretrainingConfig, train_tokenizer_of},
        stop_on_ctrl_c,
    },
    train::{Existing, Outcome, ProgressMode, load_config},
};

/// Tensors of a step are freed and asked for again at the next: an allocator that keeps its pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains the nano CLIP.
#[derive(Parser)]
struct Arguments {
    /// Settings.
    #[arg(long, default_value = "experiments/nano-clip/config.toml")]
    config: PathBuf,
    /// flex | ndarray | libtorch[:cuda:N] | cuda:N | wgpu
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Name of the run's folder below `runs/`.
    #[arg(long, default_value = "nano-clip")]
    name: String,
    /// Go on where the run stopped.
    #[arg(long)]
    resume: bool,
    /// Optimiser steps, instead of the config's.
    #[arg(long)]
    steps: Option<u64>,
    /// f32 | bf16: type of the activations, instead of the config's; bf16 is faster where the processor multiplies it.
    #[arg(long)]
    activations: Option<Precision>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let device = arguments.device.open()?;
    let mut config: ClipPretrainingConfig = load_config(&arguments.config)?;
    if let Some(steps) = arguments.steps {
        config.train.steps = steps;
    }
    if let Some(activations) = arguments.activations {
        config.activations = activations;
    }
    let corpus = Corpus::embedded()?;
    let cache = Cache::open(Cache::default_dir()?, Cache::limit_from(None)?)?;
    let tokenizer = train_tokenizer_of(&corpus, config.clip.text.vocab_size)?;
    let training = ClipPretraining {
        config: &config,
        corpus: &corpus,
        tokenizer: Arc::new(tokenizer),
        cache: &cache,
        device: &device,
    };
    let existing = Existing::asked(arguments.resume, false);
    let device = arguments.device.to_string();
    let mut run = training.open_run("runs".as_ref(), &arguments.name, &device, existing)?;
    let trained = training.train(&mut run, ProgressMode::Auto, stop_on_ctrl_c()?)?;
    if let Outcome::Interrupted { step } = trained.outcome {
        println!("stopped after step {step}; go on with --resume");
    }
    let path = run.path().join("clip.safetensors");
    training.save(trained.model.clip.clone(), &path)?;
    println!("weights: {}", path.display());
    let clip = trained.model.clip.valid();
    for (name, set) in [
        ("validation vendor, seen concepts", corpus.validation_seen()),
        (
            "validation vendor, unseen concepts",
            corpus.validation_unseen(),
        ),
        ("test vendor, seen concepts", corpus.test_seen()),
        ("test vendor, unseen concepts", corpus.test_unseen()),
    ] {
        let set = set.with_size(config.render_size).render_all(&cache)?;
        let scores = training.retrieval(&clip, &set)?;
        println!(
            "{name}: image to text R@1 {:.1} %, R@10 {:.1} %, R@mean {:.1} %",
            scores.image_to_text.r1, scores.image_to_text.r10, scores.r_mean
        );
    }
    Ok(())
}
