//! Edges of caption cleaning; string for string it is compared with the reference by the case
//! `07_preprocessing` of `tests/fixtures`.

use seed_data::{blip_caption, blip_caption_with_prompt, blip_question};

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
