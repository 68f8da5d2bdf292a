//! The tables for the terminal.

use std::fmt::Write as _;

use super::LanguageReport;
use crate::SetName;

pub(super) fn table(report: &LanguageReport) -> String {
    let captions = report.captions.iter().map(|result| {
        let cells = vec![
            cell(result.exact, 1),
            cell(result.cider, 2),
            cell(result.bleu4, 2),
            cell(result.rouge_l, 2),
            cell(result.perplexity, 2),
            cell(result.most_frequent, 1),
            cell(result.continuous.unwrap_or(f64::NAN), 1),
        ];
        (&result.set, result.pictures, cells)
    });
    let questions = report.questions.iter().map(|result| {
        let cells = vec![cell(result.accuracy, 1), cell(result.blind, 1)];
        (&result.set, result.questions, cells)
    });
    let images = report.images.iter().map(|result| {
        let cells = vec![
            cell(result.well_formed, 1),
            cell(result.r1, 1),
            cell(result.r5, 1),
            cell(result.r10, 1),
            cell(result.chance_r1, 2),
            cell(result.perplexity, 1),
        ];
        (&result.set, result.captions, cells)
    });
    let captions = rows(
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
        captions,
    );
    let questions = rows("questions", &["right %", "blind %"], questions);
    let images = rows(
        "images (greedy, no grammar)",
        &["formed %", "R@1", "R@5", "R@10", "chance", "ppl"],
        images,
    );
    let mut tables = vec![captions, questions, images];
    tables.retain(|table| !table.is_empty());
    tables.join("\n")
}

/// One table; nothing of no sets.
fn rows<'a>(
    title: &str,
    columns: &[&str],
    sets: impl Iterator<Item = (&'a SetName, usize, Vec<String>)>,
) -> String {
    let mut out = String::new();
    for (set, count, cells) in sets {
        if out.is_empty() {
            line(&mut out, title, columns);
        }
        let SetName {
            split,
            source,
            concepts,
        } = set;
        line(
            &mut out,
            &format!("{split} {source}, {concepts} ({count})"),
            &cells,
        );
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

fn line(out: &mut String, head: &str, cells: &[impl AsRef<str>]) {
    let _ = write!(out, "{head:<38}");
    for cell in cells {
        let _ = write!(out, "{:>11}", cell.as_ref());
    }
    out.push('\n');
}
