//! `seed completions`: what a shell needs to complete our command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{Outcome, Status, arguments::Cli};

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed completions bash > ~/.local/share/bash-completion/completions/seed
  seed completions zsh > ~/.zfunc/_seed
  seed completions fish > ~/.config/fish/completions/seed.fish")]
pub(crate) struct Arguments {
    /// The shell.
    shell: Shell,
}

impl Arguments {
    pub(crate) fn run(&self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "seed", &mut script);
        crate::output::to_stdout(&script)?;
        Ok(Status::Done)
    }
}
