//! What the commands share that make pictures of codes: their settings, and the way from codes to files.

use std::{
    error::Error,
    io::{self, Write},
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use clap::Args;
use image::RgbImage;
use indicatif::ProgressBar;
use seed_diffusion::{Choices, Prediction, Sampler, Weights};
use seed_recipes::{
    pixels::{ContactSheet, DiffusionModel, Form, Painter, PixelError, PixelSettings},
    stop_on_ctrl_c,
};
use seed_tokenizer::{SeedConfig, SeedTokenizer};
use seed_train::StopFlag;
use serde_json::json;

use crate::{
    destination::Destination,
    output::{self, Format},
    png_file, preview,
};

/// Most pictures that are drawn side by side, and their pixels, unless a batch is asked for.
const BATCH: u32 = 16;
const BATCH_PIXELS: u32 = BATCH * 64 * 64;

/// The diffusion model and how it draws, as arguments of a command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pictures")]
pub(crate) struct PixelArguments {
    /// The diffusion model: a folder that diffusers or `seed train diffusion` saved, a single file (.ckpt, .safetensors), or
    /// hf:OWNER/NAME[@REVISION]. It computes in f32.
    #[arg(long, value_name = "DIR|FILE|hf:…")]
    sd: Option<String>,
    /// Which UNet of a single file that holds two: averaged | plain.
    #[arg(long, value_name = "WHICH", requires = "sd")]
    sd_weights: Option<Weights>,
    /// What the UNet of a single file predicts, which it may not say: epsilon | v_prediction.
    #[arg(long, value_name = "WHAT", requires = "sd")]
    sd_prediction: Option<Prediction>,
    /// Folder of the text tower, with `text_encoder` and `tokenizer`, of a diffusion model that comes without.
    #[arg(long, value_name = "DIR", requires = "sd")]
    sd_text: Option<PathBuf>,
    /// What codes say to the diffusion model: text | image; else what the tokenizer was trained for.
    #[arg(long)]
    form: Option<Form>,
    /// Draw the first so many codes alone, without the others: what they hold.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    prefix: Option<usize>,
    /// Steps from noise to a picture; else the model's own (nano 20, Stable Diffusion 50, unCLIP 20).
    #[arg(long, value_name = "N", value_parser = steps)]
    steps: Option<usize>,
    /// How strongly codes are followed: 1 as they are; else the model's own (nano 3, Stable Diffusion 7.5, unCLIP 10).
    #[arg(long, value_name = "X", value_parser = guidance, allow_negative_numbers = true)]
    guidance: Option<f64>,
    /// How a step leads to the next: dpm++ | ddim | pndm | plms; else the model's own.
    #[arg(long, value_name = "NAME")]
    scheduler: Option<Sampler>,
    /// Words to lead away from, in place of none.
    #[arg(long, value_name = "TEXT")]
    negative: Option<String>,
    /// Noise on image embeddings, from 0 to 999: pictures vary more the higher it is. By form `image` only.
    #[arg(long, value_name = "N")]
    noise_level: Option<usize>,
    /// Pictures that are drawn at once; else as many as fit.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    draw_batch: Option<u16>,
    /// Number of the first picture: noise is that of seed and number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    number: u64,
    /// Where pictures go: a PNG for one, a folder for several; else into the current folder.
    #[arg(long, short, value_name = "FILE|DIR")]
    output: Option<PathBuf>,
    /// Show pictures in the terminal, too.
    #[arg(long)]
    preview: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    whole(text, 1..=usize::MAX, "a whole number of at least 1")
}

fn steps(text: &str) -> Result<usize, String> {
    whole(text, 1..=1000, "a whole number from 1 to 1000")
}

fn whole(
    text: &str,
    range: std::ops::RangeInclusive<usize>,
    expected: &str,
) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("it must be {expected}"))
}

fn guidance(text: &str) -> Result<f64, String> {
    let sound = |scale: &f64| scale.is_finite() && *scale >= 0.0;
    let number = text.parse().ok().filter(sound);
    number.ok_or_else(|| "it must be a number of at least 0".to_owned())
}

/// A picture that is to be made.
pub(crate) struct Job {
    /// Its file's name without ending, where it is one of several.
    pub(crate) name: String,
    /// Its codes.
    pub(crate) codes: Vec<i64>,
    /// Its place among all, from 0: the number that its noise is chosen by is so much further on, and it stands there on the
    /// sheet.
    pub(crate) place: usize,
    /// What it is made from.
    pub(crate) source: Source,
    /// What stands beside it on the sheet.
    pub(crate) original: Option<RgbImage>,
}

