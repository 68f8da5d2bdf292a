//! Trains the Q-Former that stage I starts from at nano size: bidirectional queries, the best of which meets the
//! caption, on the frozen image tower's tokens. It plays the BLIP-2 Q-Former of the paper.
//!
//! ```text
//! cargo run --release --example pretrain_nano_q_former -- --device libtorch
//! ```

use std::{error::Error, ops::ControlFlow, path::PathBuf};

use clap::Parser;
use seed::{
    data::{Cache, Corpus},
    device::DeviceSpec,
    recipes::{
        Splits,
        frozen::FrozenParts,
        stop_on_ctrl_c,
        tokenizer::{TokenizerTraining, TokenizerTrainingConfig},
    },
    train::{Existing, ProgressMode, RunDir, RunInfo, load_config},
};

/// Tensors of a step are freed and asked for again at the next: an allocator that keeps its pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains the nano Q-Former.
#[derive(Parser)]
struct Arguments {
    /// Settings; those of stage II are not used.
    #[arg(long, default_value = "experiments/nano-q-former/config.toml")]
    config: PathBuf,
    /// flex | ndarray | libtorch[:cuda:N] | cuda:N | wgpu
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Name of the run's folder below `runs/`.
    #[arg(long, default_value = "nano-q-former")]
    name: String,
    /// Go on where the run stopped.
    #[arg(long)]
    resume: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let device = arguments.device.open()?;
    let config: TokenizerTrainingConfig = load_config(&arguments.config)?;
    let cache = Cache::open(Cache::default_dir()?, Cache::limit_from(None)?)?;
    let corpus = Corpus::embedded()?;
    let splits = Splits::of_corpus(&corpus, config.render_size, &config.styles, &cache)?;
    let info = RunInfo {
        config: serde_json::to_value(&config)?,
        seed: config.stage_one.seed,
        device: arguments.device.to_string(),
        outputs: &["tokens.safetensors"],
    };
    let existing = Existing::asked(arguments.resume, false);
    let mut run = RunDir::open("runs".as_ref(), &arguments.name, existing, &info)?;
    let training = TokenizerTraining {
        config: &config,
        frozen: &FrozenParts::nano(&device)?,
        splits: &splits,
        cache: &cache,
        device: &device,
        progress: ProgressMode::Auto,
        stop: stop_on_ctrl_c()?,
    };
    match training.train_token_encoder(&mut run)? {
        ControlFlow::Break(step) => println!("stopped after step {step}; go on with --resume"),
        ControlFlow::Continue(_) => println!(
            "weights: {}",
            run.path().join("tokens.safetensors").display()
        ),
    }
    Ok(())
}
