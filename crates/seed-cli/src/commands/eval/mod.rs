//! `seed eval`: how good a model is on held-out data.

mod captions;
mod questions;
mod retrieval;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use seed_lm::{Example, Template};

use crate::{
    Outcome,
    language::{DecodingArguments, Language},
    output,
};

/// Evaluate a model.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Retrieval(retrieval::Arguments),
    Captions(captions::Arguments),
    Questions(questions::Arguments),
}

impl Command {
    pub(crate) fn run(&self, quiet: bool) -> Outcome {
        match self {
            Self::Retrieval(arguments) => arguments.run(quiet),
            Self::Captions(arguments) => arguments.run(quiet),
            Self::Questions(arguments) => arguments.run(quiet),
        }
    }
}

/// How a benchmark is gone through.
#[derive(Debug, Args)]
struct BenchmarkArguments {
    /// The folder of the benchmark's images.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Only the first so many.
    #[arg(long, value_name = "N")]
    first: Option<usize>,
    /// Pictures at once.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Where to write what the model said, in the benchmark's own format for results.
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// How the scores are written.
    #[arg(long, value_enum, default_value_t = output::Format::Table)]
    format: output::Format,
}

/// One thing to say: about a picture, and what is asked about it.
struct Asked<'a> {
    file_name: &'a str,
    question: &'a str,
}

impl BenchmarkArguments {
    /// Keeps the first so many of a benchmark's entries.
    fn limit<T>(&self, mut entries: Vec<T>) -> Vec<T> {
        entries.truncate(self.first.unwrap_or(usize::MAX));
        entries
    }

    /// What the model says about each picture. A picture that cannot be read ends it: a score without it would be
    /// that of another benchmark.
    fn say(
        &self,
        language: &Language,
        template: &Template,
        asked: &[Asked<'_>],
        decoding: (&DecodingArguments, usize),
        quiet: bool,
    ) -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let bar = if quiet {
            ProgressBar::hidden()
        } else {
            output::bar(asked.len(), "{bar:30} {pos}/{len}  {per_sec}  {eta} left")
        };
        bar.enable_steady_tick(Duration::from_millis(500));
        let mut said = Vec::with_capacity(asked.len());
        for chunk in asked.chunks(self.batch_size as usize) {
            let paths: Vec<PathBuf> = chunk
                .iter()
                .map(|asked| self.images.join(asked.file_name))
                .collect();
            let codes = language.codes(&paths)?;
            let examples: Vec<Example<'_>> = chunk
                .iter()
                .zip(&codes)
                .map(|(asked, codes)| Example {
                    codes,
                    question: asked.question,
                    ..Example::default()
                })
                .collect();
            said.extend(language.say_all(template, &examples, decoding.0, decoding.1)?);
            bar.inc(chunk.len() as u64);
        }
        bar.finish_and_clear();
        Ok(said)
    }

    /// Writes what the model said, if that was asked for.
    fn keep(&self, predictions: &serde_json::Value) -> Result<(), String> {
        match &self.predictions {
            Some(path) => output::to_file(path, predictions.to_string().as_bytes()),
            None => Ok(()),
        }
    }
}
