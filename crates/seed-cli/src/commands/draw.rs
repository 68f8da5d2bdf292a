//! `seed draw`: words as the codes of an image.

use std::io::Write;

use clap::Args;

use crate::{
    language::{DecodingArguments, LanguageArguments},
    outcome::{Outcome, Status},
    output::Format,
};

/// Draw what a caption says, as codes.
///
/// The language model writes an image's codes one after the other; they appear as they are chosen. Making pixels of them
/// needs a diffusion model, which is not part of this program yet: ask for --codes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed draw \"a red apple\" --codes
  seed draw \"red apple\" --codes --temperature 1 --top-p 0.5 --seed 7
  seed draw \"red apple\" --codes --format json")]
pub(crate) struct Arguments {
    /// What the image is to show.
    #[arg(value_name = "CAPTION")]
    caption: String,
    /// Codes, not pixels.
    #[arg(long)]
    codes: bool,
    /// Let the model write anything, as the ablation on malformed images does: without it an image has exactly its
    /// codes and its closing mark.
    #[arg(long)]
    no_grammar: bool,
    /// For people, or a line of JSON.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    language: LanguageArguments,
    #[command(flatten)]
    decoding: DecodingArguments,
}

impl Arguments {
    pub(crate) fn run(&self) -> Outcome {
        if !self.codes {
            return Err("this program draws no pixels yet: ask for --codes".into());
        }
        let caption = self.caption.trim().to_lowercase();
        if caption.is_empty() {
            return Err("the caption is empty".into());
        }
        let language = self.language.load()?;
        let mut stdout = std::io::stdout().lock();
        let (grammar, shown) = (!self.no_grammar, self.format == Format::Table);
        let mut count = 0;
        let codes = language.draw(&caption, &self.decoding, grammar, |code| {
            if shown {
                let space = if count > 0 { " " } else { "" };
                count += 1;
                write!(stdout, "{space}{code}")?;
                stdout.flush()?;
            }
            Ok(())
        })?;
        match (shown, &codes) {
            (false, _) => {
                let line = serde_json::json!({ "caption": caption, "codes": codes });
                writeln!(stdout, "{line}")?;
            }
            // Beams come at the end.
            (true, Some(codes)) if count == 0 => {
                let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
                writeln!(stdout, "{}", codes.join(" "))?;
            }
            (true, _) => writeln!(stdout)?,
        }
        if codes.is_none() {
            eprintln!(
                "the image is malformed: it does not have exactly its codes and its closing mark"
            );
            return Ok(Status::Partly);
        }
        Ok(Status::Done)
    }
}
