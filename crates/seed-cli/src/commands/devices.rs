//! `seed devices`: what is compiled in, what is found, and what it can do.

use clap::Args;
use comfy_table::{Table, presets::NOTHING};
use seed_device::{DeviceSpec, Support};

use crate::outcome::{Outcome, Status};

/// List devices: which backends are part of this build, and which of their devices are here.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed devices
  seed devices --verbose              # also precisions, 8-bit weights, and the part behind a device
  seed tokenize cat.png --device libtorch")]
pub(crate) struct Arguments {}

impl Arguments {
    #[expect(clippy::unused_self)] // Every command is called in the same way.
    pub(crate) fn run(&self, verbose: bool) -> Outcome {
        let mut table = Table::new();
        table.load_preset(NOTHING);
        let mut header = vec!["device", "feature", "state"];
        if verbose {
            header.splice(2..2, ["precisions", "8-bit weights", "part"]);
        }
        table.set_header(header);
        for spec in [
            DeviceSpec::Flex,
            DeviceSpec::NdArray,
            DeviceSpec::Libtorch,
            DeviceSpec::LibtorchCuda(0),
            DeviceSpec::Cuda(0),
            DeviceSpec::Wgpu,
        ] {
            let opened = spec.open();
            let state = match &opened {
                Ok(_) if spec == DeviceSpec::default() => "ready (default)".to_owned(),
                Ok(_) => "ready".to_owned(),
                Err(error) => error.to_string(),
            };
            let mut row = vec![spec.to_string(), spec.feature().to_owned(), state];
            if verbose {
                let abilities = opened.map_or_else(
                    |_| Default::default(),
                    |device| {
                        let support = Support::of(&device);
                        let precisions = support.precisions();
                        let precisions: Vec<_> =
                            precisions.iter().map(ToString::to_string).collect();
                        let eight_bit = if support.eight_bit { "yes" } else { "no" };
                        let part = seed_device::part(&device).unwrap_or_else(|| "CPU".to_owned());
                        [precisions.join(", "), eight_bit.to_owned(), part]
                    },
                );
                row.splice(2..2, abilities);
            }
            table.add_row(row);
        }
        crate::output::to_stdout(format!("{table}\n").as_bytes())?;
        Ok(Status::Done)
    }
}
