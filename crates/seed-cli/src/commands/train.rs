//! `seed train`: what the examples do, from anywhere.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use seed_device::DeviceSpec;
use seed_train::{
    Existing, ProgressMode, StopFlag,
    recipes::{LmRun, LmRunOutcome, TokenizerRun, TokenizerRunOutcome},
};

use crate::{Outcome, Status, output};

/// Train a model.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Tokenizer(TokenizerArguments),
    Lm(LmArguments),
}

/// Train a tokenizer: stage I (causal Q-Former), stage II (codes), report.
///
/// Without --data it trains the nano tokenizer on the embedded corpus. Ctrl-C stops with a checkpoint.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed train tokenizer --smoke                       a minute, to see that everything works
  seed train tokenizer --data photos/ --name photos  your own pictures
  seed train tokenizer --name photos --data photos/ --resume
  seed train tokenizer --print-config > mine.toml    then edit it, and --config mine.toml
  seed tokenize cat.png --checkpoint runs/photos     what was trained")]
pub(crate) struct TokenizerArguments {
    #[command(flatten)]
    run: RunArguments,
    /// Name of this run's folder below --runs.
    #[arg(long, default_value = "tokenizer")]
    name: String,
    /// Train the frozen parts anew first instead of using the shipped ones (hours).
    #[arg(long)]
    pretrain: bool,
}

/// Train a language model: an adapter and a visual vocabulary on a frozen OPT, image to text first, then both ways.
///
/// Without --data it trains the nano OPT on the embedded corpus. Ctrl-C stops with a checkpoint.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed train lm --smoke                              a minute, to see that everything works
  seed train lm --tokenizer runs/tokenizer           on codes of your own tokenizer
  seed train lm --continuous --name lm-continuous    the baseline that reads embeddings instead of codes
  seed train lm --baseline runs/lm-continuous        codes, with the baseline's captions in the same table
  seed train lm --print-config > mine.toml           then edit it, and --config mine.toml
  seed caption cat.png --lm runs/lm                  what was trained")]
pub(crate) struct LmArguments {
    #[command(flatten)]
    run: RunArguments,
    /// Name of this run's folder below --runs.
    #[arg(long, default_value = "lm")]
    name: String,
    /// An image tokenizer: a run's folder or a published file; without it the nano tokenizer of this program.
    #[arg(long, value_name = "CHECKPOINT")]
    tokenizer: Option<PathBuf>,
    /// An OPT as a folder of transformers' files; without it the nano OPT of this program.
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// The baseline without codes: causal embeddings that were not quantised are read.
    #[arg(long)]
    continuous: bool,
    /// The folder of a finished run with --continuous: its captions are shown beside.
    #[arg(long, value_name = "RUN", conflicts_with = "continuous")]
    baseline: Option<PathBuf>,
}

/// What every training is asked in the same words.
#[derive(Debug, Args)]
struct RunArguments {
    /// flex | ndarray | libtorch[:cuda:N] | cuda:N | wgpu
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Your own pictures: a folder with captions.jsonl, or a .txt beside each picture.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of all runs.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Go on where the run of this name stopped; with more steps in the config, make it longer.
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Replace a run of this name.
    #[arg(long)]
    overwrite: bool,
    /// A minute's run: shows that everything works, learns little.
    #[arg(long)]
    smoke: bool,
    /// Settings in TOML instead of the nano defaults; --print-config shows those.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the settings and leave.
    #[arg(long)]
    print_config: bool,
    /// Seed of both stages, or of both phases.
    #[arg(long)]
    seed: Option<u64>,
}

impl RunArguments {
    fn existing(&self) -> Existing {
        Existing::asked(self.resume, self.overwrite)
    }
}

fn progress(quiet: bool) -> ProgressMode {
    if quiet {
        ProgressMode::Quiet
    } else {
        ProgressMode::Auto
    }
}

impl LmArguments {
    fn run(&self, quiet: bool) -> Outcome {
        let run = LmRun {
            device: self.run.device,
            tokenizer: self.tokenizer.clone(),
            base: self.base.clone(),
            data: self.run.data.clone(),
            config: self.run.config.clone(),
            seed: self.run.seed,
            continuous: self.continuous,
            baseline: self.baseline.clone(),
            smoke: self.run.smoke,
            runs: self.run.runs.clone(),
            name: self.name.clone(),
            existing: self.run.existing(),
            progress: progress(quiet),
        };
        if self.run.print_config {
            let config = toml::to_string_pretty(&run.settings()?)?;
            output::to_stdout(config.as_bytes())?;
            return Ok(Status::Done);
        }
        let device = run.device.open()?;
        let text = match run.train(&device, StopFlag::on_ctrl_c()?)? {
            LmRunOutcome::Finished { report, folder } => format!(
                "{}\nreport: {}\nuse it: seed caption IMAGE --lm {}\n",
                report.terminal_table(),
                folder.join("report.html").display(),
                folder.display()
            ),
            LmRunOutcome::Interrupted { stage, step } => {
                format!("stopped in {stage} after step {step}; go on with --resume\n")
            }
        };
        output::to_stdout(text.as_bytes())?;
        Ok(Status::Done)
    }
}

impl Command {
    pub(crate) fn run(&self, quiet: bool) -> Outcome {
        match self {
            Self::Tokenizer(arguments) => arguments.run(quiet),
            Self::Lm(arguments) => arguments.run(quiet),
        }
    }
}

impl TokenizerArguments {
    fn run(&self, quiet: bool) -> Outcome {
        let run = TokenizerRun {
            device: self.run.device,
            data: self.run.data.clone(),
            config: self.run.config.clone(),
            seed: self.run.seed,
            smoke: self.run.smoke,
            pretrain: self.pretrain,
            runs: self.run.runs.clone(),
            name: self.name.clone(),
            existing: self.run.existing(),
            progress: progress(quiet),
        };
        if self.run.print_config {
            let config = toml::to_string_pretty(&run.settings()?)?;
            output::to_stdout(config.as_bytes())?;
            return Ok(Status::Done);
        }
        let device = run.device.open()?;
        let text = match run.train(&device, StopFlag::on_ctrl_c()?)? {
            TokenizerRunOutcome::Finished { report, folder } => format!(
                "{}\nreport: {}\nuse it: seed tokenize IMAGE --checkpoint {}\n",
                report.terminal_table(),
                folder.join("report.html").display(),
                folder.display()
            ),
            TokenizerRunOutcome::Interrupted { stage, step } => {
                format!("stopped in {stage} after step {step}; go on with --resume\n")
            }
        };
        output::to_stdout(text.as_bytes())?;
        Ok(Status::Done)
    }
}
