//! The page. Every text goes through maud's escaping: captions come from whoever made the data.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    CodeGallery, Headline, NearestCaptions, Report, RetrievalResult,
    chart::{self, Bar, BarChart, thousands},
};
use crate::{CodebookHealth, Recall, RetrievalScores};

/// Columns of the frequency histogram.
const COLUMNS: usize = 120;
/// Belt and braces: even a mistake here could not make the page load or run anything.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

pub(super) fn page(report: &Report) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (report.title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main {
                    (head(report))
                    (warnings(report))
                    @if !report.headlines.is_empty() {
                        div.headlines { @for figure in &report.headlines { (headline(figure)) } }
                    }
                    @if !report.retrieval.is_empty() { (retrieval(&report.retrieval)) }
                    @if let Some(health) = &report.codebook { (codebook(health)) }
                    @if !report.nearest.is_empty() { (nearest(&report.nearest)) }
                    @if !report.codes.is_empty() { (codes(&report.codes)) }
                    @for stage in &report.stages {
                        section {
                            h2 { (stage.name) }
                            @if let Some(note) = &stage.note { p.lead { (note) } }
                            div.charts { @for curve in &stage.curves { (chart::lines(curve)) } }
                        }
                    }
                    @if let Some(config) = &report.config {
                        section { details { summary { "Configuration" } pre { (config) } } }
                    }
                }
            }
        }
    }
}

fn head(report: &Report) -> Markup {
    html! {
        header {
            p.eyebrow { "SEED · report of a run" }
            h1 { (report.title) }
            @if let Some(summary) = &report.summary { p.lead { (summary) } }
            @if !report.facts.is_empty() {
                dl.facts {
                    @for fact in &report.facts { div { dt { (fact.label) } dd { (fact.value) } } }
                }
            }
            @if let Some(command) = &report.command { pre.command { (command) } }
        }
    }
}

fn warnings(report: &Report) -> Markup {
    let warnings = report.all_warnings();
    html! {
        @if !warnings.is_empty() {
            aside.warnings aria-label="Warnings" {
                ul { @for warning in &warnings { li { (warning) } } }
            }
        }
    }
}

fn headline(figure: &Headline) -> Markup {
    let state = match figure.reached() {
        Some(true) => "reached",
        Some(false) => "missed",
        None => "",
    };
    html! {
        div class={ "headline " (state) } {
            p.label { (figure.label) }
            p.value {
                (format!("{:.*}", figure.decimals, figure.value))
                @if !figure.unit.is_empty() { span.unit { " " (figure.unit) } }
            }
            @if let Some(target) = figure.target {
                p.target {
                    @if state == "reached" { "✓ " } @else { "✗ " }
                    "hoped for " (figure.target_text(target))
                }
            }
            @if let Some(note) = &figure.note { p.quiet { (note) } }
        }
    }
}

fn retrieval(results: &[RetrievalResult]) -> Markup {
    html! {
        section {
            h2 { "Retrieval" }
            p.lead {
                "How often, in percent, a right answer is among the first 1, 5 and 10; ties count against the model. "
                em { "Codes" } " answers with the embeddings reconstructed from the codes; "
                em { "16×16 pixels" } " with a ridge regression instead of a model, and "
                em { "chance" } " is what a random order gives."
            }
            div.scroll {
                table {
                    thead {
                        tr {
                            th rowspan="2" {}
                            th.span colspan="3" { "image → text" }
                            th.span colspan="3" { "text → image" }
                            th rowspan="2" { "R@mean" }
                            th rowspan="2" { "codes − emb." }
                        }
                        tr { @for _ in 0..2 { @for k in [1, 5, 10] { th { "R@" (k) } } } }
                    }
                    @for result in results { (retrieval_rows(result)) }
                }
            }
        }
    }
}

fn retrieval_rows(result: &RetrievalResult) -> Markup {
    let recalls =
        |r: &Recall| html! { @for v in [r.r1, r.r5, r.r10] { td { (format!("{v:.1}")) } } };
    let loss = result.loss_of_codes();
    let row = |name: &str, scores: &RetrievalScores| {
        let model = name == "causal embeddings" || name == "codes";
        html! {
            tr.model[model] {
                th scope="row" { (name) }
                (recalls(&scores.image_to_text))
                (recalls(&scores.text_to_image))
                td.mean style=(format!("--v:{:.1}", scores.r_mean)) { (format!("{:.1}", scores.r_mean)) }
                td { @if let (Some(loss), "codes") = (loss, name) { (signed(-loss)) } }
            }
        }
    };
    html! {
        tbody {
            tr.group {
                th colspan="9" scope="rowgroup" {
                    span { (result.name()) }
                    small {
                        (thousands(result.images as f64)) " images, "
                        (thousands(result.texts as f64)) " texts"
                    }
                }
            }
            @for (name, scores) in result.rows() { (row(name, scores)) }
        }
    }
}

/// `+1.2` or `−1.2`, with a true minus sign.
fn signed(value: f64) -> String {
    format!("{value:+.1}").replace('-', "−")
}

