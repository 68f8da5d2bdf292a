//! What a language model of words and codes is judged by: captions, answers, images; as JSON and as a table.

use std::{fmt::Write as _, path::Path};

use serde::{Deserialize, Serialize};

use crate::{EvalError, report::save::write};

/// Captions of one held-out set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaptionResult {
    /// `validation` or `test`.
    pub split: String,
    /// Who drew or gathered it.
    pub source: String,
    /// `seen`, `unseen`: whether training saw other pictures of its concepts.
    pub concepts: String,
    /// Number of pictures.
    pub pictures: usize,
    /// Captions that are the reference to the letter, in percent.
    pub exact: f64,
    /// CIDEr-D.
    pub cider: f64,
    /// BLEU-4.
    pub bleu4: f64,
    /// ROUGE-L.
    pub rouge_l: f64,
    /// Perplexity of the reference's tokens.
    pub perplexity: f64,
    /// What the most frequent caption of the training pairs gets, in percent.
    pub most_frequent: f64,
    /// Exact captions of the same model on causal embeddings that were not quantised, in percent.
    pub continuous: Option<f64>,
}

/// Answers about one held-out set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuestionResult {
    /// `validation` or `test`.
    pub split: String,
    /// Who drew or gathered it.
    pub source: String,
    /// `seen`, `unseen`.
    pub concepts: String,
    /// Number of questions.
    pub questions: usize,
    /// Right answers after VQA's normalisation, in percent.
    pub accuracy: f64,
    /// What the most frequent answer to each question gets, in percent.
    pub blind: f64,
}

/// Images to the captions of one held-out set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageResult {
    /// `validation` or `test`.
    pub split: String,
    /// Who drew or gathered it.
    pub source: String,
    /// `seen`, `unseen`.
    pub concepts: String,
    /// Number of captions, and of candidates that the generated codes choose among.
    pub captions: usize,
    /// Images of exactly the right form, generated without the grammar, in percent.
    pub well_formed: f64,
    /// Share of the images whose reconstructed embedding finds its caption first, in percent.
    pub r1: f64,
    /// Among the first five.
    pub r5: f64,
    /// Among the first ten.
    pub r10: f64,
    /// R@1 of chance.
    pub chance_r1: f64,
    /// Perplexity of the codes of held-out pictures, marks included.
    pub perplexity: f64,
    /// The same for the opening mark, each code and the closing mark.
    pub perplexity_by_position: Vec<f64>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LanguageReport {
    /// Device, seed, time.
    pub facts: Vec<(String, String)>,
    /// A line a set.
    pub captions: Vec<CaptionResult>,
    /// A line a set.
    pub questions: Vec<QuestionResult>,
    /// A line a set.
    pub images: Vec<ImageResult>,
}

impl LanguageReport {
    /// The tables for the terminal.
    pub fn terminal_table(&self) -> String {
        let mut out = String::new();
        let name = |split: &str, source: &str, concepts: &str, count: usize| {
            format!("{split} {source}, {concepts} ({count})")
        };
        if !self.captions.is_empty() {
            line(
                &mut out,
                "captions (greedy)",
                &[
                    "exact %",
                    "CIDEr",
                    "BLEU-4",
                    "ROUGE-L",
                    "ppl",
                    "frequent %",
                    "no codes %",
                ],
            );
            for result in &self.captions {
                let head = name(
                    &result.split,
                    &result.source,
                    &result.concepts,
                    result.pictures,
                );
                let continuous = result
                    .continuous
                    .map_or("-".to_owned(), |value| format!("{value:.1}"));
                line(
                    &mut out,
                    &head,
                    &[
                        &format!("{:.1}", result.exact),
                        &format!("{:.2}", result.cider),
                        &format!("{:.2}", result.bleu4),
                        &format!("{:.2}", result.rouge_l),
                        &format!("{:.2}", result.perplexity),
                        &format!("{:.1}", result.most_frequent),
                        &continuous,
                    ],
                );
            }
            out.push('\n');
        }
        if !self.questions.is_empty() {
            line(&mut out, "questions", &["right %", "blind %"]);
            for result in &self.questions {
                let head = name(
                    &result.split,
                    &result.source,
                    &result.concepts,
                    result.questions,
                );
                line(
                    &mut out,
                    &head,
                    &[
                        &format!("{:.1}", result.accuracy),
                        &format!("{:.1}", result.blind),
                    ],
                );
            }
            out.push('\n');
        }
        if !self.images.is_empty() {
            line(
                &mut out,
                "images (greedy, no grammar)",
                &["formed %", "R@1", "R@5", "R@10", "chance", "ppl"],
            );
            for result in &self.images {
                let head = name(
                    &result.split,
                    &result.source,
                    &result.concepts,
                    result.captions,
                );
                line(
                    &mut out,
                    &head,
                    &[
                        &format!("{:.1}", result.well_formed),
                        &format!("{:.1}", result.r1),
                        &format!("{:.1}", result.r5),
                        &format!("{:.1}", result.r10),
                        &format!("{:.2}", result.chance_r1),
                        &format!("{:.1}", result.perplexity),
                    ],
                );
            }
        }
        out
    }

    /// Writes `language.json` into `folder`, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`EvalError::Io`].
    pub fn save(&self, folder: &Path) -> Result<(), EvalError> {
        let path = folder.join("language.json");
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        write(&path, text.as_bytes())
    }
}

fn line(out: &mut String, head: &str, cells: &[&str]) {
    let _ = write!(out, "{head:<38}");
    for cell in cells {
        let _ = write!(out, "{cell:>11}");
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_has_no_table() {
        let mut report = LanguageReport::default();
        assert_eq!(report.terminal_table(), "");
        report.questions.push(QuestionResult {
            split: "test".to_owned(),
            source: "openmoji".to_owned(),
            concepts: "seen".to_owned(),
            questions: 4,
            accuracy: 75.0,
            blind: 50.0,
        });
        let table = report.terminal_table();
        assert!(
            table.contains("75.0") && table.contains("openmoji"),
            "{table}"
        );
        assert!(!table.contains("captions"), "{table}");
        let folder = tempfile::tempdir().unwrap();
        report.save(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join("language.json")).unwrap();
        let read: LanguageReport = serde_json::from_str(&text).unwrap();
        assert_eq!(read, report);
    }
}
