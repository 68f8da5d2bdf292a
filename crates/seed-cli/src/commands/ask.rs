//! `seed ask`: a question about a picture.

use std::{io::Write, path::PathBuf};

use clap::Args;
use seed_data::blip_question;
use seed_lm::Example;

use crate::{
    language::{DecodingArguments, LanguageArguments, SamplingSeed, picture_options},
    outcome::{Outcome, Status},
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
    /// The question; it is cleaned as by the reference: lower case, without any of `.!"()*#:;~`.
    #[arg(value_name = "QUESTION")]
    question: String,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", default_value_t = 16)]
    max_new_tokens: usize,
    /// Read the picture as the reference and `seed eval` do: no EXIF rotation, alpha dropped instead of put on white.
    #[arg(long)]
    reference_decoding: bool,
    #[command(flatten)]
    language: LanguageArguments,
    #[command(flatten)]
    decoding: DecodingArguments,
    #[command(flatten)]
    seed: SamplingSeed,
}

impl Arguments {
    pub(crate) fn run(&self) -> Outcome {
        let question = blip_question(self.question.trim());
        if question.is_empty() {
            return Err("the question is empty".into());
        }
        let language = self.language.load()?;
        let codes = language.codes_of(&self.image, &picture_options(self.reference_decoding))?;
        let example = Example {
            codes: &codes,
            question: &question,
            ..Example::default()
        };
        let template = &language.about().templates.question;
        let mut stdout = std::io::stdout().lock();
        let generation = self
            .decoding
            .generation(self.max_new_tokens, self.seed.seed);
        language.say(template, &example, &generation, &mut stdout)?;
        writeln!(stdout)?;
        Ok(Status::Done)
    }
}
