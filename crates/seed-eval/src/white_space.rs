//! White space as Python has it, which the reference's programs strip and split by.
//!
//! It is Unicode's white space and the four information separators U+001C to U+001F, which Unicode, and
//! so Rust, does not count. Wherever a number is to be the reference's, text is cut by these functions; only
//! [`crate::ptb_tokenize`] goes by the notion of the Java program that it stands for.

/// Whether Python's `str.isspace` holds of a character, which is also what `\s` matches there.
pub fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&character)
}

/// Python's `text.strip()`: without white space at the ends.
///
/// ```
/// # use seed_eval::white_space::strip;
/// assert_eq!(strip("\u{1F} a cat\u{85}\n"), "a cat");
/// ```
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Python's `text.split()`: what stands between white space, nothing empty.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}
