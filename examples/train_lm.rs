//! Teaches a language model to read and write images: a frozen OPT with LoRA and a visual vocabulary learns to caption
//! pictures (phase 1), then to draw them in codes as well (phase 2), and is judged on held-out pictures.
//!
//! ```text
//! cargo run --release --example train_lm                 # the nano OPT, on the corpus that ships: some minutes
//! cargo run --release --example train_lm -- --smoke      # a minute, to see that everything works
//! cargo run --release --example train_lm -- --resume     # go on after Ctrl-C
//! ```

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::Parser;
use seed::{
    device::DeviceSpec,
    train::{
        Existing, ProgressMode, StopFlag,
        recipes::{LmRun, LmRunOutcome},
    },
};

/// Tensors of a step are freed and asked for again at the next: an allocator that keeps its pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains SEED's language model: image to text, then both directions.
#[derive(Parser)]
struct Arguments {
    /// flex | ndarray | libtorch[:cuda:N] | cuda:N | wgpu
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// An image tokenizer: a run's folder or a published file. Without it the nano tokenizer that ships.
    #[arg(long, value_name = "CHECKPOINT")]
    tokenizer: Option<PathBuf>,
    /// A language model: a folder of transformers' files of an OPT. Without it the nano OPT that ships.
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Train on your own pictures: a folder with captions.jsonl, or a .txt beside each picture.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Name of the run's folder below runs/.
    #[arg(long, default_value = "lm")]
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
    /// Seed of both phases.
    #[arg(long)]
    seed: Option<u64>,
    /// The baseline without codes: the language model reads causal embeddings that were not quantised.
    #[arg(long)]
    continuous: bool,
    /// The folder of a finished run with --continuous: its captions are shown beside.
    #[arg(long, value_name = "RUN", conflicts_with = "continuous")]
    baseline: Option<PathBuf>,
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
    let run = LmRun {
        device: arguments.device,
        tokenizer: arguments.tokenizer,
        base: arguments.base,
        data: arguments.data,
        config: arguments.config,
        seed: arguments.seed,
        continuous: arguments.continuous,
        baseline: arguments.baseline,
        smoke: arguments.smoke,
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
        LmRunOutcome::Finished { report, folder } => {
            println!("{}", report.terminal_table());
            println!("report: {}", folder.join("report.html").display());
            println!("adapter and vocabulary: {}", folder.display());
        }
        LmRunOutcome::Interrupted { stage, step } => {
            println!("stopped in {stage} after step {step}; go on with --resume");
        }
    }
    Ok(())
}
