//! Caption cleaning as LAVIS does it (`blip_processors.py`): `BlipCaptionProcessor` and
//! `BlipQuestionProcessor`, character for character.

use std::sync::LazyLock;

use regex::Regex;

/// Words kept of a caption or question; the rest is cut off.
pub const MAX_WORDS: usize = 50;

const REMOVED: [char; 10] = ['.', '!', '"', '(', ')', '*', '#', ':', ';', '~'];

/// Runs of two or more of what Python's `\s` matches: Unicode white space and the four
/// information separators, which Rust's `\s` leaves out.
static SPACE_RUN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[\s\x1c-\x1f]{2,}").expect("a valid pattern"));

/// Cleans a caption: lower case, the characters `.!"()*#:;~` become spaces, runs of white space
/// collapse to one space, ends are trimmed, and at most [`MAX_WORDS`] words remain.
///
/// A caption of nothing but such characters becomes empty.
pub fn blip_caption(caption: &str) -> String {
    let spaced = caption.to_lowercase().replace(REMOVED, " ");
    let collapsed = SPACE_RUN.replace_all(&spaced, " ");
    let trimmed = collapsed.trim_end_matches('\n').trim_matches(' ');
    first_words(trimmed)
}

/// [`blip_caption`] behind a prompt such as `"a photo of "`, which is not cleaned.
pub fn blip_caption_with_prompt(prompt: &str, caption: &str) -> String {
    format!("{prompt}{}", blip_caption(caption))
}

/// Cleans a question: lower case, the characters `.!"()*#:;~` are dropped, trailing spaces are
/// trimmed, and at most [`MAX_WORDS`] words remain. White space inside stays as it is.
pub fn blip_question(question: &str) -> String {
    let kept = question.to_lowercase().replace(REMOVED, "");
    first_words(kept.trim_end_matches(' '))
}

/// Cuts after [`MAX_WORDS`] words, where a word ends at each single space.
fn first_words(text: &str) -> String {
    match text.match_indices(' ').nth(MAX_WORDS - 1) {
        Some((end, _)) => text[..end].to_owned(),
        None => text.to_owned(),
    }
}
