//! Python's notion of white space: `white_space.json` is made by the script beside it.

use std::{fs, path::Path};

use seed_eval::{
    CaptionItem, CaptionScores, GqaItem, GqaScores, ImageCaptionScores, vqa_normalize, white_space,
};
use serde::Deserialize;

/// A text, and what the reference's lines make of it.
#[derive(Deserialize)]
struct Case {
    text: String,
    strip: String,
    split: Vec<String>,
    vqa: String,
    gqa: String,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/white_space.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn texts_are_stripped_and_split_as_by_python() {
    for Case {
        text, strip, split, ..
    } in cases()
    {
        assert_eq!(white_space::strip(&text), strip, "of {text:?}");
        let found: Vec<&str> = white_space::split(&text).collect();
        assert_eq!(found, split, "of {text:?}");
    }
}

#[test]
fn answers_are_normalised_as_by_python() {
    let cases = cases();
    for Case { text, vqa, .. } in &cases {
        assert_eq!(vqa_normalize(text), *vqa, "of {text:?}");
    }
    let items = cases.iter().map(|case| GqaItem {
        prediction: &case.text,
        answer: &case.gqa,
    });
    let scores = GqaScores::of(&items.collect::<Vec<_>>()).unwrap();
    for (case, hit) in cases.iter().zip(scores.hits) {
        assert!(hit, "of {:?}", case.text);
    }
}

#[test]
fn captions_have_the_words_that_they_have_in_python() {
    let texts: Vec<(String, [String; 1])> = cases()
        .into_iter()
        .map(|case| (case.text, [case.split.join(" ")]))
        .collect();
    let odd = texts.iter().map(|(text, plain)| CaptionItem {
        hypothesis: text,
        references: plain,
    });
    let plain = texts.iter().map(|(_, plain)| CaptionItem {
        hypothesis: &plain[0],
        references: plain,
    });
    let score =
        |items: Vec<CaptionItem<'_>>| CaptionScores::of_tokenized(&items).unwrap().per_image;
    // ROUGE-L splits at single spaces alone.
    let by_words = |image: &ImageCaptionScores| ImageCaptionScores {
        rouge_l: 0.0,
        ..*image
    };
    let (found, expected) = (score(odd.collect()), score(plain.collect()));
    for ((found, expected), (text, _)) in found.iter().zip(&expected).zip(&texts) {
        assert_eq!(by_words(found), by_words(expected), "of {text:?}");
    }
}
