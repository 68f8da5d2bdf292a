//! `seed devices`: what is compiled in, and what is found.

use clap::Args;
use comfy_table::{Table, presets::NOTHING};
use seed_device::DeviceSpec;

use crate::outcome::{Outcome, Status};

/// List devices: which backends are part of this build, and which of their devices are here.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed devices
  seed tokenize cat.png --device libtorch")]
pub(crate) struct Arguments {}

impl Arguments {
    #[expect(clippy::unused_self)] // Every command is called in the same way.
    pub(crate) fn run(&self) -> Outcome {
        let mut table = Table::new();
        table.load_preset(NOTHING);
        table.set_header(["device", "feature", "state"]);
        for spec in [
            DeviceSpec::Flex,
            DeviceSpec::NdArray,
            DeviceSpec::Libtorch,
            DeviceSpec::LibtorchCuda(0),
            DeviceSpec::Cuda(0),
            DeviceSpec::Wgpu,
        ] {
            let state = match spec.open() {
                Ok(_) if spec == DeviceSpec::default() => "ready (default)".to_owned(),
                Ok(_) => "ready".to_owned(),
                Err(error) => error.to_string(),
            };
            table.add_row([spec.to_string(), spec.feature().to_owned(), state]);
        }
        crate::output::to_stdout(format!("{table}\n").as_bytes())?;
        Ok(Status::Done)
    }
}
