//! Pictures a second at full size, from weights that are made where they are used: nothing of a gigabyte travels.

use std::{process::Command, time::Instant};

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{DType, Distribution, Tensor},
};
use clap::Args;
use seed::{
    device::{Device, DeviceSpec, Precision, test_precisions},
    tokenizer::{SeedConfig, SeedTokenizer},
    train::BoxError,
};
use serde::{Deserialize, Serialize};

use crate::{machine, median::median};

/// The tokenizer of SEED v1, pictures to codes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The device.
    #[arg(long, default_value = "cuda:0")]
    device: DeviceSpec,
    /// Precisions of weights and activations.
    #[arg(long, value_delimiter = ',', default_value = "f32,f16,bf16")]
    dtypes: Vec<Precision>,
    /// Pictures at once.
    #[arg(long, value_delimiter = ',', default_value = "1,32,128")]
    batches: Vec<usize>,
    /// Timed passes; one more goes before them.
    #[arg(long, default_value_t = 5)]
    passes: usize,
    /// The nano tokenizer instead: shows that everything runs, and measures nothing.
    #[arg(long)]
    tiny: bool,
    /// A Python that can import torch and safetensors; `none` for none.
    #[arg(long, default_value = "python3")]
    peer: String,
}

/// What one competitor says of one precision.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    dtype: String,
    /// Operations a second of the largest matrix product.
    roofline: f64,
    /// Pictures at once, and seconds of each pass.
    passes: Vec<(usize, Vec<f64>)>,
    /// Memory reserved on a card, or of the process.
    peak_mb: Option<f64>,
}

impl Arguments {
    pub(crate) fn run(&self) -> Result<bool, BoxError> {
        let config = if self.tiny {
            SeedConfig::nano()
        } else {
            SeedConfig::seed_v1()
        };
        let device = self.device.open()?;
        let flops = config.cost(32, &device)?.encode_flops() as f64;
        println!(
            "{:.0} GFLOP a picture; the roofline is a product of {}² matrices, measured by each.\n",
            flops / 1e9,
            self.side()
        );
        println!(
            "| on | numbers | pictures at once | pictures/s (least–most) | TFLOP/s | of the roofline | peak MB |"
        );
        println!("|---|---|---|---|---|---|---|");
        match self.peers(&config) {
            Ok(answers) => answers
                .iter()
                .for_each(|answer| print_rows("PyTorch", flops, answer)),
            Err(reason) => println!("| PyTorch | {reason} | | | | | |"),
        }
        for precision in test_precisions(&device, &self.dtypes) {
            let answer = self.measure(&config, &device, precision)?;
            print_rows(&self.device.to_string(), flops, &answer);
        }
        Ok(true)
    }

    fn measure(
        &self,
        config: &SeedConfig,
        device: &Device,
        precision: Precision,
    ) -> Result<Answer, BoxError> {
        let dtype = precision.dtype();
        seed::device::seed(device, 1);
        let model = in_precision(config.init(device)?, dtype);
        let size = config.image.image_size;
        let normal = Distribution::Normal(0.0, 1.0);
        let mut passes = Vec::new();
        for &batch in &self.batches {
            let pictures = Tensor::<4>::random([batch, 3, size, size], normal, device);
            let pass = || {
                let begun = Instant::now();
                // Reading the codes waits for them.
                let codes = model.encode_in(pictures.clone(), dtype).into_data();
                drop(codes);
                begun.elapsed().as_secs_f64()
            };
            pass();
            passes.push((batch, (0..self.passes).map(|_| pass()).collect()));
        }
        drop(model);
        Ok(Answer {
            dtype: precision.to_string(),
            roofline: self.roofline(device, dtype)?,
            passes,
            peak_mb: machine::card_mb(device).or_else(machine::peak_mb),
        })
    }

    /// Side of the matrices whose product is the roofline.
    fn side(&self) -> usize {
        if self.tiny { 512 } else { 8_192 }
    }

    fn roofline(&self, device: &Device, dtype: DType) -> Result<f64, BoxError> {
        const TIMES: usize = 10;
        let side = self.side();
        let random = || {
            Tensor::<2>::random([side, side], Distribution::Normal(0.0, 1.0), device).cast(dtype)
        };
        let (a, b) = (random(), random());
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            device.sync().map_err(|error| format!("{error:?}"))?;
            let begun = Instant::now();
            for _ in 0..TIMES {
                drop(a.clone().matmul(b.clone()));
            }
            device.sync().map_err(|error| format!("{error:?}"))?;
            best = best.min(begun.elapsed().as_secs_f64() / TIMES as f64);
        }
        Ok(2.0 * (side as f64).powi(3) / best)
    }

    /// PyTorch in the same precisions, on the same hardware.
    fn peers(&self, config: &SeedConfig) -> Result<Vec<Answer>, BoxError> {
        if self.peer == "none" {
            return Err("not asked for".into());
        }
        let folder = tempfile::tempdir()?;
        let sizes = folder.path().join("sizes.json");
        std::fs::write(&sizes, serde_json::to_vec(config)?)?;
        let on_card = matches!(
            self.device,
            DeviceSpec::Cuda(_) | DeviceSpec::LibtorchCuda(_)
        );
        let batches: Vec<String> = self.batches.iter().map(ToString::to_string).collect();
        let dtypes: Vec<String> = self.dtypes.iter().map(ToString::to_string).collect();
        let output = Command::new(&self.peer)
            .arg(crate::repository().join("benches/peers/encode.py"))
            .arg(&sizes)
            .arg(if on_card { "cuda" } else { "cpu" })
            .args([dtypes.join(","), batches.join(",")])
            .args([self.passes.to_string(), self.side().to_string()])
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(said.lines().last().unwrap_or("it failed").into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

fn print_rows(name: &str, flops: f64, answer: &Answer) {
    for (batch, seconds) in &answer.passes {
        let rate = |seconds: f64| *batch as f64 / seconds;
        let least = seconds.iter().copied().fold(0.0, f64::max);
        let most = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let middle = rate(median(seconds));
        println!(
            "| {name} | {} | {batch} | {middle:.1} ({:.1}–{:.1}) | {:.2} | {:.0} % of {:.1} | {} |",
            answer.dtype,
            rate(least),
            rate(most),
            middle * flops / 1e12,
            100.0 * middle * flops / answer.roofline,
            answer.roofline / 1e12,
            answer
                .peak_mb
                .map_or("–".to_owned(), |mb| format!("{mb:.0}")),
        );
    }
}

/// The weights of products in image tower and token encoder in another type, as a checkpoint is loaded.
fn in_precision(mut model: SeedTokenizer, dtype: DType) -> SeedTokenizer {
    struct Cast(DType);
    impl ModuleMapper for Cast {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if D == 2 {
                param.map(|tensor| tensor.cast(self.0))
            } else {
                param
            }
        }
    }
    if dtype != DType::F32 {
        model.image = model.image.map(&mut Cast(dtype));
        model.tokens = model.tokens.map(&mut Cast(dtype));
    }
    model
}
