//! The same figures for the terminal.

use std::fmt::Write;

use super::{Report, RetrievalResult};
use crate::{CodebookHealth, RetrievalScores};

const NAME: usize = 26;
const RULE: usize = NAME + 2 * 21 + 10 + 11;

pub(super) fn table(report: &Report) -> String {
    let mut out = String::new();
    if !report.retrieval.is_empty() {
        line(
            &mut out,
            "",
            ["image→text", "text→image"].map(|s| format!("{s:>21}")),
            "",
            "",
        );
        let recalls = ["R@1", "R@5", "R@10"].map(|s| format!("{s:>7}")).concat();
        let heads = [recalls.clone(), recalls];
        line(&mut out, "retrieval, %", heads, "R@mean", "codes−emb");
        for result in &report.retrieval {
            rule(&mut out);
            block(&mut out, result);
        }
        rule(&mut out);
    }
    if let Some(health) = &report.codebook {
        codebook(&mut out, health);
        rule(&mut out);
    }
    out
}

fn block(out: &mut String, result: &RetrievalResult) {
    push(
        out,
        &format!(
            "{} ({} images, {} texts)",
            result.set, result.images, result.texts
        ),
    );
    for (row, scores) in result.rows() {
        let change = match result.loss_of_codes() {
            Some(loss) if row == "codes" => format!("{:+.1}", -loss),
            _ => String::new(),
        };
        let RetrievalScores {
            image_to_text,
            text_to_image,
            r_mean,
        } = scores;
        let recalls = [image_to_text, text_to_image]
            .map(|r| [r.r1, r.r5, r.r10].map(|v| format!("{v:>7.1}")).concat());
        line(
            out,
            &format!("  {row}"),
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
