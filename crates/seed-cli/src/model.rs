//! Which tokenizer a command runs, and where.

use std::{error::Error, path::PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use clap::Args;
use seed_device::{DeviceSpec, Precision};
use seed_tokenizer::{PublishedTokenizer, SeedConfig, SeedTokenizer, nano};
use seed_weights::hub::{Hub, HubRepo};

/// The tokenizer and its device, as arguments of a command.
#[derive(Debug, Args)]
pub(crate) struct ModelArguments {
    /// A folder, a file, or hf:OWNER/NAME[@REVISION]; without it the nano tokenizer of this program.
    #[arg(long, value_name = "CHECKPOINT")]
    pub(crate) checkpoint: Option<String>,
    /// flex | ndarray | libtorch[:cuda:N] | cuda:N | wgpu (`seed devices` lists what is here).
    #[arg(long, default_value = "flex")]
    pub(crate) device: DeviceSpec,
    /// Precision in which the large weights are kept: f32 | f16 | bf16. They compute in f32.
    #[arg(long, default_value = "f32")]
    pub(crate) dtype: Precision,
}

/// A loaded tokenizer.
pub(crate) struct Model {
    pub(crate) tokenizer: SeedTokenizer,
    pub(crate) config: SeedConfig,
    pub(crate) device: Device,
}

impl Model {
    /// Codes of prepared pictures, a row a picture, with activations of that precision.
    pub(crate) fn encode(
        &self,
        pictures: Vec<Vec<f32>>,
        activations: Precision,
    ) -> Result<Vec<Vec<i64>>, Box<dyn Error>> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let (count, size) = (pictures.len(), self.config.image.image_size);
        let data = TensorData::new(pictures.concat(), [count, 3, size, size]);
        let pictures = Tensor::from_data(data, &self.device);
        let codes = self.tokenizer.encode_in(pictures, activations.dtype());
        let positions = codes.dims()[1];
        let codes: Vec<i64> = codes.try_into_data()?.iter::<i64>().collect();
        Ok(codes.chunks(positions).map(<[i64]>::to_vec).collect())
    }
}

impl ModelArguments {
    /// Finds the tokenizer, fetched first if it is on the hub, and reads what it is.
    pub(crate) fn open(&self) -> Result<PublishedTokenizer, Box<dyn Error>> {
        Ok(match &self.checkpoint {
            None => nano::published()?,
            Some(reference) => PublishedTokenizer::open(local(reference)?)?,
        })
    }

    /// Opens the device and loads the tokenizer onto it; what was loaded is a note on stderr.
    pub(crate) fn load(&self, published: PublishedTokenizer) -> Result<Model, Box<dyn Error>> {
        let device = self.device.open()?;
        let started = std::time::Instant::now();
        let (tokenizer, report) = published.load(&device, self.dtype.dtype())?;
        tracing::info!(
            "{}: {}, loaded in {:.1} s",
            published.checkpoint.name(),
            published.release,
            started.elapsed().as_secs_f64()
        );
        tracing::info!("{report}");
        Ok(Model {
            tokenizer,
            config: published.config,
            device,
        })
    }
}

/// The path of a checkpoint, fetched first if it is on the hub.
pub(crate) fn local(reference: &str) -> Result<PathBuf, Box<dyn Error>> {
    if reference.starts_with("hf:") {
        let repository: HubRepo = reference.parse()?;
        return Ok(Hub::from_env()?.fetch(&repository)?.weights);
    }
    Ok(PathBuf::from(reference))
}
