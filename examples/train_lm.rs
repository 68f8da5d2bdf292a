//! Teaches a language model to read and write images: a frozen OPT with LoRA and a visual vocabulary learns to caption
//! pictures (phase 1), then to draw them in codes as well (phase 2), and is judged on held-out pictures and prompts.
//!
//! ```text
//! cargo run --release --example train_lm                 # the nano OPT, on the corpus that ships: some minutes
//! cargo run --release --example train_lm -- --smoke      # a minute, to see that everything works
//! cargo run --release --example train_lm -- --resume     # go on after Ctrl-C
//! ```

use std::{error::Error, process::ExitCode};

use clap::Parser;
use seed::{
    recipes::{language::LmRun, stop_on_ctrl_c},
    train::ProgressMode,
};

/// Tensors of a step are freed and asked for again at the next: an allocator that keeps its pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains SEED's language model: image to text, then both directions.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    run: LmRun,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(run: &LmRun) -> Result<(), Box<dyn Error>> {
    if run.options.print_config {
        print!("{}", toml::to_string_pretty(&run.settings()?)?);
        return Ok(());
    }
    let device = run.options.open_device()?;
    println!(
        "{}",
        run.train(&device, ProgressMode::Auto, stop_on_ctrl_c()?)?
    );
    Ok(())
}
