//! `seed man`: the manual pages.

use std::path::PathBuf;

use clap::{Args, Command};

use crate::{
    outcome::{Outcome, Status},
    output,
};

/// Print the manual page, or write one page for every command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed man | man -l -
  seed man --output ~/.local/share/man/man1")]
pub(crate) struct Arguments {
    /// Folder in which to write `seed.1`, `seed-tokenize.1`, …; it is made if it is not there.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Arguments {
    /// `command` is the whole command line.
    pub(crate) fn run(&self, command: Command) -> Outcome {
        if let Some(folder) = &self.output {
            std::fs::create_dir_all(folder)
                .and_then(|()| clap_mangen::generate_to(command, folder))
                .map_err(|error| format!("{}: {error}", folder.display()))?;
            return Ok(Status::Done);
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        output::to_stdout(&page)?;
        Ok(Status::Done)
    }
}
