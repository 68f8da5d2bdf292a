//! `seed eval`: how good a model is on held-out data.

mod captions;
mod questions;
mod retrieval;

use std::{
    collections::{BTreeSet, HashMap},
    error::Error,
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use seed_lm::{Example, Template, Templates};
use serde_json::Value;

use crate::{
    Outcome,
    language::{DecodingArguments, Language, LanguageArguments},
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

/// What goes through a benchmark, and how.
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
    #[command(flatten)]
    language: LanguageArguments,
    #[command(flatten)]
    decoding: DecodingArguments,
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

    /// What the model says to each of a benchmark's entries, kept by `prediction` if that was asked for; `most` is the
    /// longest text in tokens. A picture that cannot be read ends it: a score without it would be that of another
    /// benchmark.
    fn say<T>(
        &self,
        entries: &[T],
        (template, most): (fn(&Templates) -> &Template, usize),
        asked: impl Fn(&T) -> Asked<'_>,
        prediction: impl Fn(&T, &str) -> Value,
        quiet: bool,
    ) -> Result<Vec<String>, Box<dyn Error>> {
        let language = self.language.load()?;
        let template = template(&language.about().templates);
        let bar = if quiet {
            ProgressBar::hidden()
        } else {
            output::bar(entries.len(), "{bar:30} {pos}/{len}  {per_sec}  {eta} left")
        };
        bar.enable_steady_tick(Duration::from_millis(500));
        // Several questions are asked about a picture, and it is looked at once.
        let mut seen: HashMap<String, Vec<i64>> = HashMap::new();
        let mut said = Vec::with_capacity(entries.len());
        for chunk in entries.chunks(self.batch_size as usize) {
            let chunk: Vec<Asked<'_>> = chunk.iter().map(&asked).collect();
            self.look(&language, &chunk, &mut seen)?;
            let questions: Vec<String> = chunk
                .iter()
                .map(|asked| asked.question.trim().to_lowercase())
                .collect();
            let examples: Vec<Example<'_>> = chunk
                .iter()
                .zip(&questions)
                .map(|(asked, question)| Example {
                    codes: &seen[asked.file_name],
                    question,
                    ..Example::default()
                })
                .collect();
            said.extend(language.say_all(template, &examples, &self.decoding, most)?);
            bar.inc(chunk.len() as u64);
        }
        bar.finish_and_clear();
        if let Some(path) = &self.predictions {
            let pairs = entries.iter().zip(&said);
            let all: Value = pairs.map(|(entry, said)| prediction(entry, said)).collect();
            output::to_file(path, all.to_string().as_bytes())?;
        }
        Ok(said)
    }

    /// Adds the codes of the pictures that were not looked at yet.
    fn look(
        &self,
        language: &Language,
        asked: &[Asked<'_>],
        seen: &mut HashMap<String, Vec<i64>>,
    ) -> Result<(), Box<dyn Error>> {
        let names: BTreeSet<&str> = asked.iter().map(|asked| asked.file_name).collect();
        let fresh: Vec<&str> = names
            .into_iter()
            .filter(|name| !seen.contains_key(*name))
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let paths: Vec<PathBuf> = fresh.iter().map(|name| self.images.join(name)).collect();
        let codes = language.codes(&paths)?;
        seen.extend(fresh.into_iter().map(str::to_owned).zip(codes));
        Ok(())
    }
}
