//! The page of a language model's run.

use maud::{Markup, html};

use super::{
    contents::LanguageReport,
    examples::{AnsweredPicture, CaptionedPicture, DrawnCaption},
    results::{
        CaptionResult, CodePerplexity, DrawingResult, NounResult, PromptKind, QuestionResult,
        lengths,
    },
};
use crate::{
    numbers::{ABSENT, number, signed, thousands},
    report::{
        chart::{self, Bar, BarChart},
        page::{self, Head, picture},
    },
    set_name::SetName,
    share::Share,
};

/// Lengths of what was not well formed that are named.
const LENGTHS: usize = 5;

impl LanguageReport {
    /// The page, self-contained: styles, charts and pictures are inside, nothing is loaded, no script runs.
    pub fn html(&self) -> String {
        page(self).into_string()
    }
}

fn page(report: &LanguageReport) -> Markup {
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
        @if !report.drawings.is_empty() { (drawings(&report.drawings)) }
        @if !report.nouns.is_empty() { (nouns(&report.nouns)) }
        @if !report.code_perplexity.is_empty() { (code_perplexity(&report.code_perplexity)) }
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
                "Greedy captions of held-out pictures. " em { "Exact" } ": a reference to the letter, in percent; "
                "beside it the same model on embeddings that were not quantised, and the caption that most training "
                "pairs bear. " (page::STANDARD_ERROR)
            }
            div.scroll {
                table.sets {
                    thead {
                        tr {
                            th rowspan="2" {}
                            th.span colspan="3" { "exact, %" }
                            th.span colspan="4" { "against the references" }
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
                                (bar(result.exact))
                                td.quiet { (page::share(result.continuous.unwrap_or_default())) }
                                td.quiet { (page::share(result.most_frequent_caption)) }
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
                "Right answers after VQA's normalisation, in percent; beside them, without the picture: the same model "
                "when the image tokens are those of " em { "another picture" } "; and the " em { "most frequent" }
                " answer to each question, counted over training items only. " (page::STANDARD_ERROR)
            }
            div.scroll {
                table.sets {
                    thead {
                        tr { th {} th { "right, %" } th { "another picture" } th { "most frequent" } th { "right − another" } }
                    }
                    tbody {
                        @for result in results {
                            tr.model {
                                (set(&result.set, result.questions, "questions"))
                                (bar(result.accuracy))
                                td.quiet { (page::share(result.other_picture)) }
                                td.quiet { (page::share(result.most_frequent_answer)) }
                                td { (signed(result.accuracy.percent() - result.other_picture.percent())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn drawings(results: &[DrawingResult]) -> Markup {
    let of = |kind: PromptKind| results.iter().filter(move |result| result.kind == kind);
    let kinds = PromptKind::ALL.into_iter();
    html! {
        section {
            h2 { "Drawings" }
            p.lead {
                "Greedy images, generated without the grammar, told apart by what training knew of their prompts. "
                em { "R@k" } ": how often, in percent, the embedding reconstructed from the codes finds its prompt "
                "among the first k; " em { "chance" } " is R@1 of a random order. An image that is not well formed is "
                "a miss; " em { "malformed" } " names how many codes it had, and how often. " (page::STANDARD_ERROR)
            }
            div.scroll {
                table.sets {
                    thead {
                        tr {
                            th {}
                            th { "R@1" } th { "chance" } th { "R@5" } th { "R@10" }
                            th { "well formed, %" } th { "malformed" }
                        }
                    }
                    @for kind in kinds.filter(|kind| of(*kind).next().is_some()) {
                        tbody {
                            tr.group {
                                th colspan="7" scope="rowgroup" { span { (kind) } small { (kind.meaning()) } }
                            }
                            @for result in of(kind) {
                                tr.model {
                                    (drawing_set(result))
                                    (bar(result.r1))
                                    td.quiet { (number(result.chance_r1, 2)) }
                                    td { (page::share(result.r5)) }
                                    td { (page::share(result.r10)) }
                                    td { (page::share(result.well_formed)) }
                                    td.quiet { (lengths(&result.malformed_lengths, LENGTHS)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn nouns(results: &[NounResult]) -> Markup {
    html! {
        section {
            h2 { "Nouns" }
            p.lead {
                "Images of nouns that are no caption of the corpus, generated without the grammar: how often they are "
                "well formed, and how many codes the malformed ones had. " (page::STANDARD_ERROR)
            }
            div.scroll {
                table.sets.narrow {
                    thead { tr { th {} th { "well formed, %" } th { "malformed" } } }
                    tbody {
                        @for result in results {
                            tr.model {
                                th scope="row" {
                                    (result.decoding) small { (thousands(result.well_formed.of)) " nouns" }
                                }
                                (bar(result.well_formed))
                                td.quiet { (lengths(&result.malformed_lengths, LENGTHS)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn code_perplexity(results: &[CodePerplexity]) -> Markup {
    html! {
        section {
            h2 { "Perplexity of held-out codes" }
            p.lead {
                "How well the codes of held-out pictures are foreseen from their captions: " em { "codes" }
                " alone, and apart from them the opening and closing " em { "marks" } "."
            }
            div.scroll {
                table.sets.narrow {
                    thead { tr { th {} th { "codes" } th { "marks" } } }
                    tbody {
                        @for result in results {
                            tr.model {
                                (set(&result.set, result.pictures, "pictures"))
                                td { (number(result.codes, 1)) }
                                td.quiet { (number(result.marks, 2)) }
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
    html! { th scope="row" { (name) small { (thousands(count as u64)) " " (of) } } }
}

fn drawing_set(result: &DrawingResult) -> Markup {
    let [prompts, candidates] = [result.prompts, result.candidates].map(|n| thousands(n as u64));
    html! {
        th scope="row" { (result.set) small { (prompts) " prompts, " (candidates) " candidates" } }
    }
}

/// The figure of the row, with a bar.
fn bar(share: Share) -> Markup {
    let bar = if share.is_measured() {
        share.percent()
    } else {
        0.0
    };
    html! { td.mean style=(format!("--v:{bar:.1}")) { (page::share(share)) } }
}

fn has_positions(result: &CodePerplexity) -> bool {
    result.by_position.iter().any(|p| p.is_finite())
}

/// A bar a code, the first counted as 1.
fn positions(result: &CodePerplexity) -> BarChart {
    let codes = result.by_position.len();
    let bars = (1..).zip(&result.by_position);
    let bars = bars.map(|(at, &perplexity): (usize, _)| Bar {
        value: if perplexity.is_finite() {
            perplexity
        } else {
            0.0
        },
        behind: 0.0,
        text: format!("code {at}: perplexity {}", number(perplexity, 1)),
    });
    let centre = |at: usize| (at as f64 - 0.5) / codes as f64;
    let labels = (1..=codes).step_by(codes.div_ceil(8).max(1));
    BarChart {
        title: format!("Perplexity of each code: {}", result.set),
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
                "Prompts, pictures whose codes are nearest to those the model generates, and the captions nearest to "
                "these codes, with their cosine. What is malformed shows nothing."
            }
            div.gallery {
                @for shown in captions {
                    article {
                        p.caption {
                            (or_absent(&shown.caption))
                            @if !shown.well_formed { span.miss { " · malformed: " (shown.codes.len()) " codes" } }
                            @else if !shown.matches.iter().any(|found| found.hit) { span.miss { " · not found" } }
                        }
                        p.quiet { (shown.kind) }
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
