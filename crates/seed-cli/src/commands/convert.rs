//! `seed convert`: any checkpoint into one safetensors file.

use std::path::PathBuf;

use clap::Args;
use seed_device::Precision;
use seed_tokenizer::PublishedTokenizer;
use seed_weights::{About, Checkpoint};

use crate::{
    model::local,
    outcome::{Outcome, Status},
    output,
};

/// Write a checkpoint of any format as one safetensors file, in the same key names.
///
/// With --tokenizer the files of a release become one tokenizer with its config, which `seed tokenize`
/// opens without asking for more. An old file stays until the new one is whole.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed convert eva_vit_g.pth eva_vit_g.safetensors
  seed convert weights/ seed-v1.safetensors --tokenizer --dtype f16
  seed convert hf:facebook/opt-125m opt-125m.safetensors")]
pub(crate) struct Arguments {
    /// A file, a folder, an index of shards, or hf:OWNER/NAME[@REVISION].
    #[arg(value_name = "CHECKPOINT")]
    input: String,
    /// The file to write.
    output: PathBuf,
    /// Precision of the floats in it: f32 | f16 | bf16; as they are otherwise.
    #[arg(long)]
    dtype: Option<Precision>,
    /// Join the files of a SEED release, and add the config.
    #[arg(long)]
    tokenizer: bool,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Outcome {
        let path = local(&self.input)?;
        let dtype = self.dtype.map(Precision::dtype);
        let (checkpoint, about) = if self.tokenizer {
            let published = PublishedTokenizer::open(&path)?;
            let config = serde_json::to_string(&published.config)?;
            (
                published.checkpoint,
                About::config(config).with("release", published.release),
            )
        } else {
            (Checkpoint::open(&path)?, About::default())
        };
        let about = about.with("converted from", checkpoint.name());
        let report = seed_weights::convert(&checkpoint, &self.output, dtype, about)?;
        if !quiet {
            let text = format!("{}: {report}\n", self.output.display());
            output::to_stdout(text.as_bytes())?;
        }
        Ok(Status::Done)
    }
}
