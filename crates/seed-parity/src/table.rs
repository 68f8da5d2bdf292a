//! A result for the terminal.

use std::fmt;

use crate::{
    comparison::{Comparison, Measure},
    result::{CaseResult, KitResult, LeftOut, Outcome},
};

/// A [`KitResult`] in lines: [`KitResult::table`] and [`KitResult::verbose_table`].
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    result: &'a KitResult,
    verbose: bool,
}

impl KitResult {
    /// A table of one line a case, and one for each comparison that did not pass.
    pub fn table(&self) -> Table<'_> {
        Table {
            result: self,
            verbose: false,
        }
    }

    /// A table of one line a comparison, grouped by case, with what was left out.
    pub fn verbose_table(&self) -> Table<'_> {
        Table {
            result: self,
            verbose: true,
        }
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .result
            .cases
            .iter()
            .map(|case| case.name.chars().count());
        let width = names.max().unwrap_or(0).max("case".len());
        if !self.verbose {
            writeln!(
                f,
                "{:width$}  {:>11}  {:>9}  result",
                "case", "comparisons", "err/tol"
            )?;
        }
        for case in &self.result.cases {
            if self.verbose {
                verbose_case(f, case)?;
            } else {
                short_case(f, case, width)?;
            }
        }
        let counts = self.result.counts();
        write!(
            f,
            "{} passed, {} failed, {} skipped; {} comparisons",
            counts.passed, counts.failed, counts.skipped, counts.comparisons
        )
    }
}

fn short_case(f: &mut fmt::Formatter<'_>, case: &CaseResult, width: usize) -> fmt::Result {
    write!(f, "{:width$}  ", case.name)?;
    let count = case.comparisons().len();
    match (&case.outcome, case.worst()) {
        (Outcome::Skipped { reason }, _) => {
            writeln!(f, "{:>11}  {:>9}  skipped: {reason}", "–", "–")
        }
        (Outcome::Failed { reason }, _) => writeln!(f, "{:>11}  {:>9}  FAILED: {reason}", "–", "–"),
        (Outcome::Compared { left_out, .. }, Some(worst)) => {
            write!(f, "{count:>11}  {:>9}  ", ratio(worst))?;
            let failed = case.comparisons().iter().filter(|c| !c.passed()).count();
            if failed == 0 {
                write!(f, "passed")?;
            } else {
                write!(f, "FAILED: {failed} beyond tolerance")?;
            }
            if !left_out.is_empty() {
                write!(f, ", {} left out", left_out.len())?;
            }
            writeln!(f)?;
            let mut beyond = case.comparisons().iter().filter(|c| !c.passed());
            beyond.try_for_each(|comparison| line(f, comparison))
        }
        (Outcome::Compared { .. }, None) => writeln!(f, "{count:>11}  {:>9}  FAILED", "–"),
    }
}

fn verbose_case(f: &mut fmt::Formatter<'_>, case: &CaseResult) -> fmt::Result {
    match &case.outcome {
        Outcome::Skipped { reason } => writeln!(f, "{}: skipped: {reason}", case.name),
        Outcome::Failed { reason } => writeln!(f, "{}: FAILED: {reason}", case.name),
        Outcome::Compared {
            comparisons,
            left_out,
        } => {
            writeln!(f, "{}: {} comparisons", case.name, comparisons.len())?;
            for comparison in comparisons {
                line(f, comparison)?;
            }
            for LeftOut { name, reason } in left_out {
                writeln!(f, "  left out  {name}: {reason}")?;
            }
            Ok(())
        }
    }
}

/// `passed   max 1.2e-6  mean 3.1e-7  tolerance 1.0e-4  outputs/block_0`
fn line(f: &mut fmt::Formatter<'_>, comparison: &Comparison) -> fmt::Result {
    let verdict = if comparison.passed() {
        "passed"
    } else {
        "FAILED"
    };
    if let Some(problem) = &comparison.problem {
        return writeln!(f, "  {verdict}  {}: {problem}", comparison.name);
    }
    let Comparison {
        error, tolerance, ..
    } = comparison;
    match comparison.measure {
        Measure::Differing => {
            let entries = comparison.entries;
            write!(
                f,
                "  {verdict}  {:<44}",
                format!("{error} of {entries} differ")
            )?;
        }
        measure => {
            let held = match measure {
                Measure::Mean => "mean",
                Measure::MostEntries => "99 %",
                _ => "max",
            };
            let mean = comparison.mean_error;
            let [error, mean, tolerance] = [*error, mean, *tolerance].map(short);
            let numbers = format!("{held:>4} {error:>7}  mean {mean:>7}  tolerance {tolerance:>7}");
            write!(f, "  {verdict}  {numbers:<44}")?;
        }
    }
    write!(f, "  {}", comparison.name)?;
    match &comparison.worst {
        Some(worst) if !comparison.passed() => writeln!(f, ", worst at {worst:?}"),
        _ => writeln!(f),
    }
}

fn short(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else {
        format!("{value:.1e}")
    }
}

fn ratio(comparison: &Comparison) -> String {
    let ratio = comparison.ratio();
    if ratio.is_finite() {
        format!("{ratio:.3}")
    } else {
        "∞".to_owned()
    }
}
