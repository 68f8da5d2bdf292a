//! `seed parity`: every model against recorded numbers of the reference.

use std::{io::IsTerminal, path::PathBuf};

use clap::Args;
use seed_device::DeviceSpec;
use seed_parity::{CaseResult, Kit};

use crate::{
    outcome::{Outcome, Status},
    output::{self, Format},
};

/// Compare every model with the numbers of a conformance kit.
///
/// A kit is a folder of cases, each with `config.json`, weights, inputs, outputs and `stats.json`, which holds the
/// tolerances. The exit status is 3 if a case fails; a case whose model is not built is listed as skipped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed parity tests/fixtures
  seed parity kit/ --device libtorch --all
  seed parity kit/ --device cuda:0 --against flex")]
pub(crate) struct Arguments {
    /// The folder of cases.
    kit: PathBuf,
    /// flex | ndarray | libtorch[:cuda:N] | cuda:N | wgpu
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Compare with this device's outputs instead of the recorded ones.
    #[arg(long, value_name = "DEVICE")]
    against: Option<DeviceSpec>,
    /// One line a tensor instead of one a case.
    #[arg(long)]
    all: bool,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Outcome {
        let kit = Kit::open(&self.kit)?;
        let device = self.device.open()?;
        let total = kit.cases().len();
        let mut done = 0;
        let progress = |case: &CaseResult| {
            done += 1;
            if !quiet && std::io::stderr().is_terminal() {
                eprint!("\r\x1b[K{done}/{total} {}", case.name);
            }
        };
        let result = match self.against {
            None => seed_parity::run(&kit, &device, progress),
            Some(other) => seed_parity::run_against(&kit, &device, &other.open()?, progress),
        };
        if !quiet && std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        let text = match (self.format, self.all) {
            (Format::Json, _) => serde_json::to_string_pretty(&result)? + "\n",
            (Format::Table, true) => format!("{}\n", result.verbose_table()),
            (Format::Table, false) => format!("{}\n", result.table()),
        };
        output::to_stdout(text.as_bytes())?;
        Ok(if result.passed() {
            Status::Done
        } else {
            Status::Partly
        })
    }
}
