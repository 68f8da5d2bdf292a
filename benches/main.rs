//! Speed and memory beside PyTorch, transformers and PEFT, each answer verified before it is timed.
//!
//! ```text
//! cargo bench --bench compare -- nano|full|lm|gpu [options]
//! ```
//!
//! `benches/README.md` says what is verified and how far the numbers can be trusted.

mod from_pixels;
mod full;
mod gpu;
mod lm;
mod machine;
mod median;
mod nano;
mod steps;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::{Parser, Subcommand};
use seed::train::BoxError;

/// The allocator of the programs that train.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Speed and memory, beside PyTorch.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
    /// What cargo passes to every benchmark.
    #[arg(long = "bench", global = true, hide = true)]
    by_cargo: bool,
}

#[derive(Subcommand)]
enum Bench {
    /// Training steps, encoding and loaders of the nano models.
    Nano(nano::Arguments),
    /// The tokenizer at full size.
    Full(full::Arguments),
    /// The language model: steps of an adapter, decoding.
    Lm(lm::Arguments),
    /// What only a card can tell: parts of `benches/gpu/run`.
    Gpu(gpu::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().bench {
        Bench::Nano(arguments) => arguments.run(),
        Bench::Full(arguments) => arguments.run(),
        Bench::Lm(arguments) => arguments.run(),
        Bench::Gpu(arguments) => arguments.run(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// This program as a child that does a part of a benchmark.
fn this_program(bench: &str) -> Result<Command, BoxError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(bench);
    Ok(command)
}

/// The repository's root: where this was built, or, on another machine, where it is run.
fn repository() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR"));
    if built.is_dir() {
        built.to_owned()
    } else {
        PathBuf::from(".")
    }
}
