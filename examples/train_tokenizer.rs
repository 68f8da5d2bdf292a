//! Trains the SEED tokenizer, both stages, and shows what it learned.
//!
//! ```text
//! cargo run --release --example train_tokenizer
//! ```
//!
//! What happens in between is `seed_train::recipes::TokenizerTraining::train`: frozen image tokens, stage I,
//! frozen causal embeddings, stage II.

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::Parser;
use seed::{
    device::DeviceSpec,
    train::{
        Existing, ProgressMode, StopFlag,
        recipes::{TokenizerRun, TokenizerRunOutcome},
    },
};

/// Tensors of a step are freed and asked for again at the next: an allocator that keeps its pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains the SEED tokenizer: a causal Q-Former reads frozen image features (stage I), its embeddings
/// become codes and come back from them (stage II).
#[derive(Parser)]
struct Arguments {
    /// flex | ndarray | libtorch[:cuda:N] | cuda:N | wgpu
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Train on your own pictures: a folder with captions.jsonl, or a .txt beside each picture.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Name of the run's folder below runs/.
    #[arg(long, default_value = "tokenizer")]
    name: String,
    /// Go on where the run of this name stopped.
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Replace a run of this name.
    #[arg(long)]
    overwrite: bool,
    /// A minute's run: shows that everything works, learns little.
    #[arg(long)]
    smoke: bool,
    /// Settings in TOML instead of the nano defaults; --print-config shows those.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the settings and leave.
    #[arg(long)]
    print_config: bool,
    /// Seed of both stages.
    #[arg(long)]
    seed: Option<u64>,
    /// Train the frozen parts anew first (experiments/nano-clip) instead of using the shipped ones.
    #[arg(long)]
    pretrain: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let run = TokenizerRun {
        device: arguments.device,
        data: arguments.data,
        config: arguments.config,
        seed: arguments.seed,
        smoke: arguments.smoke,
        pretrain: arguments.pretrain,
        runs: "runs".into(),
        name: arguments.name,
        existing: Existing::asked(arguments.resume, arguments.overwrite),
        progress: ProgressMode::Auto,
    };
    if arguments.print_config {
        print!("{}", toml::to_string_pretty(&run.settings()?)?);
        return Ok(());
    }
    let device = run.device.open()?;
    match run.train(&device, StopFlag::on_ctrl_c()?)? {
        TokenizerRunOutcome::Finished { report, folder } => {
            println!("{}", report.terminal_table());
            println!("report: {}", folder.join("report.html").display());
        }
        TokenizerRunOutcome::Interrupted { stage, step } => {
            println!("stopped in {stage} after step {step}; go on with --resume");
        }
    }
    Ok(())
}
