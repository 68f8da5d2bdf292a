//! `seed eval retrieval`: captions for pictures and pictures for captions.

use std::{error::Error, path::PathBuf, sync::Arc};

use clap::Args;
use indicatif::ProgressBar;
use seed_data::{Cache, Corpus, FolderOptions, FolderSet, TextTokenizer};
use seed_eval::{Report, SetName, report::RetrievalResult};
use seed_recipes::{
    EvaluationSet, RecipeError, Splits,
    language::text_tokenizer,
    stop_on_ctrl_c,
    tokenizer::{RetrievalEvaluation, TokenizerTrainingConfig},
};
use seed_tokenizer::{PublishedTokenizer, SeedConfig};

use crate::{
    model::ModelArguments,
    outcome::{Outcome, Status},
    output::{self, Format},
};

/// Image-text retrieval with embeddings, and with codes.
///
/// Scores are R@1, R@5 and R@10 in both directions, beside chance. Without --data the held-out vendors of the
/// embedded corpus are used.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed eval retrieval
  seed eval retrieval --checkpoint runs/photos --data held-out/
  seed eval retrieval --checkpoint weights/ --text-tokenizer bert/tokenizer.json --data coco/ --format json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Pictures with captions: a folder with captions.jsonl, or a .txt beside each picture.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The text tokenizer, a tokenizer.json; else the one beside the checkpoint.
    #[arg(long, value_name = "FILE")]
    text_tokenizer: Option<PathBuf>,
    /// Longest caption in tokens; the reference evaluates with 35.
    #[arg(long, default_value_t = 35)]
    text_length: usize,
    /// How the scores are written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Outcome {
        let published = self.model.open()?;
        let tokenizer = self.tokenizer(&published)?;
        let longest = longest_caption(&published.config)?;
        let model = self.model.load(published)?;
        let evaluation = RetrievalEvaluation {
            model: &model.tokenizer,
            image_size: model.config.image.image_size,
            tokenizer: &tokenizer,
            text_length: self.text_length.min(longest),
            device: &model.device,
            stop: &stop_on_ctrl_c()?,
        };
        let mut results = Vec::new();
        for set in self.sets()? {
            let bar = progress(&set, quiet);
            results.push(evaluation.scores(&set, |count| bar.inc(count as u64))?);
            bar.finish_and_clear();
        }
        output::to_stdout(self.written(results)?.as_bytes())?;
        Ok(Status::Done)
    }

    fn written(&self, results: Vec<RetrievalResult>) -> Result<String, Box<dyn Error>> {
        if self.format == Format::Json {
            return Ok(serde_json::to_string_pretty(&results)? + "\n");
        }
        let name = self.model.checkpoint.as_deref().unwrap_or("nano");
        let report = results
            .into_iter()
            .fold(Report::new(format!("Retrieval: {name}")), Report::retrieval);
        Ok(report.terminal_table() + "\n")
    }

    fn sets(&self) -> Result<Vec<EvaluationSet>, Box<dyn Error>> {
        if let Some(folder) = &self.data {
            return Ok(vec![EvaluationSet {
                name: SetName::new("test", folder.display().to_string(), "all pictures"),
                set: Arc::new(FolderSet::open(folder, FolderOptions::default())?),
            }]);
        }
        let cache = Cache::open(Cache::default_dir()?, Cache::limit_from(None)?)?;
        let size = TokenizerTrainingConfig::nano()?.render_size;
        let splits = Splits::of_corpus(&Corpus::embedded()?, size, &[], &cache)?;
        Ok(splits.evaluations)
    }

    /// The text tokenizer that was named, or the one beside the checkpoint, or the nano one.
    fn tokenizer(&self, published: &PublishedTokenizer) -> Result<TextTokenizer, Box<dyn Error>> {
        match &self.text_tokenizer {
            Some(file) => Ok(TextTokenizer::from_file(file)?),
            None => text_tokenizer(published).map_err(|error| match error {
                RecipeError::NoTextTokenizer { .. } => {
                    format!("{error}, or name it with --text-tokenizer").into()
                }
                other => other.into(),
            }),
        }
    }
}

/// Retrieval needs what codes do not: contrastive heads and a text side.
fn longest_caption(config: &SeedConfig) -> Result<usize, Box<dyn Error>> {
    if !config.tokens.reads_text() {
        return Err("this checkpoint has no contrastive heads and no text side (the released v2 file leaves them out), so it cannot be compared with captions".into());
    }
    Ok(config.tokens.max_text_length())
}

fn progress(set: &EvaluationSet, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let style = "{msg:40} {bar:30} {pos}/{len}  {per_sec}  {eta} left";
    output::bar(set.set.len(), style).with_message(set.name.to_string())
}
