//! GQA: the share of questions whose answer is exactly the expected one.
//!
//! As LAVIS counts it (`tasks/vqa.py`, `GQATask`): the prediction is normalised as for
//! VQA, the expected answer is taken as it is.

use serde::{Deserialize, Serialize};

use crate::{
    EvalError,
    vqa::{digits_and_articles, vqa_punctuation},
};

/// A question, answered.
#[derive(Debug, Clone, Copy)]
pub struct GqaItem<'a> {
    /// The model's answer.
    pub prediction: &'a str,
    /// The expected answer.
    pub answer: &'a str,
}

/// How many questions are answered right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GqaScores {
    /// In percent (0–100).
    pub accuracy: f64,
    /// For each question, in the order given, whether its answer is right.
    pub hits: Vec<bool>,
}

impl GqaScores {
    /// Scores answered questions.
    ///
    /// # Errors
    /// [`EvalError::Empty`].
    pub fn of(items: &[GqaItem<'_>]) -> Result<Self, EvalError> {
        if items.is_empty() {
            return Err(EvalError::Empty("questions"));
        }
        let right = |item: &GqaItem<'_>| {
            digits_and_articles(&vqa_punctuation(item.prediction)) == item.answer
        };
        let hits: Vec<bool> = items.iter().map(right).collect();
        let count = hits.iter().filter(|hit| **hit).count();
        Ok(Self {
            accuracy: 100.0 * count as f64 / hits.len() as f64,
            hits,
        })
    }
}
