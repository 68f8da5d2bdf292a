//! One file a command.

pub(crate) mod ask;
pub(crate) mod caption;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod cost;
pub(crate) mod decode;
pub(crate) mod devices;
pub(crate) mod draw;
pub(crate) mod eval;
pub(crate) mod inspect;
pub(crate) mod man;
pub(crate) mod parity;
pub(crate) mod reconstruct;
pub(crate) mod tokenize;
pub(crate) mod train;

use clap::CommandFactory;

use crate::{
    arguments::{Cli, Command},
    outcome::Outcome,
};

/// Runs the command that was asked for.
pub(crate) fn run(cli: &Cli) -> Outcome {
    match &cli.command {
        Command::Tokenize(arguments) => arguments.run(cli.quiet),
        Command::Caption(arguments) => arguments.run(),
        Command::Ask(arguments) => arguments.run(),
        Command::Draw(arguments) => arguments.run(cli.quiet),
        Command::Decode(arguments) => arguments.run(cli.quiet),
        Command::Reconstruct(arguments) => arguments.run(cli.quiet),
        Command::Train(command) => command.run(cli.quiet),
        Command::Eval(command) => command.run(cli.quiet),
        Command::Inspect(arguments) => arguments.run(),
        Command::Convert(arguments) => arguments.run(cli.quiet),
        Command::Parity(arguments) => arguments.run(cli.quiet),
        Command::Cost(arguments) => arguments.run(),
        Command::Devices(arguments) => arguments.run(cli.verbose > 0),
        Command::Completions(arguments) => arguments.run(Cli::command()),
        Command::Man(arguments) => arguments.run(Cli::command()),
    }
}
