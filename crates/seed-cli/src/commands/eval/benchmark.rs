//! How a language model goes through a benchmark, and what its scores say of that.

use std::{
    collections::{BTreeSet, HashMap},
    error::Error,
    path::PathBuf,
    time::Duration,
};

use clap::{ArgAction, Args};
use indicatif::ProgressBar;
use seed_data::blip_question;
use seed_eval::annotations::check_pictures;
use seed_lm::{
    Example, Template, Templates,
    generation::{Decoding, GenerationConfig},
};
use serde_json::{Value, json};

use crate::{
    language::{
        Language, LanguageArguments, SAMPLING, SamplingArguments, SamplingSeed, picture_options,
    },
    output,
};

/// What goes through a benchmark, and how.
#[derive(Debug, Args)]
pub(super) struct BenchmarkArguments {
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
    pub(super) format: output::Format,
    /// Read pictures as the reference does: no EXIF rotation, alpha dropped instead of put on white. With `=false` they
    /// are read as `tokenize`, `caption` and `ask` do.
    #[arg(
        long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true",
    )]
    reference_decoding: bool,
    #[command(flatten)]
    language: LanguageArguments,
    /// Search with so many hypotheses side by side; with 1 the most probable token is taken each time.
    #[arg(long, value_name = "N", default_value_t = 5, conflicts_with = SAMPLING, help_heading = "Decoding")]
    beams: usize,
    #[command(flatten)]
    sampling: SamplingArguments,
    #[command(flatten)]
    seed: SamplingSeed,
}

/// What a benchmark asks the model to say.
pub(super) struct Protocol {
    /// The form of the prompt.
    pub(super) template: fn(&Templates) -> &Template,
    /// Tokens before the end may come.
    pub(super) min_new_tokens: usize,
    /// Tokens at most.
    pub(super) max_new_tokens: usize,
    /// Exponent of the length that beams' scores are divided by.
    pub(super) length_penalty: f64,
}

/// One thing to say: about a picture, and what is asked about it.
pub(super) struct Asked<'a> {
    pub(super) file_name: &'a str,
    pub(super) question: &'a str,
}

impl BenchmarkArguments {
    /// Keeps the first so many of a benchmark's entries.
    pub(super) fn limit<T>(&self, mut entries: Vec<T>) -> Vec<T> {
        entries.truncate(self.first.unwrap_or(usize::MAX));
        entries
    }

    /// How tokens are chosen.
    fn generation(&self, protocol: &Protocol) -> GenerationConfig {
        let most_probable = match self.beams {
            1 => Decoding::Greedy,
            beams => Decoding::Beam {
                beams,
                length_penalty: protocol.length_penalty,
                early_stopping: false,
            },
        };
        GenerationConfig {
            min_new_tokens: protocol.min_new_tokens,
            ..self
                .sampling
                .generation(protocol.max_new_tokens, self.seed.seed, most_probable)
        }
    }

    /// Adds to scores how the model was run: without that they mean little.
    pub(super) fn with_decoding(&self, protocol: &Protocol, mut scores: Value) -> Value {
        let generation = self.generation(protocol);
        scores["decoding"] = json!(generation.decoding);
        scores["min_new_tokens"] = json!(generation.min_new_tokens);
        scores["max_new_tokens"] = json!(generation.max_new_tokens);
        scores["repetition_penalty"] = json!(generation.repetition_penalty);
        scores["reference_decoding"] = json!(self.reference_decoding);
        scores
    }

    /// The same in words, a line below a table of scores.
    pub(super) fn in_words(&self, protocol: &Protocol) -> String {
        let GenerationConfig {
            max_new_tokens,
            min_new_tokens,
            repetition_penalty,
            decoding,
            ..
        } = self.generation(protocol);
        let choice = match decoding {
            Decoding::Greedy => "the most probable token each time".to_owned(),
            Decoding::Beam {
                beams,
                length_penalty,
                ..
            } => format!("{beams} beams, length penalty {length_penalty}"),
            Decoding::Sample {
                temperature,
                top_k,
                top_p,
                seed,
            } => format!(
                "drawn at temperature {temperature}, top-k {top_k}, top-p {top_p}, seed {seed}"
            ),
        };
        let pictures = if self.reference_decoding {
            "as the reference does"
        } else {
            "upright and on white"
        };
        format!(
            "Decoding: {choice}, repetition penalty {repetition_penalty}, {min_new_tokens} to {max_new_tokens} new tokens; \
             pictures read {pictures}."
        )
    }

    /// What the model says to each of a benchmark's entries, kept by `prediction` if that was asked for. That all
    /// pictures are there is checked before any work; one that cannot be read ends it: a score without it would be that of
    /// another benchmark.
    pub(super) fn say<T>(
        &self,
        entries: &[T],
        protocol: &Protocol,
        asked: impl Fn(&T) -> Asked<'_>,
        prediction: impl Fn(&T, &str) -> Value,
        quiet: bool,
    ) -> Result<Vec<String>, Box<dyn Error>> {
        let names: BTreeSet<&str> = entries.iter().map(|entry| asked(entry).file_name).collect();
        check_pictures(&self.images, names)?;
        let language = self.language.load()?;
        let template = (protocol.template)(&language.about().templates);
        let generation = self.generation(protocol);
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
                .map(|asked| blip_question(asked.question))
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
            said.extend(language.say_all(template, &examples, &generation)?);
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
        let codes = language.codes(&paths, &picture_options(self.reference_decoding))?;
        seen.extend(fresh.into_iter().map(str::to_owned).zip(codes));
        Ok(())
    }
}
