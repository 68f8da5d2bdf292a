//! `seed cost`: what a model needs, before one starts.

use std::{fmt::Write, path::PathBuf, time::Instant};

use burn::tensor::{Device, Distribution, Tensor};
use clap::Args;
use seed_device::DeviceSpec;
use seed_tokenizer::{SeedConfig, StepCost};

use crate::{
    outcome::{Outcome, Status},
    output::{bytes, table, thousands},
};

/// Show parameters, operations, memory and time of a tokenizer before it runs.
///
/// Times divide the operations by the rate of a matrix product measured on the device now: real runs are
/// slower by what norms, memory and the loader cost.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed cost --preset seed-v1
  seed cost --preset seed-v1 --device cuda:0 --images 5000000 --epochs 1 --batch-size 64
  seed cost --config model.toml")]
pub(crate) struct Arguments {
    /// seed-v1 | seed-v2 | nano
    #[arg(long, default_value = "seed-v1", conflicts_with = "config")]
    preset: String,
    /// Sizes and options in TOML or JSON instead of a preset.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The device whose rate is measured.
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Pictures in a step.
    #[arg(long, default_value_t = 64)]
    batch_size: u64,
    /// Tokens of a caption.
    #[arg(long, default_value_t = 32)]
    text_length: usize,
    /// Pictures of the data set.
    #[arg(long, default_value_t = 5_000_000)]
    images: u64,
    /// How often each is seen in a stage.
    #[arg(long, default_value_t = 1.0)]
    epochs: f64,
}

/// Seconds for which the rate is measured.
const MEASURED_SECONDS: f64 = 1.0;

impl Arguments {
    pub(crate) fn run(&self) -> Outcome {
        let config = self.read_config()?;
        let device = self.device.open()?;
        let cost = config.cost(self.text_length, &device)?;
        let rate = matrix_rate(&device);
        let mut text = format!("{}\n", self.config_name());

        let mut parts = table(["part", "parameters", "GFLOP an image", "f32", "f16"]);
        for part in cost.parts() {
            parts.add_row([
                part.name.to_owned(),
                thousands(part.parameters),
                giga(part.flops),
                bytes(4 * part.parameters),
                bytes(2 * part.parameters),
            ]);
        }
        parts.add_row([
            "picture → codes".to_owned(),
            thousands(cost.parameters()),
            giga(cost.encode_flops()),
            bytes(4 * cost.parameters()),
            bytes(2 * cost.parameters()),
        ]);
        writeln!(text, "\n{parts}")?;

        let images = self.images as f64;
        let mut runs = table([
            "work",
            "GFLOP a step",
            "memory, about",
            &format!("{} images", thousands(self.images)),
            "without the cache",
        ]);
        let steps = images * self.epochs / self.batch_size as f64;
        for (name, step) in [
            ("stage I step", cost.stage_one(self.batch_size)),
            ("stage II step", cost.stage_two(self.batch_size)),
        ] {
            let StepCost {
                flops,
                frozen_flops,
                bytes: memory,
            } = step;
            let once = images * frozen_flops as f64 / self.batch_size as f64;
            runs.add_row([
                name.to_owned(),
                giga(flops),
                bytes(memory),
                hours((steps * flops as f64 + once) / rate),
                hours(steps * (flops + frozen_flops) as f64 / rate),
            ]);
        }
        runs.add_row([
            "tokenize".to_owned(),
            giga(cost.encode_flops() * self.batch_size),
            bytes(4 * cost.parameters()),
            hours(images * cost.encode_flops() as f64 / rate),
            String::new(),
        ]);
        writeln!(
            text,
            "\nbatch {}, captions of {} tokens, {} epoch(s); {} at {:.0} GFLOP/s in f32 (measured)\n{runs}",
            self.batch_size,
            self.text_length,
            self.epochs,
            self.device,
            rate / 1e9
        )?;
        crate::output::to_stdout(text.as_bytes())?;
        Ok(Status::Done)
    }

    fn config_name(&self) -> String {
        match &self.config {
            Some(file) => file.display().to_string(),
            None => self.preset.clone(),
        }
    }

    fn read_config(&self) -> Result<SeedConfig, Box<dyn std::error::Error>> {
        match &self.config {
            Some(file) => Ok(seed_train::load_config(file)?),
            None => SeedConfig::preset(&self.preset).ok_or_else(|| {
                format!(
                    "unknown preset `{}`: write seed-v1, seed-v2 or nano",
                    self.preset
                )
                .into()
            }),
        }
    }
}

/// Operations a second of an f32 matrix product.
fn matrix_rate(device: &Device) -> f64 {
    const SIDE: usize = 1024;
    let random = || Tensor::<2>::random([SIDE, SIDE], Distribution::Uniform(-1.0, 1.0), device);
    let (a, b) = (random(), random());
    // The first product pays for threads and memory; reading an element waits for the device.
    let run = || {
        a.clone()
            .matmul(b.clone())
            .narrow(0, 0, 1)
            .sum()
            .into_scalar::<f32>()
    };
    run();
    let started = Instant::now();
    let mut products = 0u32;
    while started.elapsed().as_secs_f64() < MEASURED_SECONDS {
        run();
        products += 1;
    }
    let operations = 2.0 * (SIDE as f64).powi(3) * f64::from(products);
    operations / started.elapsed().as_secs_f64()
}

fn giga(flops: u64) -> String {
    let giga = flops as f64 / 1e9;
    if giga < 10.0 {
        format!("{giga:.3}")
    } else {
        thousands(giga.round() as u64)
    }
}

fn hours(seconds: f64) -> String {
    let hours = seconds / 3600.0;
    if hours < 1.0 {
        format!("{:.1} min", hours * 60.0)
    } else {
        format!("{} h", thousands(hours.round() as u64))
    }
}
