//! Trains the SEED tokenizer, both stages, and shows what it learned.
//!
//! ```text
//! cargo run --release --example train_tokenizer
//! cargo run --release --example train_tokenizer -- --smoke      # a minute, to see that everything works
//! cargo run --release --example train_tokenizer -- --resume     # go on after Ctrl-C
//! ```
//!
//! What happens in between is `seed_recipes::tokenizer::TokenizerTraining::train`: frozen image tokens, stage I,
//! frozen embeddings, stage II.

use std::{error::Error, process::ExitCode};

use clap::Parser;
use seed::{
    recipes::{stop_on_ctrl_c, tokenizer::TokenizerRun},
    train::ProgressMode,
};

/// Tensors of a step are freed and asked for again at the next: an allocator that keeps its pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains the SEED tokenizer: a causal Q-Former reads frozen image features (stage I), its embeddings
/// become codes and come back from them (stage II).
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    run: TokenizerRun,
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

fn run(run: &TokenizerRun) -> Result<(), Box<dyn Error>> {
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
