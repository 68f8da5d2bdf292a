//! The same figures for the terminal.

use std::fmt::Write;

use super::{
    candidates::{By, RetrievalResult, Row},
    contents::Report,
    headline::Headline,
};
use crate::{codebook::CodebookHealth, retrieval::RetrievalScores};

const NAME: usize = 26;
/// R@1 with its standard error, R@5, R@10.
const RECALLS: usize = 12 + 7 + 7;
const RULE: usize = NAME + 2 * RECALLS + 10 + 11;

impl Report {
    /// Retrieval, codebook and targets as plain text, the tables at most 100 columns wide. Empty if there are none.
    pub fn terminal_table(&self) -> String {
        table(self)
    }
}

fn table(report: &Report) -> String {
    let mut out = String::new();
    if !report.retrieval.is_empty() {
        line(
            &mut out,
            "",
            ["image→text", "text→image"].map(|s| format!("{s:>RECALLS$}")),
            "",
            "",
        );
        let recalls = format!("{:>12}{:>7}{:>7}", "R@1", "R@5", "R@10");
        let heads = [recalls.clone(), recalls];
        line(&mut out, "retrieval, %", heads, "R@mean", "codes−emb");
        for result in &report.retrieval {
            rule(&mut out);
            block(&mut out, result, report.causal);
        }
        rule(&mut out);
    }
    if let Some(health) = &report.codebook {
        codebook(&mut out, health);
        rule(&mut out);
    }
    out + &targets(&report.headlines)
}

/// A line a target; nothing of none.
pub(crate) fn targets(headlines: &[Headline]) -> String {
    let lines = headlines.iter().filter_map(Headline::line);
    lines.map(|line| line + "\n").collect()
}

fn block(out: &mut String, result: &RetrievalResult, causal: bool) {
    push(
        out,
        &format!(
            "{} ({} images, {} texts)",
            result.set, result.images, result.texts
        ),
    );
    for row in result.rows(causal) {
        let change = match result.loss_of_codes() {
            Some(loss) if row.by == By::Codes => format!("{:+.1}", -loss),
            _ => String::new(),
        };
        let Row { name, scores, .. } = &row;
        let RetrievalScores {
            image_to_text,
            text_to_image,
            r_mean,
        } = scores;
        let errors = row.errors(result);
        let r1 = |direction: usize, r1: f64| match errors {
            Some(errors) => format!("{r1:.1} ±{:.1}", errors[direction]),
            None => format!("{r1:.1}     "),
        };
        let recalls = [image_to_text, text_to_image];
        let recalls = [0, 1].map(|direction| {
            let r = recalls[direction];
            format!("{:>12}{:>7.1}{:>7.1}", r1(direction, r.r1), r.r5, r.r10)
        });
        line(
            out,
            &format!("  {name}"),
            recalls,
            &format!("{r_mean:.1}"),
            &change,
        );
    }
}

fn codebook(out: &mut String, health: &CodebookHealth) {
    let CodebookHealth {
        size,
        pictures,
        used,
        dead,
        usage,
        perplexity,
        ..
    } = health;
    let percent = 100.0 * usage;
    push(out, &format!("codebook of {size}, on {pictures} pictures"));
    push(
        out,
        &format!("  used {used} ({percent:.1} %), dead {dead}, perplexity {perplexity:.1}"),
    );
    let range = |name: &str, values: &[f64], decimals: usize| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        format!("{name} {low:.decimals$}–{high:.decimals$}")
    };
    let used: Vec<_> = health.per_position.iter().map(|p| p.used as f64).collect();
    let perplexity: Vec<_> = health.per_position.iter().map(|p| p.perplexity).collect();
    let (used, perplexity) = (range("used", &used, 0), range("perplexity", &perplexity, 1));
    push(out, &format!("  per position: {used}, {perplexity}"));
    push(
        out,
        &format!(
            "  {:.1} % of the pictures have all codes different; {} different sequences",
            100.0 * health.all_distinct,
            health.unique_sequences
        ),
    );
}

fn line(out: &mut String, name: &str, [left, right]: [String; 2], mean: &str, change: &str) {
    push(
        out,
        &format!("{name:<NAME$}{left}{right}{mean:>10}{change:>11}"),
    );
}

fn rule(out: &mut String) {
    push(out, &"─".repeat(RULE));
}

/// One line, cut where the table ends, without trailing blanks.
fn push(out: &mut String, text: &str) {
    let line: String = text.trim_end().chars().take(RULE).collect();
    writeln!(out, "{line}").expect("a String takes whatever is written");
}
