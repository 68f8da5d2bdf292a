//! `seed draw`: words as the codes of an image, and as its pixels.

use std::io::Write;

use clap::Args;
use seed_recipes::pixels::Painter;

use crate::{
    destination::slug_of,
    language::{DecodingArguments, Language, LanguageArguments, SEED},
    outcome::{Outcome, Status},
    output::Format,
    pixels::{Job, PixelArguments, Source, Total},
};

/// Told of an image that the language model did not finish.
const MALFORMED: &str =
    "the image is malformed: it does not have exactly its codes and its closing mark";

/// Draw what a caption says.
///
/// The language model writes an image's codes one after the other, and a diffusion model draws them. With --codes they are
/// shown as they are chosen, and nothing is drawn. Several samples go into a folder, with sheet.png beside them. Every PNG says
/// in text chunks by which codes and settings it was made.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed draw \"red apple\" --sd runs/diffusion              writes red-apple.png
  seed draw \"red apple\" --sd runs/diffusion --samples 9  the same codes under other noise, and a sheet
  seed draw \"red apple\" --sd runs/diffusion --samples 9 --top-p 0.5   other codes, too
  seed draw \"red apple\" --codes
  seed draw \"red apple\" --codes --temperature 1 --top-p 0.5 --seed 7 --format json")]
pub(crate) struct Arguments {
    /// What the image is to show.
    #[arg(value_name = "CAPTION")]
    caption: String,
    /// Codes, not pixels.
    #[arg(long, conflicts_with_all = ["PixelArguments", "samples"])]
    codes: bool,
    /// Let the model write anything, as the ablation on malformed images does: without it an image has exactly its
    /// codes and its closing mark.
    #[arg(long)]
    no_grammar: bool,
    /// Pictures to draw. Each has noise of its own, and where tokens are drawn at random, codes of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    samples: u16,
    /// Seed of the noise that pictures start from, and of tokens that are drawn at random; by itself 42.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// For people, or a line of JSON a picture.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    language: LanguageArguments,
    #[command(flatten)]
    decoding: DecodingArguments,
    #[command(flatten)]
    pixels: PixelArguments,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Outcome {
        let caption = self.caption.trim().to_lowercase();
        if caption.is_empty() {
            return Err("the caption is empty".into());
        }
        if self.codes {
            self.show_codes(&caption)
        } else {
            self.draw(&caption, quiet)
        }
    }

    fn show_codes(&self, caption: &str) -> Outcome {
        if self.seed.is_some() && !self.decoding.is_random() {
            return Err("--seed has no effect on codes that are not drawn at random: ask for --temperature, --top-k or --top-p".into());
        }
        let language = self.language.load()?;
        let mut stdout = std::io::stdout().lock();
        let (grammar, shown) = (!self.no_grammar, self.format == Format::Table);
        let mut count = 0;
        let decoding = (&self.decoding, self.seed());
        let codes = language.draw(caption, decoding, grammar, |code| {
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
            eprintln!("{MALFORMED}");
            return Ok(Status::Partly);
        }
        Ok(Status::Done)
    }

    fn draw(&self, caption: &str, quiet: bool) -> Outcome {
        self.pixels.check()?;
        let name = slug_of(caption);
        let destination = self.pixels.destination(self.samples > 1, &name)?;
        let language = self.language.load()?;
        let painter = self.painter(&language)?;
        let total = Total {
            pictures: self.samples.into(),
            with_originals: false,
            format: self.format,
        };
        let release = language.release().to_owned();
        let mut studio = self
            .pixels
            .studio(painter, destination, total, &release, quiet)?;
        let mut status = Status::Done;
        let mut jobs = Vec::new();
        let mut known: Option<Vec<i64>> = None;
        for place in 0..usize::from(self.samples) {
            // Tokens that are not drawn at random are the same each time.
            let codes = match known.take() {
                Some(codes) if !self.decoding.is_random() => Some(codes),
                _ => {
                    let seed = self.seed().wrapping_add(place as u64);
                    let decoding = (&self.decoding, seed);
                    language.draw(caption, decoding, !self.no_grammar, |_| Ok(()))?
                }
            };
            let Some(codes) = codes else {
                studio.tell(&format!("left out: {MALFORMED}"));
                status = Status::Partly;
                if self.decoding.is_random() {
                    continue;
                }
                break;
            };
            known = Some(codes.clone());
            jobs.push(Job {
                name: format!("{name}-{}", place + 1),
                codes,
                place,
                source: Source::Caption(caption.to_owned()),
                original: None,
            });
            if jobs.len() == studio.batch() {
                studio.paint(std::mem::take(&mut jobs))?;
            }
        }
        studio.paint(jobs)?;
        studio.finish()?;
        Ok(status)
    }

    fn seed(&self) -> u64 {
        self.seed.unwrap_or(SEED)
    }

    fn painter(&self, language: &Language) -> Result<Painter, Box<dyn std::error::Error>> {
        let (tokenizer, config, device) = language.images();
        self.pixels
            .painter((tokenizer, config), self.seed(), device)
    }
}