fn codebook(health: &CodebookHealth) -> Markup {
    let figures = [
        (
            "in use",
            format!("{:.1} %", 100.0 * health.usage),
            format!("{} of {} codes", health.used, health.size),
        ),
        (
            "perplexity",
            format!("{:.0}", health.perplexity),
            format!("even use would give {}", health.size),
        ),
        (
            "dead codes",
            health.dead.to_string(),
            format!("on {} pictures", thousands(health.pictures as f64)),
        ),
        (
            "different sequences",
            thousands(health.unique_sequences as f64),
            format!(
                "{:.1} % of the pictures have all codes different",
                100.0 * health.all_distinct
            ),
        ),
    ];
    html! {
        section {
            h2 { "Codebook" }
            div.headlines.small {
                @for (label, value, note) in &figures {
                    div.headline { p.label { (label) } p.value { (value) } p.quiet { (note) } }
                }
            }
            div.charts {
                figure.chart {
                    figcaption {
                        strong { "By position in the sequence" }
                        span.legend { span.key.c0 { "perplexity" } span.key.pale { "codes in use" } }
                    }
                    (chart::bars(&positions(health)))
                }
                figure.chart {
                    figcaption {
                        strong { "Codes by frequency" }
                        span.legend { span.key.c0 { "occurrences" } span.key.dashed { "even use" } }
                    }
                    (chart::bars(&frequencies(health)))
                }
            }
        }
    }
}

fn positions(health: &CodebookHealth) -> BarChart {
    let bars = (0..)
        .zip(&health.per_position)
        .map(|(position, health): (usize, _)| Bar {
            value: health.perplexity,
            behind: health.used as f64,
            text: format!(
                "position {position}: perplexity {:.1}, {:.2} bits, {} codes in use",
                health.perplexity, health.entropy_bits, health.used
            ),
        });
    let count = health.per_position.len();
    let every = count.div_ceil(8).max(1);
    let label = |at: usize| ((at as f64 + 0.5) / count as f64, at.to_string());
    BarChart {
        title: "Perplexity and codes in use at each position".into(),
        bars: bars.collect(),
        log: false,
        reference: None,
        labels: (0..count).step_by(every).map(label).collect(),
    }
}

/// Occurrences of the codes in falling order, the dead ones last.
fn frequencies(health: &CodebookHealth) -> BarChart {
    let mut counts: Vec<usize> = health.frequencies.iter().map(|entry| entry.count).collect();
    counts.resize(health.size, 0);
    let every = health.size.div_ceil(COLUMNS).max(1);
    let bars = counts.chunks(every).enumerate().map(|(i, counts)| {
        let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
        let (first, last) = (i * every + 1, i * every + counts.len());
        let rank = if first == last {
            first.to_string()
        } else {
            format!("{first}–{last}")
        };
        let text = match (health.frequencies.get(i * every), counts) {
            (Some(entry), [count]) => format!("rank {rank}, code {}: {count} times", entry.code),
            _ => format!("rank {rank}: {mean:.1} times on average"),
        };
        Bar {
            value: mean,
            behind: 0.0,
            text,
        }
    });
    let total: usize = counts.iter().sum();
    let columns = health.size.div_ceil(every) * every;
    let label = |rank: usize| ((rank as f64 - 0.5) / columns as f64, thousands(rank as f64));
    let ranks = (0..=4).map(|i| (health.size * i / 4).max(1));
    BarChart {
        title: "Occurrences of each code, the most frequent first".into(),
        bars: bars.collect(),
        log: true,
        reference: Some(total as f64 / health.size as f64),
        labels: ranks.map(label).collect(),
    }
}

fn nearest(pictures: &[NearestCaptions]) -> Markup {
    html! {
        section {
            h2 { "Nearest captions" }
            p.lead { "Held-out pictures and the captions the model finds for them, with their cosine." }
            div.gallery {
                @for picture in pictures {
                    article {
                        div.subject {
                            img src=(picture.picture.as_str()) alt=(picture.caption) loading="lazy";
                            div { p.caption { (picture.caption) } p.quiet {
                                    (picture.source)
                                    @if !picture.matches.iter().any(|found| found.hit) { span.miss { " · not found" } }
                                }
                            }
                        }
                        ol {
                            @for found in &picture.matches {
                                li.hit[found.hit] {
                                    span { (found.caption) @if found.hit { span.tick { " ✓" } } }
                                    data value=(found.score) { (format!("{:.2}", found.score).replace('-', "−")) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn codes(galleries: &[CodeGallery]) -> Markup {
    html! {
        section {
            h2 { "What codes stand for" }
            p.lead { "Some codes, pictures that share them, and the position of the code in each sequence." }
            div.codes {
                @for gallery in galleries {
                    article {
                        h3 { "code " (gallery.code) small { (gallery.pictures) " pictures" } }
                        div.strip {
                            @for example in &gallery.examples {
                                figure {
                                    img src=(example.picture.as_str()) alt=(example.caption) loading="lazy";
                                    figcaption { span.caption { (example.caption) } span.quiet { "position " (example.position) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
