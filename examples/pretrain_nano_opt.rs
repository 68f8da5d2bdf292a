//! Trains the nano OPT, the language model that `train_lm` adapts: next-token prediction on WordNet's definitions
//! and on the captions of the training split. It plays OPT-2.7B of the paper.
//!
//! ```text
//! cargo run --release --example pretrain_nano_opt -- --device libtorch
//! ```

use std::{error::Error, path::PathBuf, sync::Arc};

use burn::{module::Module, tensor::DType};
use clap::Parser;
use seed::{
    data::{Corpus, TextTokenizer, train_byte_bpe, training_text},
    device::DeviceSpec,
    recipes::{
        language::{OptPretraining, OptPretrainingConfig},
        stop_on_ctrl_c,
    },
    train::{Existing, Outcome, ProgressMode, RunDir, RunInfo, load_config},
    weights::KeyMap,
};

/// Tensors of a step are freed and asked for again at the next: an allocator that keeps its pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains the nano OPT and its tokenizer.
#[derive(Parser)]
struct Arguments {
    /// Settings.
    #[arg(long, default_value = "experiments/nano-opt/config.toml")]
    config: PathBuf,
    /// flex | ndarray | libtorch[:cuda:N] | cuda:N | wgpu
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Name of the run's folder below `runs/`.
    #[arg(long, default_value = "nano-opt")]
    name: String,
    /// Go on where the run stopped.
    #[arg(long)]
    resume: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let device = arguments.device.open()?;
    let config: OptPretrainingConfig = load_config(&arguments.config)?;
    let corpus = Corpus::embedded()?;
    let lines = training_text(&corpus, config.caption_repeats)?;
    let info = RunInfo {
        config: serde_json::to_value(&config)?,
        seed: config.train.seed,
        device: arguments.device.to_string(),
        outputs: &["nano-bpe.json", "nano-opt.safetensors"],
    };
    let existing = Existing::asked(arguments.resume, false);
    let mut run = RunDir::open("runs".as_ref(), &arguments.name, existing, &info)?;
    let path = run.path().join("nano-bpe.json");
    let tokenizer = if path.is_file() {
        TextTokenizer::from_file(&path)?
    } else {
        let tokenizer = train_byte_bpe(lines.iter(), config.opt.vocab_size)?;
        tokenizer.save(&path)?;
        tokenizer
    };
    let training = OptPretraining {
        config: &config,
        lines,
        tokenizer: Arc::new(tokenizer),
        device: &device,
    };
    let trained = training.train(&mut run, ProgressMode::Auto, stop_on_ctrl_c()?)?;
    if let Outcome::Interrupted { step } = trained.outcome {
        println!("stopped after step {step}; go on with --resume");
        return Ok(());
    }
    let path = run.path().join("nano-opt.safetensors");
    let keys = KeyMap::new(&[("", "model.decoder")]);
    let sizes = serde_json::to_string(&config.opt)?;
    seed::weights::save(&trained.model.valid(), &path, &keys, DType::F16, sizes)?;
    println!("weights: {}", path.display());
    Ok(())
}
