//! Caption cleaning equals the reference, string for string.

use seed_data::{blip_caption, blip_caption_with_prompt, blip_question};
use serde_json::Value;

fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().expect("a list");
    list.iter().map(|s| s.as_str().expect("a string")).collect()
}

#[test]
fn cleaning_equals_the_reference() {
    let config: Value =
        serde_json::from_str(include_str!("fixtures/07_preprocessing/config.json")).unwrap();
    let expected: Value =
        serde_json::from_str(include_str!("fixtures/07_preprocessing/expected.json")).unwrap();
    let captions = strings(&config["captions"]);

    let cleaned: Vec<_> = captions.iter().map(|c| blip_caption(c)).collect();
    assert_eq!(cleaned, strings(&expected["blip_caption"]));

    let prompted = strings(&expected["blip_caption_prompt_a_photo_of"]);
    let with_prompt: Vec<_> = captions
        .iter()
        .take(prompted.len())
        .map(|c| blip_caption_with_prompt("a photo of ", c))
        .collect();
    assert_eq!(with_prompt, prompted);

    let questions: Vec<_> = captions.iter().map(|c| blip_question(c)).collect();
    assert_eq!(questions, strings(&expected["blip_question"]));
}

#[test]
fn a_caption_of_marks_alone_becomes_empty() {
    assert_eq!(blip_caption("...!!! "), "");
    assert_eq!(blip_caption(""), "");
}

#[test]
fn fifty_words_are_kept() {
    let fifty = vec!["word"; 50].join(" ");
    assert_eq!(blip_caption(&fifty), fifty);
    assert_eq!(blip_caption(&format!("{fifty} more")), fifty);
}
