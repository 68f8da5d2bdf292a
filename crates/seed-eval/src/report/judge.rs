//! Targets against the figures of a report.

use std::fmt;

use super::headline::Headline;
use crate::{
    figure::Figure,
    score::Score,
    target::{Target, same_set},
};

/// A score on a set, as a report holds it.
pub(crate) struct Measured {
    pub(crate) score: Score,
    /// Empty for a score of no set.
    pub(crate) set: String,
    pub(crate) figure: Figure,
}

impl Measured {
    pub(crate) fn new(score: Score, set: impl fmt::Display, figure: impl Into<Figure>) -> Self {
        Self {
            score,
            set: set.to_string(),
            figure: figure.into(),
        }
    }
}

/// The figure of a score on a set, if there is one.
pub(crate) fn find(measured: &[Measured], score: Score, set: &str) -> Option<Figure> {
    let mut same = measured
        .iter()
        .filter(|found| found.score == score && same_set(&found.set, set));
    same.find_map(|found| found.figure.is_measured().then_some(found.figure))
}

/// Writes what each target asks on the headline of its score and set, which is made where there is none; a target of
/// something that was not measured becomes a warning.
pub(crate) fn judge(
    targets: &[Target],
    measured: &[Measured],
    headlines: &mut Vec<Headline>,
    warnings: &mut Vec<String>,
) {
    for target in targets {
        let (score, set, asked) = (target.score(), target.set(), target.asked());
        let Some(figure) = find(measured, score, set) else {
            let on = if set.is_empty() {
                String::new()
            } else {
                format!(" on {set:?}")
            };
            warnings.push(format!(
                "Nothing was measured for {score}{on}, where {asked} was asked."
            ));
            continue;
        };
        let free = headlines.iter_mut().find(|headline| {
            headline.score == Some(score)
                && same_set(&headline.set, set)
                && headline.asked.is_none()
        });
        match free {
            Some(headline) => (headline.value, headline.asked) = (figure, Some(asked)),
            None => headlines.push(Headline {
                asked: Some(asked),
                ..Headline::new(score.to_string(), figure)
                    .unit(score.unit())
                    .of(score, set)
            }),
        }
    }
}
