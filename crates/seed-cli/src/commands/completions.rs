//! `seed completions`: what a shell needs to complete our command line.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::{
    outcome::{Outcome, Status},
    output,
};

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
    /// `command` is the whole command line.
    pub(crate) fn run(&self, mut command: Command) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "seed", &mut script);
        output::to_stdout(&script)?;
        Ok(Status::Done)
    }
}
