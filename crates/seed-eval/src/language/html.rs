//! The page of a language model's run.

use maud::{Markup, html};

use super::{
    AnsweredPicture, CaptionResult, CaptionedPicture, DrawnCaption, ImageResult, LanguageReport,
    QuestionResult,
};
use crate::SetName;
use crate::report::{
    chart::{self, Bar, BarChart, thousands},
    page::{self, ABSENT, Head, number, picture, signed},
};

pub(super) fn page(report: &LanguageReport) -> Markup {
    let facts = report.facts.iter();
    let head = Head {
        title: if report.title.is_empty() {
            "Language model"
        } else {
            &report.title
        },
        summary: report.summary.as_deref(),
        facts: facts.map(|(label, value)| (&**label, &**value)).collect(),
        command: report.command.as_deref(),
    };
    let body = html! {
        (page::warnings(&report.all_warnings()))
        (page::headlines(&report.headlines))
        @if !report.captions.is_empty() { (captions(&report.captions)) }
        @if !report.questions.is_empty() { (questions(&report.questions)) }
        @if !report.images.is_empty() { (images(&report.images)) }
        @if !report.captioned.is_empty() { (captioned(&report.captioned)) }
        @if !report.answered.is_empty() { (answered(&report.answered)) }
        @if !report.drawn.is_empty() { (drawn(&report.drawn)) }
        (page::stages(&report.stages))
        (page::config(report.config.as_deref()))
    };
    page::frame(&head, &body)
}

