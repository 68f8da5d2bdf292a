//! What is scored.

/// One image: the caption that a model gave it, and those that people gave it.
#[derive(Debug, Clone, Copy)]
pub struct CaptionItem<'a> {
    /// The caption to judge. It may be empty, and then scores nothing.
    pub hypothesis: &'a str,
    /// The captions to hold it against, at least one.
    pub references: &'a [String],
}
