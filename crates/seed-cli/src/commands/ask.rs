//! `seed ask`: a question about a picture.

use std::{io::Write, path::PathBuf};

use clap::Args;
use seed_lm::Example;

use crate::{
    Outcome, Status,
    language::{DecodingArguments, LanguageArguments},
};

/// Answer a question about a picture.
///
/// The nano model that ships was asked about Unicode's groups of emoji alone ("what kind of thing is this?", "is this a
/// food or drink?"), and is often wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed ask cat.png \"what kind of thing is this?\"
  seed ask photo.jpg \"is this a person?\" --lm runs/lm --checkpoint runs/tokenizer")]
pub(crate) struct Arguments {
    /// The picture.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// The question.
    #[arg(value_name = "QUESTION")]
    question: String,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", default_value_t = 16)]
    max_new_tokens: usize,
    #[command(flatten)]
    language: LanguageArguments,
    #[command(flatten)]
    decoding: DecodingArguments,
}

impl Arguments {
    pub(crate) fn run(&self) -> Outcome {
        let question = self.question.trim().to_lowercase();
        if question.is_empty() {
            return Err("the question is empty".into());
        }
        let language = self.language.load()?;
        let codes = language.codes_of(&self.image)?;
        let example = Example {
            codes: &codes,
            question: &question,
            ..Example::default()
        };
        let template = &language.about().templates.question;
        let mut stdout = std::io::stdout().lock();
        language.say(
            template,
            &example,
            &self.decoding,
            self.max_new_tokens,
            &mut stdout,
        )?;
        writeln!(stdout)?;
        Ok(Status::Done)
    }
}
