//! The program `seed`.
//!
//! One file a command in `commands/`; `arguments.rs` joins them and says what all of them share.

mod arguments;
mod codes;
mod commands;
mod destination;
mod language;
mod model;
mod outcome;
mod output;
mod pictures;
mod pixels;
mod png_file;
mod preview;

use std::process::ExitCode;

use clap::Parser;

use arguments::Cli;
use outcome::Status;

/// Activations are freed and asked for again with each batch: an allocator that keeps its pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.set_up_logging();
    match commands::run(&cli) {
        Ok(Status::Done) => ExitCode::SUCCESS,
        Ok(Status::Partly) => ExitCode::from(3),
        Err(error) if is_closed_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the reader of our output has gone, as `head` does.
fn is_closed_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
