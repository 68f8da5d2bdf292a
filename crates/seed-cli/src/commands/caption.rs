//! `seed caption`: pictures in words.

use std::{io::Write, path::PathBuf};

use clap::Args;
use seed_lm::Example;

use crate::{
    language::{DecodingArguments, LanguageArguments, SamplingSeed, picture_options},
    outcome::{Outcome, Status},
    output::Format,
};

/// Say in words what pictures show.
///
/// A picture becomes codes, and the language model goes on after them. Words appear as they are chosen. The nano model
/// that ships knows emoji alone, and names one unfamiliar drawing in five to eight right.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed caption cat.png
  seed caption *.png --beams 5
  seed caption photo.jpg --lm runs/lm --checkpoint runs/tokenizer")]
pub(crate) struct Arguments {
    /// Pictures.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Longest caption, in tokens.
    #[arg(long, value_name = "N", default_value_t = 32)]
    max_new_tokens: usize,
    /// For people, or a line of JSON a picture.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Read pictures as the reference and `seed eval` do: no EXIF rotation, alpha dropped instead of put on white.
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
        let language = self.language.load()?;
        let template = &language.about().templates.image_to_text;
        let generation = self
            .decoding
            .generation(self.max_new_tokens, self.seed.seed);
        let options = picture_options(self.reference_decoding);
        let mut status = Status::Done;
        let mut stdout = std::io::stdout().lock();
        for image in &self.images {
            let codes = match language.codes_of(image, &options) {
                Ok(codes) => codes,
                Err(error) => {
                    eprintln!("left out: {error}");
                    status = Status::Partly;
                    continue;
                }
            };
            let example = Example {
                codes: &codes,
                ..Example::default()
            };
            let say = |out: &mut dyn Write| {
                let mut out = out;
                language.say(template, &example, &generation, &mut out)
            };
            match self.format {
                Format::Table => {
                    if self.images.len() > 1 {
                        write!(stdout, "{}: ", image.display())?;
                    }
                    say(&mut stdout)?;
                    writeln!(stdout)?;
                }
                Format::Json => {
                    let caption = say(&mut std::io::sink())?;
                    let line = serde_json::json!({
                        "image": image.display().to_string(),
                        "codes": codes,
                        "caption": caption,
                    });
                    writeln!(stdout, "{line}")?;
                }
            }
        }
        Ok(status)
    }
}
