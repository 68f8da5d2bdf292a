//! How trainings of several stages, and the runs around them, end.

use std::{
    fmt::{Display, Formatter},
    path::{Path, PathBuf},
};

use crate::error::RecipeError;

/// How a training of several stages ended.
pub enum TrainingOutcome<T> {
    /// All stages are done.
    Finished(Box<T>),
    /// A stop was asked for; the run can be resumed.
    Interrupted {
        /// The stage that was running.
        stage: &'static str,
        /// Steps of it that are done.
        step: u64,
    },
}

/// How a run ended. As text it is what to tell whoever asked for it.
#[derive(Debug)]
pub enum RunOutcome<R> {
    /// All is trained and judged.
    Finished {
        /// What the held-out sets say.
        report: Box<R>,
        /// The run's folder, with the report and what was trained.
        folder: PathBuf,
        /// The tables, where the page is, and what to do next.
        told: String,
    },
    /// A stop was asked for; the run can be resumed.
    Interrupted {
        /// Where it stopped, such as `in stage-1 after step 40`.
        place: String,
    },
}

impl<R> RunOutcome<R> {
    /// Trained and judged: the tables, where the page (or a picture in its place) is, and the command that uses what was
    /// trained.
    pub(crate) fn finished(
        report: R,
        folder: &Path,
        page: &str,
        tables: &str,
        command: &str,
    ) -> Self {
        let page = folder.join(page);
        let (page, place) = (page.display(), folder.display());
        Self::Finished {
            report: Box::new(report),
            folder: folder.to_owned(),
            told: format!("{tables}\nreport: {page}\nuse it: {command} {place}"),
        }
    }

    /// Stopped in a stage, with a checkpoint.
    pub(crate) fn at(stage: &str, step: u64) -> Self {
        let place = format!("in {stage} after step {step}");
        Self::Interrupted { place }
    }
}

/// The result of work between checkpoints, or how the run ends if a stop was asked for within it.
pub(crate) fn unless_stopped<T, R>(
    result: Result<T, RecipeError>,
    work: &str,
) -> Result<Result<T, RunOutcome<R>>, RecipeError> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(RecipeError::Stopped(_)) => {
            let place = format!("while {work}; of that nothing is kept");
            Ok(Err(RunOutcome::Interrupted { place }))
        }
        Err(error) => Err(error),
    }
}

impl<R> Display for RunOutcome<R> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Finished { told, .. } => write!(f, "{told}"),
            Self::Interrupted { place } => write!(f, "stopped {place}; go on with --resume"),
        }
    }
}
