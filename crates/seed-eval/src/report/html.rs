//! The page of a tokenizer's run.

use maud::{Markup, html};

use super::{
    candidates::{By, RetrievalResult, Row},
    chart::{self, Bar, BarChart},
    contents::Report,
    galleries::{CodeGallery, NearestCaptions},
    page::{self, Head, picture},
};
use crate::{
    codebook::CodebookHealth,
    numbers::{signed, thousands},
    retrieval::Recall,
};

/// Columns of the frequency histogram.
const COLUMNS: usize = 120;

impl Report {
    /// The page, self-contained: styles, charts and pictures are inside, nothing is loaded, no script runs.
    pub fn html(&self) -> String {
        page(self).into_string()
    }
}

fn page(report: &Report) -> Markup {
    let facts = report.facts.iter();
    let head = Head {
        title: &report.title,
        summary: report.summary.as_deref(),
        facts: facts.map(|fact| (&*fact.label, &*fact.value)).collect(),
        command: report.command.as_deref(),
    };
    let body = html! {
        (page::warnings(&report.all_warnings()))
        (page::headlines(&report.headlines))
        @if !report.retrieval.is_empty() { (retrieval(report)) }
        @if let Some(health) = &report.codebook { (codebook(health)) }
        @if !report.nearest.is_empty() { (nearest(&report.nearest)) }
        @if !report.codes.is_empty() { (codes(&report.codes)) }
        (page::stages(&report.stages))
        (page::config(report.config.as_deref()))
    };
    page::frame(&head, &body)
}

fn retrieval(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Retrieval" }
            p.lead {
                "How often, in percent, a right answer is among the first 1, 5 and 10; ties count against the model. "
                (page::STANDARD_ERROR)
                em { "Codes" } " answers with the embeddings reconstructed from the codes; "
                em { "16×16 pixels" } " with a ridge regression instead of a model, and "
                em { "chance" } " is what a random order gives."
            }
            div.scroll {
                table.recalls {
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
                    @for result in &report.retrieval { (retrieval_rows(result, report.causal)) }
                }
            }
        }
    }
}

fn retrieval_rows(result: &RetrievalResult, causal: bool) -> Markup {
    let recalls = |r: &Recall, error: Option<f64>| {
        html! {
            td { (format!("{:.1}", r.r1)) @if let Some(error) = error { (page::error(error)) } }
            @for v in [r.r5, r.r10] { td { (format!("{v:.1}")) } }
        }
    };
    let loss = result.loss_of_codes();
    let row = |row: Row<'_>| {
        let errors = row.errors(result);
        let Row { name, by, scores } = row;
        html! {
            tr.model[by.is_model()] {
                th scope="row" { (name) }
                (recalls(&scores.image_to_text, errors.map(|both| both[0])))
                (recalls(&scores.text_to_image, errors.map(|both| both[1])))
                td.mean style=(format!("--v:{:.1}", scores.r_mean)) { (format!("{:.1}", scores.r_mean)) }
                td { @if let (Some(loss), By::Codes) = (loss, by) { (signed(-loss)) } }
            }
        }
    };
    html! {
        tbody {
            tr.group {
                th colspan="9" scope="rowgroup" {
                    span { (result.set) }
                    small {
                        (thousands(result.images as u64)) " images, "
                        (thousands(result.texts as u64)) " texts"
                    }
                }
            }
            @for found in result.rows(causal) { (row(found)) }
        }
    }
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
            format!("on {} pictures", thousands(health.pictures as u64)),
        ),
        (
            "different sequences",
            thousands(health.unique_sequences as u64),
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
    let label = |rank: usize| ((rank as f64 - 0.5) / columns as f64, thousands(rank as u64));
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
                @for nearest in pictures {
                    article {
                        div.subject {
                            (picture(&nearest.picture, &nearest.caption))
                            div { p.caption { (nearest.caption) } p.quiet {
                                    (nearest.source)
                                    @if !nearest.matches.iter().any(|found| found.hit) { span.miss { " · not found" } }
                                }
                            }
                        }
                        (page::matches(&nearest.matches))
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
                                    (picture(&example.picture, &example.caption))
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
