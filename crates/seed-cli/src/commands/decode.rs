//! `seed decode`: codes in, pictures out.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    codes::{self, Row},
    destination::{slug_of, stem_of},
    language::SEED,
    model::ModelArguments,
    outcome::{Outcome, Status},
    output::Format,
    pixels::{Job, PixelArguments, Source, Total, check},
};

/// Make pictures of codes.
///
/// Codes are given one after the other, or in a file as `seed tokenize` and `seed draw --codes` write them. All are checked before
/// anything is drawn. Every PNG says in text chunks by which codes and settings it was made.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed decode 381 12 977 … --sd runs/diffusion             32 codes; writes decoded.png
  seed draw \"red apple\" --codes | seed decode --file - --sd runs/diffusion
  seed tokenize photos/ --format jsonl > codes.jsonl
  seed decode --file codes.jsonl --sd runs/diffusion -o pictures/")]
pub(crate) struct Arguments {
    /// The codes of one picture: numbers, as arguments of their own or between commas.
    #[arg(
        value_name = "CODES",
        allow_negative_numbers = true,
        required_unless_present = "file"
    )]
    codes: Vec<String>,
    /// A file of codes: lines of numbers, of text or of JSON, or an array of JSON; `-` for stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "codes")]
    file: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    /// For people, the files that are written; or a line of JSON a picture.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Seed of the noise that pictures start from.
    #[arg(long, value_name = "N", default_value_t = SEED)]
    seed: u64,
    #[command(flatten)]
    pixels: PixelArguments,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Outcome {
        self.pixels.check()?;
        let rows = match &self.file {
            Some(file) => codes::read(file)?,
            None => vec![Row {
                name: None,
                codes: codes::parse(&self.codes.join(" "))?,
                place: String::new(),
            }],
        };
        let destination = self.pixels.destination(self.file.is_some(), "decoded")?;
        let published = self.model.open()?;
        let release = published.release.clone();
        let model = self.model.load(published)?;
        let parts = (&model.tokenizer, &model.config);
        let painter = self.pixels.painter(parts, self.seed, &model.device)?;
        let given = rows.iter().map(|row| (row.place.as_str(), &row.codes[..]));
        check(&painter, given)?;
        let total = Total {
            pictures: rows.len(),
            with_originals: false,
            format: self.format,
        };
        let mut studio = self
            .pixels
            .studio(painter, destination, total, &release, quiet)?;
        let jobs = rows.into_iter().enumerate().map(|(place, row)| Job {
            name: name_of(&row, place),
            codes: row.codes,
            place,
            source: match row.name {
                None => Source::Codes,
                Some(name) if is_picture(&name) => Source::Picture(name),
                Some(words) => Source::Caption(words),
            },
            original: None,
        });
        studio.paint(jobs.collect())?;
        studio.finish()?;
        Ok(Status::Done)
    }
}

/// The file's name, after what the codes are of: a picture, or words.
fn name_of(row: &Row, place: usize) -> String {
    match row.name.as_deref() {
        None => format!("{:04}", place + 1),
        Some(name) if is_picture(name) => stem_of(name),
        Some(words) => slug_of(words),
    }
}

/// Whether this is a file's name rather than a caption.
fn is_picture(name: &str) -> bool {
    name == "-" || Path::new(name).extension().is_some()
}
