//! `seed reconstruct`: pictures through their codes and back.

use std::path::PathBuf;

use clap::Args;
use seed_data::EvalTransform;
use seed_device::Precision;

use crate::{
    destination::stem_of,
    language::{SEED, picture_options},
    model::ModelArguments,
    outcome::{Outcome, Status},
    output::Format,
    pictures::{Prepared, Ready, prepared, sources, with_name},
    pixels::{Job, PixelArguments, Source, Total},
};

/// Make pictures of pictures: into codes, and back into pixels.
///
/// What comes back shows what the codes hold: the same things, not the same pixels. A picture that cannot be read is named on
/// stderr and left out; the exit status is then 3. Several pictures go into a folder, with sheet.png beside them, where each
/// stands beside its original. Every PNG says in text chunks by which codes and settings it was made.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed reconstruct cat.png --sd runs/diffusion             writes cat-reconstructed.png
  seed reconstruct photos/ --sd runs/diffusion -o back/    and back/sheet.png
  seed reconstruct cat.png --sd runs/diffusion --prefix 4  what the first 4 codes hold
  seed reconstruct photo.jpg --checkpoint seed-v1/ --sd hf:CompVis/stable-diffusion-v1-4 --device cuda:0
  seed reconstruct photo.jpg --checkpoint seed-v2/ --sd unclip/ --form image --steps 20 --guidance 10")]
pub(crate) struct Arguments {
    /// Pictures (PNG, JPEG, WebP, GIF, BMP), folders of pictures, or `-` for stdin.
    #[arg(required = true, value_name = "IMAGE|DIR|-")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    /// Read pictures as the reference does: no EXIF rotation, alpha dropped instead of put on white.
    #[arg(long)]
    reference_decoding: bool,
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
        let sources = sources(&self.inputs)?;
        let several = sources.len() > 1 || self.inputs.iter().any(|input| input.is_dir());
        let usual = match sources.first() {
            Some(source) if !several => format!("{}-reconstructed", stem_of(&source.name)),
            _ => "reconstructed".to_owned(),
        };
        let destination = self.pixels.destination(several, &usual)?;
        let published = self.model.open()?;
        let release = published.release.clone();
        let model = self.model.load(published)?;
        let parts = (&model.tokenizer, &model.config);
        let painter = self.pixels.painter(parts, self.seed, &model.device)?;
        let total = Total {
            pictures: sources.len(),
            with_originals: true,
            format: self.format,
        };
        let mut studio = self
            .pixels
            .studio(painter, destination, total, &release, quiet)?;

        let transform = EvalTransform::new(model.config.image.image_size as u32);
        let options = picture_options(self.reference_decoding);
        let (mut place, mut status) = (0, Status::Done);
        for batch in prepared(sources, studio.batch(), transform, options) {
            let mut found = Vec::new();
            for Prepared { name, picture } in batch {
                match picture {
                    Ok(picture) => found.push((place, name, picture)),
                    Err(reason) => {
                        studio.tell(&format!("left out: {}", with_name(&name, &reason)));
                        status = Status::Partly;
                    }
                }
                place += 1;
            }
            let pixels = found
                .iter_mut()
                .map(|(.., picture)| std::mem::take(&mut picture.pixels));
            let codes = model.encode(pixels.collect(), Precision::default())?;
            let jobs = found.into_iter().zip(codes).map(|(found, codes)| {
                let (place, source, Ready { shown, .. }) = found;
                Job {
                    name: stem_of(&source),
                    codes,
                    place,
                    source: Source::Picture(source),
                    original: Some(shown),
                }
            });
            studio.paint(jobs.collect())?;
        }
        studio.finish()?;
        Ok(status)
    }
}
