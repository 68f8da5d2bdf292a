//! How a command ends.

/// What a command's success looks like from outside; the numbers are in `arguments::EXIT_CODES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// All was done.
    Done,
    /// Some inputs were left out, and named on the way; or a check did not pass.
    Partly,
}

/// What a command gives: an error is told in one line.
pub(crate) type Outcome = Result<Status, Box<dyn std::error::Error>>;
