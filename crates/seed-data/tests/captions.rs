//! Edges of caption cleaning; string for string it is compared with the reference by the case
//! `07_preprocessing` of `tests/fixtures`.

use std::{fs, path::Path};

use seed_data::{blip_caption, blip_caption_with_prompt, blip_question};
use serde_json::Value;

#[test]
fn a_caption_of_marks_alone_becomes_empty() {
    assert_eq!(blip_caption("...!!! "), "");
    assert_eq!(blip_caption(""), "");
    assert_eq!(
        blip_caption_with_prompt("a photo of ", "..."),
        "a photo of "
    );
    assert_eq!(blip_question("...!!! "), "");
}

#[test]
fn fifty_words_are_kept() {
    let fifty = vec!["word"; 50].join(" ");
    assert_eq!(blip_caption(&fifty), fifty);
    assert_eq!(blip_caption(&format!("{fifty} more")), fifty);
}

/// `captions.json` is made by the script beside it, from the reference's own lines.
#[test]
fn white_space_is_pythons() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captions.json");
    let cases: Vec<Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let text = case["text"].as_str().unwrap();
        assert_eq!(blip_caption(text), case["caption"], "of {text:?}");
        assert_eq!(blip_question(text), case["question"], "of {text:?}");
    }
}
