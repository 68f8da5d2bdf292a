//! `seed eval language`: a language model on the corpus that ships, and on prompts that training never asked with.

use std::{error::Error, path::PathBuf};

use clap::Args;
use seed_data::{Cache, Corpus};
use seed_eval::language::LanguageReport;
use seed_recipes::{
    Splits,
    frozen::FrozenCache,
    language::{
        BaseLm, FrozenTokenizer, LmEvaluation, LmTrainingConfig, UntrainedPrompts, VisualInput,
    },
    stop_on_ctrl_c,
};

use crate::{
    language::LanguageArguments,
    outcome::{Outcome, Status},
    output::{self, Format},
};

/// A language model on the embedded corpus: captions, answers and drawings of held-out vendors and unseen concepts.
///
/// Drawings are told apart by what training knew of their prompts: recall, other words, unseen concepts, and nouns for
/// the form alone. It is what `seed train lm` does at its end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed eval language --report shipped/
  seed eval language --lm runs/lm --checkpoint runs/tokenizer --device libtorch --format json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    language: LanguageArguments,
    /// Pictures or prompts of each set that are looked at, at most, spread evenly.
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    most: u32,
    /// Where to write report.html and language.json.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// How the scores are written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Outcome {
        let report = self.judged(quiet)?;
        if let Some(folder) = &self.report {
            report.save(folder)?;
        }
        let text = match self.format {
            Format::Table => report.terminal_table(),
            Format::Json => serde_json::to_string_pretty(&report)? + "\n",
        };
        output::to_stdout(text.as_bytes())?;
        Ok(Status::Done)
    }

    fn judged(&self, quiet: bool) -> Result<LanguageReport, Box<dyn Error>> {
        let saved = self.language.saved()?;
        let device = self.language.model.device.open()?;
        let images = FrozenTokenizer::load(self.language.model.open()?, &device)?;
        let base = self.language.base(&saved, &device)?;
        let BaseLm {
            opt,
            tokenizer,
            identity,
            ..
        } = base;
        let config = &images.published.config;
        let model = LanguageArguments::joined(&saved, opt, &identity, (&images.model, config))?;
        let corpus = Corpus::embedded()?;
        let cache = Cache::open(Cache::default_dir()?, Cache::limit_from(None)?)?;
        let size = LmTrainingConfig::nano()?.render_size;
        let splits = Splits::of_corpus(&corpus, size, &[], &cache)?;
        let stop = stop_on_ctrl_c()?;
        let evaluation = LmEvaluation {
            model: &model,
            text: &tokenizer,
            templates: &saved.about.templates,
            visual_input: VisualInput::Codes,
            draws: true,
            images: &images,
            splits: &splits,
            questions: &corpus.questions(),
            frozen: FrozenCache {
                cache: &cache,
                device: &device,
                show_progress: !quiet,
                stop: &stop,
            },
            most: self.most as usize,
        };
        let mut prompts = UntrainedPrompts::of_corpus(&corpus)?;
        // They are in the order of a hash, so that the first ones are a fair draw.
        prompts.nouns.truncate(self.most as usize);
        let mut report = evaluation.report(&prompts)?;
        report.facts = vec![
            ("device".to_owned(), self.language.model.device.to_string()),
            ("base".to_owned(), saved.about.base.clone()),
        ];
        Ok(report)
    }
}
