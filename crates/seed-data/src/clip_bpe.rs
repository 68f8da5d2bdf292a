//! CLIP's BPE from the two files that Stable Diffusion is published with (`tokenizer/vocab.json` and `merges.txt`).
//!
//! - original code: `CLIPConverter` of transformers

use std::path::Path;

use serde_json::{Value, json};

use crate::error::DataError;
use crate::text::TextTokenizer;

/// Starts every text, and ends it; the second stands for what is not known, too.
const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// What a word is: short endings, letters, one digit, other signs.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// The tokenizer of a published CLIP, which has `vocab.json` and `merges.txt`. It pads with its end token, as Stable Diffusion 1
/// does; [`TextTokenizer::with_padding`] names another.
///
/// # Errors
///
/// [`DataError::Io`] if a file cannot be read; [`DataError::Tokenizer`] if it is not what it should be, or lacks CLIP's special
/// tokens.
pub fn clip_bpe_of_files(vocab: &Path, merges: &Path) -> Result<TextTokenizer, DataError> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(DataError::io(path));
    let bad = |path: &Path, reason: String| DataError::Tokenizer {
        source: format!("{}: {reason}", path.display()).into(),
    };
    let pieces: Value =
        serde_json::from_str(&read(vocab)?).map_err(|error| bad(vocab, error.to_string()))?;
    let id = |name: &str| {
        pieces[name]
            .as_u64()
            .ok_or_else(|| bad(vocab, format!("the vocabulary has no `{name}`")))
    };
    let (start, end) = (id(START)?, id(END)?);
    let merges = read(merges)?;
    let merges: Vec<&str> = merges
        .lines()
        .filter(|line| !line.starts_with("#version") && !line.trim().is_empty())
        .collect();
    let special = |id: u64, content: &str| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": true, "special": true,
        })
    };
    let byte_level = |add_prefix_space: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true,
            "use_regex": true,
        })
    };
    // In the order of their ids, as a `tokenizer.json` has them.
    let mut added = vec![(start, START), (end, END)];
    added.sort_unstable();
    let added: Vec<Value> = added
        .into_iter()
        .map(|(id, name)| special(id, name))
        .collect();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
            { "type": "Lowercase" },
        ]},
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": WORDS }, "behavior": "Removed", "invert": true },
            byte_level(false),
        ]},
        "post_processor": {
            "type": "RobertaProcessing", "sep": [END, end], "cls": [START, start],
            "trim_offsets": false, "add_prefix_space": false,
        },
        "decoder": byte_level(true),
        "model": {
            "type": "BPE", "unk_token": END, "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": false, "vocab": pieces, "merges": merges,
        },
    });
    TextTokenizer::from_json(&tokenizer.to_string()).map_err(|error| match error {
        DataError::Tokenizer { source } => bad(vocab, source.to_string()),
        other => other,
    })
}
