//! What only a card can tell, in parts with a time limit each: `benches/gpu/run` calls them, and the other benchmarks
//! with them, and writes one record.
//!
//! Rehearsed on a processor with `benches/gpu/run --device flex --tiny`.

mod encode;
mod parity;
mod training;

use clap::{Args, Subcommand};
use seed::train::BoxError;

/// Parts of `benches/gpu/run`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// The reference's numbers on a device, and the codes of pictures in each precision against flex.
    Parity(parity::Arguments),
    /// Pictures a second of the tokenizer at full size with random weights, as a share of the device's matrix product.
    Encode(encode::Arguments),
    /// Starts or goes on with a training that the repository waits for.
    Train(training::Arguments),
}

impl Arguments {
    pub(crate) fn run(&self) -> Result<bool, BoxError> {
        match &self.part {
            Part::Parity(arguments) => arguments.run(),
            Part::Encode(arguments) => arguments.run(),
            Part::Train(arguments) => arguments.run(),
        }
    }
}