/// What codes are made from, if that is known.
pub(crate) enum Source {
    /// A picture, by its name.
    Picture(String),
    /// Words.
    Caption(String),
    /// Nothing but themselves.
    Codes,
}

impl Source {
    /// The keyword, and what it says.
    fn named(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Picture(name) => Some(("source", name)),
            Self::Caption(words) => Some(("caption", words)),
            Self::Codes => None,
        }
    }

    /// What a file says, which may travel: of a picture not where it lay.
    fn in_file(&self) -> Option<(&'static str, String)> {
        let (keyword, text) = self.named()?;
        let name = Path::new(text).file_name().filter(|_| keyword == "source");
        let text = name.map_or(text.into(), |name| name.to_string_lossy());
        Some((keyword, text.into_owned()))
    }
}

impl PixelArguments {
    /// Where `several` pictures or one go; `usual` is the name where none is given.
    pub(crate) fn destination(&self, several: bool, usual: &str) -> Result<Destination, String> {
        Destination::plan(self.output.as_deref(), several, usual)
    }

    /// Checks what can be checked before anything is loaded.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.reference().map(|_| ())
    }

    /// The diffusion model that was named. The place for the one that ships: until it does, one must be.
    fn reference(&self) -> Result<&str, String> {
        let missing = "no diffusion model is part of this program yet: name one with --sd";
        self.sd.as_deref().ok_or_else(|| missing.to_owned())
    }

    /// Loads the diffusion model, and holds the settings against it and the tokenizer.
    pub(crate) fn painter(
        &self,
        (tokenizer, config): (&SeedTokenizer, &SeedConfig),
        seed: u64,
        device: &Device,
    ) -> Result<Painter, Box<dyn Error>> {
        let reference = self.reference()?;
        let choices = Choices {
            weights: self.sd_weights,
            prediction: self.sd_prediction,
        };
        let started = std::time::Instant::now();
        let text = self.sd_text.as_deref();
        let diffusion = DiffusionModel::open(reference, choices, text, device)?;
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!("{reference}: loaded in {seconds:.1} s");
        let settings = PixelSettings {
            form: self.form,
            prefix: self.prefix,
            steps: self.steps,
            guidance: self.guidance,
            sampler: self.scheduler,
            negative: self.negative.clone().unwrap_or_default(),
            noise_level: self.noise_level.unwrap_or(0),
            seed,
        };
        let codes = tokenizer.codes.clone();
        Ok(Painter::new(
            codes,
            &config.codes,
            diffusion,
            &settings,
            device,
        )?)
    }

    /// Begins to draw `total` pictures of codes by a tokenizer of this name.
    pub(crate) fn studio(
        &self,
        painter: Painter,
        destination: Destination,
        total: Total,
        tokenizer: &str,
        quiet: bool,
    ) -> Result<Studio, Box<dyn Error>> {
        destination.prepare()?;
        let stop = stop_on_ctrl_c()?;
        let size = painter.size();
        let fits = BATCH_PIXELS / (size[0] * size[1]).max(1);
        let batch = self
            .draw_batch
            .map_or(fits.clamp(1, BATCH) as usize, usize::from);
        let beside = if total.with_originals { 2 } else { 1 };
        let sheet = destination
            .sheet()
            .map(|path| (ContactSheet::new(total.pictures, beside, size), path));
        let calls = total.pictures.div_ceil(batch) * painter.calls();
        let bar = if quiet {
            ProgressBar::hidden()
        } else {
            output::bar(calls, "{bar:30} {pos}/{len} steps  {rate}  {eta} left")
        };
        let mut about = vec![
            (
                "Software",
                concat!("seed ", env!("CARGO_PKG_VERSION")).to_owned(),
            ),
            ("tokenizer", tokenizer.to_owned()),
        ];
        about.extend(painter.about());
        Ok(Studio {
            painter,
            destination,
            sheet,
            batch,
            first: self.number,
            preview: self.preview,
            format: total.format,
            bar,
            stop,
            about,
            delivered: 0,
        })
    }
}

/// What a command is about to draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Total {
    /// How many pictures.
    pub(crate) pictures: usize,
    /// Whether the sheet shows originals beside them.
    pub(crate) with_originals: bool,
    /// How a finished picture is told of.
    pub(crate) format: Format,
}

