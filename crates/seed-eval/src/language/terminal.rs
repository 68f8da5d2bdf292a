//! The tables for the terminal.

use std::fmt::Write as _;

use super::LanguageReport;

pub(super) fn table(report: &LanguageReport) -> String {
    let mut out = String::new();
    let name = |split: &str, source: &str, concepts: &str, count: usize| {
        format!("{split} {source}, {concepts} ({count})")
    };
    if !report.captions.is_empty() {
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
        for result in &report.captions {
            let head = name(
                &result.split,
                &result.source,
                &result.concepts,
                result.pictures,
            );
            line(
                &mut out,
                &head,
                &[
                    &cell(result.exact, 1),
                    &cell(result.cider, 2),
                    &cell(result.bleu4, 2),
                    &cell(result.rouge_l, 2),
                    &cell(result.perplexity, 2),
                    &cell(result.most_frequent, 1),
                    &cell(result.continuous.unwrap_or(f64::NAN), 1),
                ],
            );
        }
        out.push('\n');
    }
    if !report.questions.is_empty() {
        line(&mut out, "questions", &["right %", "blind %"]);
        for result in &report.questions {
            let head = name(
                &result.split,
                &result.source,
                &result.concepts,
                result.questions,
            );
            line(
                &mut out,
                &head,
                &[&cell(result.accuracy, 1), &cell(result.blind, 1)],
            );
        }
        out.push('\n');
    }
    if !report.images.is_empty() {
        line(
            &mut out,
            "images (greedy, no grammar)",
            &["formed %", "R@1", "R@5", "R@10", "chance", "ppl"],
        );
        for result in &report.images {
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
                    &cell(result.well_formed, 1),
                    &cell(result.r1, 1),
                    &cell(result.r5, 1),
                    &cell(result.r10, 1),
                    &cell(result.chance_r1, 2),
                    &cell(result.perplexity, 1),
                ],
            );
        }
    }
    out
}

/// What was not measured is a hyphen.
fn cell(value: f64, decimals: usize) -> String {
    if value.is_finite() {
        format!("{value:.decimals$}")
    } else {
        "-".to_owned()
    }
}

fn line(out: &mut String, head: &str, cells: &[&str]) {
    let _ = write!(out, "{head:<38}");
    for cell in cells {
        let _ = write!(out, "{cell:>11}");
    }
    out.push('\n');
}
