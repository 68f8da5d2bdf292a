//! What a language model of words and codes is judged by: captions, answers, drawings; as JSON, as one
//! self-contained HTML page, and as tables for the terminal.
//!
//! Drawings are told apart by what training knew of their prompts ([`PromptKind`]): *recall* of captions that were
//! trained on, seen concepts in *other words*, *unseen concepts*; and *nouns* that are no caption at all
//! ([`NounResult`]). Every share is counted ([`Share`](crate::Share)) and shown with its standard error.
//!
//! Every part may be missing: its table, chart or gallery is then absent from the page.
//!
//! ```
//! use seed_eval::{Share, language::LanguageReport, report::{Curve, Headline, Series, Stage}};
//! let report = LanguageReport {
//!     title: "nano language model, seed 0".into(),
//!     headlines: vec![Headline::new("exact captions, seen", Share::new(552, 1327))],
//!     stages: vec![Stage::new("Adapter training").curve(
//!         Curve::new("Loss").series(Series::new("train", [(0.0, 6.2), (100.0, 3.1)])),
//!     )],
//!     ..LanguageReport::default()
//! };
//! assert!(report.html().contains("nano language model, seed 0"));
//! ```

mod contents;
mod examples;
mod html;
mod measured;
mod results;
mod save;
mod terminal;

pub use contents::LanguageReport;
pub use examples::{AnsweredPicture, CaptionedPicture, DrawnCaption};
pub use results::{
    CaptionResult, CodePerplexity, DrawingResult, NounResult, PromptKind, QuestionResult,
};