/// Where codes become files.
pub(crate) struct Studio {
    painter: Painter,
    destination: Destination,
    sheet: Option<(ContactSheet, PathBuf)>,
    batch: usize,
    first: u64,
    preview: bool,
    format: Format,
    bar: ProgressBar,
    stop: StopFlag,
    about: Vec<(&'static str, String)>,
    delivered: usize,
}

impl Studio {
    /// How many pictures are drawn at once.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// Says something between the lines of the progress.
    pub(crate) fn tell(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Draws some pictures, writes each into its place, and tells of it.
    pub(crate) fn paint(&mut self, mut jobs: Vec<Job>) -> Result<(), Box<dyn Error>> {
        while !jobs.is_empty() {
            let rest = jobs.split_off(jobs.len().min(self.batch));
            self.paint_batch(jobs)?;
            jobs = rest;
        }
        Ok(())
    }

    fn paint_batch(&mut self, jobs: Vec<Job>) -> Result<(), Box<dyn Error>> {
        self.stop.check()?;
        let codes: Vec<Vec<i64>> = jobs.iter().map(|job| job.codes.clone()).collect();
        let number = |job: &Job| self.first.wrapping_add(job.place as u64);
        let numbers: Vec<u64> = jobs.iter().map(number).collect();
        let drawn = self.painter.paint(&codes, &numbers, |_| {
            self.bar.inc(1);
            !self.stop.is_requested()
        })?;
        let Some(pictures) = drawn else {
            self.bar.finish_and_clear();
            self.stop.check()?;
            return Ok(());
        };
        for ((job, number), picture) in jobs.iter().zip(numbers).zip(pictures) {
            self.deliver(job, number, &picture)?;
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        job: &Job,
        number: u64,
        picture: &RgbImage,
    ) -> Result<(), Box<dyn Error>> {
        let codes: Vec<String> = job.codes.iter().map(ToString::to_string).collect();
        let own = [("codes", codes.join(" ")), ("picture", number.to_string())];
        let texts = self.about.iter().cloned().chain(own);
        let png = png_file::encoded(picture, texts.chain(job.source.in_file()))?;
        let path = self.destination.next(&job.name);
        output::to_file(&path, &png)?;
        self.delivered += 1;
        if let Some((sheet, _)) = &mut self.sheet {
            let place = usize::from(job.original.is_some());
            if let Some(original) = &job.original {
                sheet.put(job.place, 0, original);
            }
            sheet.put(job.place, place, picture);
        }
        self.bar.suspend(|| {
            if self.preview {
                preview::show(picture, &png)?;
            }
            self.told(&path, job)
        })?;
        Ok(())
    }

    /// A line on stdout.
    fn told(&self, path: &Path, job: &Job) -> io::Result<()> {
        let path = path.display().to_string();
        let line = match self.format {
            Format::Table => path,
            Format::Json => {
                let mut line = json!({ "picture": path, "codes": job.codes });
                if let Some((keyword, text)) = job.source.named() {
                    line[keyword] = text.into();
                }
                line.to_string()
            }
        };
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        stdout.flush()
    }

    /// Writes the sheet, where there is one and anything is on it.
    pub(crate) fn finish(self) -> Result<(), Box<dyn Error>> {
        self.bar.finish_and_clear();
        if let Some((sheet, path)) = self.sheet.filter(|_| self.delivered > 0) {
            let png = png_file::encoded(&sheet.into_picture(), self.about)?;
            output::to_file(&path, &png)?;
            if self.format == Format::Table {
                output::to_stdout(format!("{}\n", path.display()).as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Checks codes that were given, before anything is drawn; errors name their place.
pub(crate) fn check<'a>(
    painter: &Painter,
    rows: impl IntoIterator<Item = (&'a str, &'a [i64])>,
) -> Result<(), String> {
    let told = |place: &str, error: PixelError| match place {
        "" => error.to_string(),
        place => format!("{place}: {error}"),
    };
    rows.into_iter()
        .try_for_each(|(place, codes)| painter.check(codes).map_err(|error| told(place, error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused_in_words() {
        for text in ["0", "1001", "10000", "-1", "x", "1.5", ""] {
            assert!(steps(text).unwrap_err().contains("1 to 1000"), "{text}");
        }
        assert_eq!(steps("1000"), Ok(1000));
        for text in ["-1", "NaN", "inf", "x", ""] {
            assert!(guidance(text).unwrap_err().contains("at least 0"), "{text}");
        }
        assert_eq!(guidance("7.5"), Ok(7.5));
        assert!(at_least_one("0").is_err());
        assert_eq!(at_least_one("32"), Ok(32));
    }
}
