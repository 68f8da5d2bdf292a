//! The command line: what all commands share, and the list of them.

use clap::{ArgAction, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::commands::{
    ask, caption, completions, convert, cost, decode, devices, draw, eval, inspect, man, parity,
    reconstruct, tokenize, train,
};

/// What the exit status says.
pub(crate) const EXIT_CODES: &str = "\
Exit status:
  0  all was done
  1  an error, told in one line
  2  the command line makes no sense
  3  done, but some inputs were left out, or a parity case failed";

/// Image tokens for language models: SEED (arXiv 2307.08041).
#[derive(Debug, Parser)]
#[command(name = "seed", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Cli {
    /// Say less: no progress, no notes.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more; twice for every detail.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Tokenize(tokenize::Arguments),
    Caption(caption::Arguments),
    Ask(ask::Arguments),
    Draw(draw::Arguments),
    Decode(decode::Arguments),
    Reconstruct(reconstruct::Arguments),
    #[command(subcommand)]
    Train(train::Command),
    #[command(subcommand)]
    Eval(eval::Command),
    Inspect(inspect::Arguments),
    Convert(convert::Arguments),
    Parity(parity::Arguments),
    Cost(cost::Arguments),
    Devices(devices::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

impl Cli {
    /// Diagnostics go to stderr, as many as asked for.
    pub(crate) fn set_up_logging(&self) {
        let level = match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::ERROR,
            (_, 0) => LevelFilter::WARN,
            (_, 1) => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        };
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(std::io::stderr)
            .with_ansi(wants_colour())
            .without_time()
            .with_target(false)
            .init();
    }
}

/// <https://no-color.org>, and colour for terminals alone.
fn wants_colour() -> bool {
    use std::io::IsTerminal;
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::io::stderr().is_terminal()
}
