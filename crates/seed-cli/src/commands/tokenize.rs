//! `seed tokenize`: pictures in, codes out.

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use safetensors::{Dtype, tensor::TensorView};
use seed_data::{EvalTransform, Filter, PictureOptions};
use seed_device::Precision;
use serde_json::json;

use crate::{
    model::ModelArguments,
    outcome::{Outcome, Status},
    output,
    pictures::{Prepared, prepared, sources, with_name},
};

/// Turn pictures into codes.
///
/// Each picture becomes as many codes as the tokenizer has queries, in causal order. A picture that cannot
/// be read is named on stderr and left out; the exit status is then 3.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed tokenize cat.png                             codes of one picture, by the nano tokenizer
  seed tokenize photos/ --format jsonl > codes.jsonl
  find . -name '*.jpg' | seed tokenize -            a list of paths on stdin
  curl -s $URL | seed tokenize -                    a picture on stdin
  seed tokenize photos/ --checkpoint weights/ --device cuda:0 --format safetensors --output codes.safetensors")]
pub(crate) struct Arguments {
    /// Pictures (PNG, JPEG, WebP, GIF, BMP), folders of pictures, or `-` for stdin.
    #[arg(required = true, value_name = "IMAGE|DIR|-")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    /// How the codes are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// File to write instead of stdout; it appears when all is done.
    #[arg(
        long,
        short,
        value_name = "FILE",
        required_if_eq("format", "safetensors")
    )]
    output: Option<PathBuf>,
    /// Pictures that go through the model at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
    /// Type of the activations in image tower and Q-Former: f32 | f16 | bf16. A half is much faster on a GPU; codes whose
    /// two nearest rows are close together may differ.
    #[arg(long, default_value = "f32")]
    activations: Precision,
    /// Filter of the resize; the reference uses both, and codes depend on it.
    #[arg(long, value_enum, default_value_t = Resize::Bicubic)]
    resize: Resize,
    /// Read pictures as the reference does: no EXIF rotation, alpha dropped instead of put on white.
    #[arg(long)]
    reference_decoding: bool,
    /// Stop at the first picture that cannot be read.
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The name, a tab, the codes separated by spaces.
    Text,
    /// One array of `{"image": …, "codes": […]}`.
    Json,
    /// One such object a line.
    Jsonl,
    /// `codes` as i64 `[pictures, positions]`, the names in the metadata as JSON.
    Safetensors,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Resize {
    Bicubic,
    Bilinear,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Outcome {
        let sources = sources(&self.inputs)?;
        let model = self.model.load(self.model.open()?)?;
        self.activations.require_on(&model.device)?;
        let transform = EvalTransform {
            size: model.config.image.image_size as u32,
            filter: match self.resize {
                Resize::Bicubic => Filter::Bicubic,
                Resize::Bilinear => Filter::Bilinear,
            },
        };
        let options = if self.reference_decoding {
            PictureOptions::reference()
        } else {
            PictureOptions::default()
        };
        let bar = progress(sources.len(), quiet || self.writes_to_terminal());
        let mut sink = Sink::new(self.format, self.output.clone());
        let mut left_out = 0;
        for batch in prepared(sources, self.batch_size.into(), transform, options) {
            let count = batch.len();
            let (readable, failures) = split(batch);
            for (name, reason) in failures {
                if self.strict {
                    return Err(reason.into());
                }
                left_out += 1;
                bar.suspend(|| eprintln!("left out: {}", with_name(&name, &reason)));
            }
            let names = readable.iter().map(|(name, _)| name.clone()).collect();
            let pixels = readable.into_iter().map(|(_, pixels)| pixels);
            let codes = model.encode(pixels.collect(), self.activations)?;
            sink.push(names, codes)?;
            bar.inc(count as u64);
        }
        bar.finish_and_clear();
        sink.finish()?;
        Ok(match left_out {
            0 => Status::Done,
            _ => Status::Partly,
        })
    }

    fn writes_to_terminal(&self) -> bool {
        self.output.is_none() && io::stdout().is_terminal()
    }
}

type Named<T> = Vec<(String, T)>;

fn split(batch: Vec<Prepared>) -> (Named<Vec<f32>>, Named<String>) {
    let (mut readable, mut failures) = (Vec::new(), Vec::new());
    for Prepared { name, picture } in batch {
        match picture {
            Ok(picture) => readable.push((name, picture.pixels)),
            Err(reason) => failures.push((name, reason)),
        }
    }
    (readable, failures)
}

/// Where codes go. Lines appear as they are made; the other formats when all are there.
struct Sink {
    format: Format,
    output: Option<PathBuf>,
    lines: Vec<u8>,
    names: Vec<String>,
    codes: Vec<Vec<i64>>,
}

impl Sink {
    fn new(format: Format, output: Option<PathBuf>) -> Self {
        Self {
            format,
            output,
            lines: Vec::new(),
            names: Vec::new(),
            codes: Vec::new(),
        }
    }

    fn push(&mut self, names: Vec<String>, codes: Vec<Vec<i64>>) -> io::Result<()> {
        if matches!(self.format, Format::Json | Format::Safetensors) {
            self.names.extend(names);
            self.codes.extend(codes);
            return Ok(());
        }
        for (name, codes) in names.iter().zip(codes) {
            match self.format {
                Format::Text => {
                    let codes: Vec<String> = codes.iter().map(i64::to_string).collect();
                    writeln!(self.lines, "{name}\t{}", codes.join(" "))?;
                }
                _ => writeln!(self.lines, "{}", json!({ "image": name, "codes": codes }))?,
            }
        }
        if self.output.is_none() {
            output::to_stdout(&self.lines)?;
            self.lines.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Box<dyn Error>> {
        let bytes = match self.format {
            Format::Text | Format::Jsonl => self.lines,
            Format::Json => {
                let rows = self.names.iter().zip(&self.codes);
                let rows: Vec<_> = rows
                    .map(|(name, codes)| json!({ "image": name, "codes": codes }))
                    .collect();
                self.lines = serde_json::to_vec_pretty(&rows)?;
                self.lines.push(b'\n');
                self.lines
            }
            Format::Safetensors => to_safetensors(&self.names, &self.codes)?,
        };
        match &self.output {
            Some(file) => output::to_file(file, &bytes)?,
            None => output::to_stdout(&bytes)?,
        }
        Ok(())
    }
}

fn to_safetensors(names: &[String], codes: &[Vec<i64>]) -> Result<Vec<u8>, Box<dyn Error>> {
    let positions = codes.first().map_or(0, Vec::len);
    let bytes: Vec<u8> = codes
        .iter()
        .flatten()
        .flat_map(|c| c.to_le_bytes())
        .collect();
    let view = TensorView::new(Dtype::I64, vec![codes.len(), positions], &bytes)?;
    let metadata = [("images".to_owned(), serde_json::to_string(names)?)];
    Ok(safetensors::serialize(
        [("codes", view)],
        Some(metadata.into()),
    )?)
}

fn progress(total: usize, hidden: bool) -> ProgressBar {
    if hidden || total < 2 {
        return ProgressBar::hidden();
    }
    output::bar(total, "{bar:30} {pos}/{len} images  {per_sec}  {eta} left")
}
