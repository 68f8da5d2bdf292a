//! What the pages of all runs have in common: the frame, the head, the warnings, the figures that matter, the
//! curves. Every text goes through maud's escaping: captions come from whoever made the data.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{chart, curves::Stage, galleries::CaptionMatch, headline::Headline, png::Png};
use crate::{figure::Figure, numbers::number, share::Share, target::Verdict};

/// Belt and braces: even a mistake here could not make the page load or run anything.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
/// What stands after a share.
pub(crate) const STANDARD_ERROR: &str = "± is the standard error (Wilson, z = 1). ";

/// The head of a page.
pub(crate) struct Head<'a> {
    /// Heading.
    pub(crate) title: &'a str,
    /// A sentence or two below it.
    pub(crate) summary: Option<&'a str>,
    /// Labels and values.
    pub(crate) facts: Vec<(&'a str, &'a str)>,
    /// The command that made the run.
    pub(crate) command: Option<&'a str>,
}

/// A page, self-contained, around the sections in `body`.
pub(crate) fn frame(head: &Head, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (head.title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main {
                    header {
                        p.eyebrow { "SEED · report of a run" }
                        h1 { (head.title) }
                        @if let Some(summary) = head.summary { p.lead { (summary) } }
                        @if !head.facts.is_empty() {
                            dl.facts {
                                @for (label, value) in &head.facts { div { dt { (label) } dd { (value) } } }
                            }
                        }
                        @if let Some(command) = head.command { pre.command { (command) } }
                    }
                    (body)
                }
            }
        }
    }
}

/// What the reader must know; nothing if there is nothing.
pub(crate) fn warnings(warnings: &[String]) -> Markup {
    html! {
        @if !warnings.is_empty() {
            aside.warnings aria-label="Warnings" {
                ul { @for warning in warnings { li { (warning) } } }
            }
        }
    }
}

/// The figures that matter, as cards; nothing if there are none.
pub(crate) fn headlines(figures: &[Headline]) -> Markup {
    html! {
        @if !figures.is_empty() {
            div.headlines { @for figure in figures { (headline(figure)) } }
        }
    }
}

fn headline(figure: &Headline) -> Markup {
    let verdict = figure.verdict();
    let (state, mark) = match verdict {
        Some(Verdict::Reached) => ("reached", "✓ "),
        Some(Verdict::NotReached) => ("missed", "✗ "),
        Some(Verdict::NotCompared) | None => ("", ""),
    };
    html! {
        div class={ "headline " (state) } {
            p.label { (figure.label) }
            p.value {
                (number(figure.value.value(), figure.decimals))
                span.unit {
                    @if let Some(points) = figure.standard_error() { (error(points)) }
                    @if !figure.unit.is_empty() { " " (figure.unit) }
                }
            }
            @match (figure.judgement(), figure.value) {
                (Some(judgement), _) => p.target { (mark) (judgement) },
                (None, Figure::Share(share)) => p.quiet { (share.counts()) },
                (None, Figure::Number(_)) => {},
            }
            @if !figure.set.is_empty() { p.quiet { (figure.set) } }
            @if let Some(note) = &figure.note { p.quiet { (note) } }
        }
    }
}

/// A section of curves for each stage.
pub(crate) fn stages(stages: &[Stage]) -> Markup {
    html! {
        @for stage in stages {
            section {
                h2 { (stage.name) }
                @if let Some(note) = &stage.note { p.lead { (note) } }
                div.charts { @for curve in &stage.curves { (chart::lines(curve)) } }
            }
        }
    }
}

/// The configuration, folded.
pub(crate) fn config(config: Option<&str>) -> Markup {
    html! {
        @if let Some(config) = config {
            section { details { summary { "Configuration" } pre { (config) } } }
        }
    }
}

/// A picture of a gallery.
pub(crate) fn picture(picture: &Png, alternative: &str) -> Markup {
    html! { img src=(picture.as_str()) alt=(alternative) loading="lazy"; }
}

/// Captions with their cosines, the right ones marked.
pub(crate) fn matches(found: &[CaptionMatch]) -> Markup {
    html! {
        ol {
            @for found in found {
                li.hit[found.hit] {
                    span { (found.caption) @if found.hit { span.tick { " ✓" } } }
                    data value=[found.score.is_finite().then_some(found.score)] { (number(f64::from(found.score), 2).replace('-', "−")) }
                }
            }
        }
    }
}

/// ` ± 1.2` after a percentage; nothing if it is of none.
pub(crate) fn error(points: f64) -> Markup {
    html! { @if points.is_finite() { span.error { " ± " (number(points, 1)) } } }
}

/// A share in percent with its standard error, or [`ABSENT`] for a share of none.
pub(crate) fn share(share: Share) -> Markup {
    html! { (number(share.percent(), 1)) (error(share.standard_error())) }
}
