//! Whether a device computes what it should.

use std::path::PathBuf;

use burn::tensor::{DType, Tensor, TensorData};
use clap::Args;
use seed::{
    data::{Corpus, EvalTransform, Normalize, PairSet},
    device::{Device, DeviceSpec, Precision, test_precisions},
    parity::{Kit, run},
    tokenizer::nano,
    train::BoxError,
};

/// Parity, then codes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The device.
    #[arg(long, default_value = "cuda:0")]
    device: DeviceSpec,
    /// The kit.
    #[arg(long, default_value = "tests/fixtures")]
    kit: PathBuf,
    /// Pictures of the corpus whose codes are compared.
    #[arg(long, default_value_t = 512)]
    pictures: usize,
}

/// Least share of codes that are flex's, computed in f32. Codes whose two nearest rows are equally near may differ.
const LEAST_EQUAL: f64 = 0.99;

impl Arguments {
    /// False if a comparison failed.
    pub(crate) fn run(&self) -> Result<bool, BoxError> {
        let device = self.device.open()?;
        let result = run(&Kit::open(&self.kit)?, &device, |_| ());
        println!("{}\n", result.table());
        let pictures = self.normalised()?;
        let expected = codes(&pictures, &DeviceSpec::Flex.open()?, Precision::F32)?;
        let mut sound = result.passed();
        println!(
            "| codes of the nano tokenizer on {} | equal to flex f32 |",
            self.device
        );
        println!("|---|---|");
        let all = [Precision::F32, Precision::F16, Precision::Bf16];
        for precision in test_precisions(&device, &all) {
            let found = codes(&pictures, &device, precision)?;
            let pairs = expected.iter().zip(&found);
            let equal = pairs.filter(|(a, b)| a == b).count() as f64 / expected.len() as f64;
            println!(
                "| weights and activations {precision} | {:.2} % |",
                100.0 * equal
            );
            sound &= precision != Precision::F32 || equal >= LEAST_EQUAL;
        }
        Ok(sound)
    }

    fn normalised(&self) -> Result<Vec<Vec<f32>>, BoxError> {
        let config = nano::published()?.config;
        let size = config.image.image_size as u32;
        let set = Corpus::embedded()?.test_seen().with_size(size);
        let transform = EvalTransform::new(size);
        (0..self.pictures.min(set.len()))
            .map(|index| Ok(transform.tensor(&set.picture(index)?, &Normalize::clip())))
            .collect()
    }
}

/// Codes of pictures, weights and activations in one precision.
fn codes(
    pictures: &[Vec<f32>],
    device: &Device,
    precision: Precision,
) -> Result<Vec<i64>, BoxError> {
    const AT_ONCE: usize = 64;
    let published = nano::published()?;
    let dtype: DType = precision.dtype();
    let (model, _) = published.load(device, dtype)?;
    let size = published.config.image.image_size;
    let mut codes = Vec::new();
    for batch in pictures.chunks(AT_ONCE) {
        let data = TensorData::new(batch.concat(), [batch.len(), 3, size, size]);
        let found = model.encode_in(Tensor::from_data(data, device), dtype);
        codes.extend(found.into_data().iter::<i64>());
    }
    Ok(codes)
}
