//! `seed eval`: how good a model is on held-out data.

mod benchmark;
mod captions;
mod language;
mod questions;
mod retrieval;

use clap::Subcommand;

use crate::outcome::Outcome;

/// Evaluate a model.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Retrieval(retrieval::Arguments),
    Captions(captions::Arguments),
    Questions(questions::Arguments),
    Language(language::Arguments),
}

impl Command {
    pub(crate) fn run(&self, quiet: bool) -> Outcome {
        match self {
            Self::Retrieval(arguments) => arguments.run(quiet),
            Self::Captions(arguments) => arguments.run(quiet),
            Self::Questions(arguments) => arguments.run(quiet),
            Self::Language(arguments) => arguments.run(quiet),
        }
    }
}
