//! `seed train`: what the examples do, from anywhere.

use clap::{Args, Subcommand};
use seed_recipes::{
    autoencoder::AutoencoderRun, diffusion::DiffusionRun, language::LmRun, stop_on_ctrl_c,
    tokenizer::TokenizerRun,
};
use seed_train::ProgressMode;
use serde::Serialize;

use crate::{
    outcome::{Outcome, Status},
    output,
};

/// Train a model.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Tokenizer(TokenizerArguments),
    Lm(LmArguments),
    Autoencoder(AutoencoderArguments),
    Diffusion(DiffusionArguments),
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
    run: TokenizerRun,
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
    run: LmRun,
}

/// Train the autoencoder of a diffusion model: pictures to latents, and back.
///
/// Without --data it trains the nano autoencoder on the embedded corpus. Ctrl-C stops with a checkpoint.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed train autoencoder --smoke                     a minute, to see that everything works
  seed train autoencoder --device libtorch           an hour
  seed train diffusion --autoencoder runs/autoencoder   what comes next")]
pub(crate) struct AutoencoderArguments {
    #[command(flatten)]
    run: AutoencoderRun,
}

/// Train the UNet of a diffusion model: it draws latents from text states, from an image embedding, or from both.
///
/// Without --data it trains the nano UNet on the embedded corpus. Ctrl-C stops with a checkpoint. The run's folder is a model
/// as diffusers saves one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed train diffusion --autoencoder runs/autoencoder --smoke
  seed train diffusion --autoencoder runs/autoencoder --device libtorch   two hours
  seed draw \"red apple\" --sd runs/diffusion         what was trained")]
pub(crate) struct DiffusionArguments {
    #[command(flatten)]
    run: DiffusionRun,
}

impl Command {
    pub(crate) fn run(&self, quiet: bool) -> Outcome {
        let progress = if quiet {
            ProgressMode::Quiet
        } else {
            ProgressMode::Auto
        };
        match self {
            Self::Tokenizer(TokenizerArguments { run }) => {
                if run.options.print_config {
                    return print_config(&run.settings()?);
                }
                let device = run.options.open_device()?;
                told(run.train(&device, progress, stop_on_ctrl_c()?)?)
            }
            Self::Lm(LmArguments { run }) => {
                if run.options.print_config {
                    return print_config(&run.settings()?);
                }
                let device = run.options.open_device()?;
                told(run.train(&device, progress, stop_on_ctrl_c()?)?)
            }
            Self::Autoencoder(AutoencoderArguments { run }) => {
                if run.options.print_config {
                    return print_config(&run.settings()?);
                }
                let device = run.options.open_device()?;
                told(run.train(&device, progress, stop_on_ctrl_c()?)?)
            }
            Self::Diffusion(DiffusionArguments { run }) => {
                if run.options.print_config {
                    return print_config(&run.settings()?);
                }
                let device = run.options.open_device()?;
                told(run.train(&device, progress, stop_on_ctrl_c()?)?)
            }
        }
    }
}

fn print_config(settings: &impl Serialize) -> Outcome {
    let config = toml::to_string_pretty(settings)?;
    output::to_stdout(config.as_bytes())?;
    Ok(Status::Done)
}

fn told(outcome: impl std::fmt::Display) -> Outcome {
    output::to_stdout(format!("{outcome}\n").as_bytes())?;
    Ok(Status::Done)
}