fn captions(results: &[CaptionResult]) -> Markup {
    html! {
        section {
            h2 { "Captions" }
            p.lead {
                "Greedy captions of held-out pictures. " em { "Exact" } ": the reference to the letter, in percent; "
                "beside it the same model on causal embeddings that were not quantised, and the caption that most "
                "training pairs bear."
            }
            div.scroll {
                table.sets {
                    thead {
                        tr {
                            th rowspan="2" {}
                            th.span colspan="3" { "exact, %" }
                            th.span colspan="4" { "against the reference" }
                        }
                        tr {
                            th { "codes" } th { "continuous" } th { "most frequent" }
                            th { "CIDEr-D" } th { "BLEU-4" } th { "ROUGE-L" } th { "perplexity" }
                        }
                    }
                    tbody {
                        @for result in results {
                            tr.model {
                                (set(&result.set, result.pictures, "pictures"))
                                (share(result.exact))
                                td.quiet { (number(result.continuous.unwrap_or(f64::NAN), 1)) }
                                td.quiet { (number(result.most_frequent, 1)) }
                                td { (number(result.cider, 2)) }
                                td { (number(result.bleu4, 2)) }
                                td { (number(result.rouge_l, 2)) }
                                td { (number(result.perplexity, 2)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn questions(results: &[QuestionResult]) -> Markup {
    html! {
        section {
            h2 { "Questions" }
            p.lead {
                "Right answers after VQA's normalisation, in percent. " em { "Blind" }
                " answers each question with its most frequent answer, whatever the picture."
            }
            div.scroll {
                table.sets.narrow {
                    thead { tr { th {} th { "right" } th { "blind" } th { "right − blind" } } }
                    tbody {
                        @for result in results {
                            tr.model {
                                (set(&result.set, result.questions, "questions"))
                                (share(result.accuracy))
                                td.quiet { (number(result.blind, 1)) }
                                td { (signed(result.accuracy - result.blind)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn images(results: &[ImageResult]) -> Markup {
    html! {
        section {
            h2 { "Images" }
            p.lead {
                "Greedy images of held-out captions, generated without the grammar. " em { "R@k" }
                ": how often, in percent, the embedding reconstructed from the codes finds its caption among the "
                "first k; " em { "chance" } " is R@1 of a random order. An image that is not well formed is a miss."
            }
            div.scroll {
                table.sets {
                    thead {
                        tr {
                            th {}
                            th { "R@1" } th { "chance" } th { "R@5" } th { "R@10" }
                            th { "well formed, %" } th { "perplexity" }
                        }
                    }
                    tbody {
                        @for result in results {
                            tr.model {
                                (set(&result.set, result.captions, "captions"))
                                (share(result.r1))
                                td.quiet { (number(result.chance_r1, 2)) }
                                td { (number(result.r5, 1)) }
                                td { (number(result.r10, 1)) }
                                td { (number(result.well_formed, 1)) }
                                td { (number(result.perplexity, 1)) }
                            }
                        }
                    }
                }
            }
            @if results.iter().any(has_positions) {
                div.charts {
                    @for result in results.iter().filter(|result| has_positions(result)) {
                        figure.chart {
                            figcaption {
                                strong { "Perplexity by position" }
                                span.legend { (result.set) }
                            }
                            (chart::bars(&positions(result)))
                        }
                    }
                }
            }
        }
    }
}

/// Name and size of a held-out set.
fn set(name: &SetName, count: usize, of: &str) -> Markup {
    html! { th scope="row" { (name) small { (thousands(count as f64)) " " (of) } } }
}

/// The figure of the row, with a bar.
fn share(percent: f64) -> Markup {
    let bar = if percent.is_finite() { percent } else { 0.0 };
    html! { td.mean style=(format!("--v:{bar:.1}")) { (number(percent, 1)) } }
}

fn has_positions(result: &ImageResult) -> bool {
    result.perplexity_by_position.iter().any(|p| p.is_finite())
}

/// The opening mark, each code, the closing mark.
fn positions(result: &ImageResult) -> BarChart {
    let count = result.perplexity_by_position.len();
    let place = |at: usize| match at {
        0 => "opening mark".to_owned(),
        _ if at + 1 == count => "closing mark".to_owned(),
        _ => format!("code {at}"),
    };
    let bars = result.perplexity_by_position.iter().enumerate();
    let bars = bars.map(|(at, &perplexity)| Bar {
        value: if perplexity.is_finite() {
            perplexity
        } else {
            0.0
        },
        behind: 0.0,
        text: format!("{}: perplexity {}", place(at), number(perplexity, 1)),
    });
    let centre = |at: usize| (at as f64 + 0.5) / count as f64;
    let codes = count.saturating_sub(2);
    let every = codes.div_ceil(8).max(1);
    let labels = (1..=codes).step_by(every);
    BarChart {
        title: format!(
            "Perplexity of the opening mark, each code and the closing mark: {}",
            result.set
        ),
        bars: bars.collect(),
        log: false,
        reference: None,
        labels: labels.map(|at| (centre(at), at.to_string())).collect(),
    }
}

fn captioned(pictures: &[CaptionedPicture]) -> Markup {
    html! {
        section {
            h2 { "What it says of pictures" }
            p.lead { "Held-out pictures, the caption the model gives them, and their own if it is another." }
            div.gallery {
                @for shown in pictures {
                    article {
                        div.subject {
                            (picture(&shown.picture, &shown.reference))
                            div {
                                (said(&shown.caption, shown.right))
                                (own(&shown.caption, &shown.reference, &shown.source))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn answered(pictures: &[AnsweredPicture]) -> Markup {
    html! {
        section {
            h2 { "What it answers" }
            p.lead { "Held-out pictures, a question about each, the model's answer, and the right one if it is another." }
            div.gallery {
                @for shown in pictures {
                    article {
                        div.subject {
                            (picture(&shown.picture, "what the question is about"))
                            div {
                                p.quiet { (or_absent(&shown.question)) }
                                (said(&shown.answer, shown.right))
                                (own(&shown.answer, &shown.reference, &shown.source))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn drawn(captions: &[DrawnCaption]) -> Markup {
    html! {
        section {
            h2 { "What it draws" }
            p.lead {
                "Held-out captions, pictures whose codes are nearest to those the model generates, and the captions "
                "nearest to these codes, with their cosine."
            }
            div.gallery {
                @for shown in captions {
                    article {
                        p.caption {
                            (or_absent(&shown.caption))
                            @if shown.codes.is_empty() { span.miss { " · not an image" } }
                            @else if !shown.matches.iter().any(|found| found.hit) { span.miss { " · not found" } }
                        }
                        @if !shown.neighbours.is_empty() {
                            div.row { @for near in &shown.neighbours { (picture(near, "one of the nearest pictures")) } }
                        }
                        @if !shown.matches.is_empty() { (page::matches(&shown.matches)) }
                        @if !shown.codes.is_empty() {
                            details {
                                summary { (shown.codes.len()) " codes" }
                                p.numbers { @for code in &shown.codes { (code) " " } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What the model says, and whether it is right.
fn said(text: &str, right: bool) -> Markup {
    html! {
        p.caption {
            (or_absent(text)) "\u{A0}"
            @if right { span.tick aria-label="right" { "✓" } } @else { span.miss aria-label="wrong" { "✗" } }
        }
    }
}

/// What would have been right, unless that was said, and where the picture comes from.
fn own(said: &str, reference: &str, source: &str) -> Markup {
    html! {
        @if said != reference { p.quiet { "reference: " (or_absent(reference)) } }
        @if !source.is_empty() { p.quiet { (source) } }
    }
}

fn or_absent(text: &str) -> &str {
    if text.trim().is_empty() { ABSENT } else { text }
}
