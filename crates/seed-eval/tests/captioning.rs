//! Caption scores against pycocoevalcap's, and what must hold of any captions.

mod golden;

use golden::{close, expected, file};
use proptest::prelude::*;
use seed_eval::{CaptionItem, CaptionScores, EvalError, ptb_tokenize};
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
struct Captions {
    hypothesis: String,
    references: Vec<String>,
}

impl Captions {
    fn item(&self) -> CaptionItem<'_> {
        CaptionItem {
            hypothesis: &self.hypothesis,
            references: &self.references,
        }
    }
}

fn captions(images: &[(&str, &[&str])]) -> Vec<Captions> {
    let owned = |(hypothesis, references): &(&str, &[&str])| Captions {
        hypothesis: (*hypothesis).to_owned(),
        references: references.iter().map(|text| (*text).to_owned()).collect(),
    };
    images.iter().map(owned).collect()
}

fn score(captions: &[Captions]) -> CaptionScores {
    let items: Vec<_> = captions.iter().map(Captions::item).collect();
    CaptionScores::of(&items).unwrap()
}

#[test]
fn strings_are_tokenised_as_by_corenlp() {
    let strings: Vec<String> = file("ptb_strings.json");
    let golden: Vec<String> = expected("ptb");
    assert_eq!(strings.len(), golden.len());
    for (text, golden) in strings.iter().zip(&golden) {
        assert_eq!(ptb_tokenize(text), *golden, "of {text:?}");
    }
    let raw: Vec<Captions> = file("captions.json");
    let golden: Vec<Captions> = expected("tokenized");
    for (raw, golden) in raw.iter().zip(&golden) {
        assert_eq!(ptb_tokenize(&raw.hypothesis), golden.hypothesis);
        for (raw, golden) in raw.references.iter().zip(&golden.references) {
            assert_eq!(ptb_tokenize(raw), *golden, "of {raw:?}");
        }
    }
}

#[test]
fn more_strings_as_corenlp_has_them() {
    for (text, golden) in [
        (
            "y'all o'clock ma'am d'or rock 'n' roll '90s",
            "y' all o'clock ma'am d'or rock 'n' roll '90s",
        ),
        (
            "shouldn't've he'd've 'tis Shan't",
            "should n't 've he 'd 've 't is sha n't",
        ),
        ("it’s “nice” isn’t it…", "it 's nice is n't it"),
        (
            "St. Louis, Mr. T. vs. no. 5 and Miss. but no miss.",
            "st. louis mr. t. vs. no. 5 and miss. but no miss",
        ),
        (
            "a 10:30am bus at 10.30pm: 3,000 lbs. -5",
            "a 10:30 am bus at 10.30 pm 3,000 lbs -5",
        ),
        ("10 1/2 ft. by 5½ ft.", "10\u{a0}1/2 ft. by 5 1/2 ft."),
        (
            "v1.0 a_b a__b x,y-z U.S.-based",
            "v1 .0 a_b a __ b x,y-z u.s.-based",
        ),
        ("dog., cat.; 3.5., ", "dog. cat. 3.5"),
        (
            "www.site.com/a?b me@site.co.uk #tag @you <b>",
            "www.site.com/a?b me@site.co.uk #tag @you <b>",
        ),
        (
            "R&B r&b A+B c++ *star* :) a/b/c/d",
            "r&b r & b a+b c++ * star * :-rrb- a/b/c / d",
        ),
        ("£5 €5 5¢ US$5 👍 你好。", "# 5 $ 5 5 cents us$ 5 你好 。"),
        (
            "O'Brien's more'n hold'em, rock'n'roll, get 'em! Hawai'i in '00s",
            "o'brien 's more 'n hold 'em rock 'n' roll get 'em hawai'i in 00s",
        ),
        (
            "a 10-year-old's black-and-white/brown T-shirt., mid-1980s",
            "a 10-year-old 's black-and-white/brown t-shirt. mid-1980s",
        ),
        (
            "3.5-inch, 555-1234, 12/25/2015, 24/7: a 3-D TV/monitor w/o legs--pages 5-6",
            "3.5-inch 555-1234 12/25/2015 24/7 a 3-d tv/monitor w/o legs pages 5-6",
        ),
        ("", ""),
        (" \t\n ", ""),
        ("... -- ' \" , .", ""),
    ] {
        assert_eq!(ptb_tokenize(text), golden, "of {text:?}");
    }
}

/// What the Java program has of each, and for `\r` and its like of each of the two lines.
#[test]
fn white_space_of_all_kinds_parts_words() {
    let spaces = "\t\n\u{B}\u{C}\r\u{1C}\u{1D}\u{1E}\u{1F} \u{85}\u{A0}\u{1680}\u{180E}\u{2000}\u{2007}\u{200A}\u{200B}\u{2028}\
                  \u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}";
    for space in spaces.chars() {
        let text = format!("{space}A{space}cat{space}{space}sat.{space}");
        assert_eq!(ptb_tokenize(&text), "a cat sat", "of {text:?}");
    }
    assert_eq!(ptb_tokenize("no.\u{1C}5"), "no 5");
    assert_eq!(ptb_tokenize("no. 5"), "no. 5");
}

#[test]
fn scores_are_pycocoevalcaps() {
    #[derive(Deserialize)]
    struct Golden {
        bleu: [f64; 4],
        bleu_per_image: [Vec<f64>; 4],
        rouge_l: f64,
        rouge_l_per_image: Vec<f64>,
        cider: f64,
        cider_per_image: Vec<f64>,
        cider_plain: f64,
        cider_plain_per_image: Vec<f64>,
    }
    let golden: Golden = expected("caption_metrics");
    let tokenized: Vec<Captions> = expected("tokenized");
    let tokenized: Vec<_> = tokenized.iter().map(Captions::item).collect();
    let found = CaptionScores::of_tokenized(&tokenized).unwrap();
    let exact = 1e-8;
    for order in 0..4 {
        close(found.bleu[order], golden.bleu[order], exact);
    }
    close(found.rouge_l, golden.rouge_l, exact);
    close(found.cider_d, golden.cider, exact);
    close(found.cider_plain, golden.cider_plain, exact);
    assert_eq!(found.per_image.len(), golden.cider_per_image.len());
    for (image, found) in found.per_image.iter().enumerate() {
        for order in 0..4 {
            close(
                found.bleu[order],
                golden.bleu_per_image[order][image],
                exact,
            );
        }
        close(found.rouge_l, golden.rouge_l_per_image[image], exact);
        close(found.cider_d, golden.cider_per_image[image], exact);
        close(
            found.cider_plain,
            golden.cider_plain_per_image[image],
            exact,
        );
    }
    let raw: Vec<Captions> = file("captions.json");
    assert_eq!(score(&raw), found, "from the captions as written");
}

#[test]
fn equally_close_references_count_as_the_shorter() {
    // Two words against one and three: no brevity penalty.
    let found = score(&captions(&[("a b", &["a b c", "a"])]));
    close(found.bleu[0], 1.0, 1e-6);
    let found = score(&captions(&[("a b", &["a b c", "x a b z"])]));
    close(found.bleu[0], (1.0_f64 - 3.0 / 2.0).exp(), 1e-6);
}

#[test]
fn empty_captions_score_nothing() {
    let found = score(&captions(&[
        ("", &["a dog runs"]),
        ("...", &["two cats sit on a sofa"]),
        ("a bird", &["a bird"]),
    ]));
    for image in &found.per_image[..2] {
        assert!(image.bleu.iter().all(|bleu| *bleu < 1e-9), "{image:?}");
        assert!(image.rouge_l == 0.0 && image.cider_d == 0.0 && image.cider_plain == 0.0);
    }
    let nothing = score(&captions(&[("", &["."]), ("", &["a"])]));
    assert!(nothing.bleu.iter().all(|bleu| bleu.is_finite()));
    assert!(nothing.cider_d.is_finite() && nothing.rouge_l.is_finite());
}

#[test]
fn no_captions_and_no_references_are_errors() {
    assert!(matches!(
        CaptionScores::of(&[]),
        Err(EvalError::Empty("captions"))
    ));
    let images = captions(&[("a", &["a"]), ("b", &[])]);
    let items: Vec<_> = images.iter().map(Captions::item).collect();
    let error = CaptionScores::of(&items).unwrap_err();
    assert!(
        matches!(error, EvalError::NoReferences { image: 1 }),
        "{error}"
    );
}

/// Images of captions from a few words, so that n-grams are shared.
fn images() -> impl Strategy<Value = Vec<Captions>> {
    let caption = |least| {
        let word = prop::sample::select(vec![
            "a", "the", "dog", "cat", "runs", "sits", "on", "grass",
        ]);
        prop::collection::vec(word, least..9).prop_map(|words| words.join(" "))
    };
    let image = (caption(0), prop::collection::vec(caption(1), 1..4));
    let image = image.prop_map(|(hypothesis, references)| Captions {
        hypothesis,
        references,
    });
    prop::collection::vec(image, 2..8)
}

proptest! {
    #[test]
    fn order_does_not_matter(images in images(), turn in 0_usize..8) {
        let found = score(&images);
        let mut turned = images.clone();
        let turn = turn % images.len();
        turned.rotate_left(turn);
        for image in &mut turned {
            image.references.reverse();
        }
        let again = score(&turned);
        for (a, b) in found.bleu.iter().zip(again.bleu) {
            prop_assert!((a - b).abs() < 1e-12);
        }
        prop_assert!((found.rouge_l - again.rouge_l).abs() < 1e-12);
        prop_assert!((found.cider_d - again.cider_d).abs() < 1e-9);
        for (place, image) in again.per_image.iter().enumerate() {
            let before = &found.per_image[(place + turn) % images.len()];
            prop_assert!((image.cider_plain - before.cider_plain).abs() < 1e-9);
        }
    }

    #[test]
    fn scores_keep_to_their_range(images in images()) {
        let found = score(&images);
        for image in &found.per_image {
            for unit in image.bleu.iter().chain([&image.rouge_l]) {
                prop_assert!((0.0..=1.0 + 1e-9).contains(unit), "{image:?}");
            }
            for ten in [image.cider_d, image.cider_plain] {
                prop_assert!((0.0..=10.0 + 1e-9).contains(&ten), "{image:?}");
            }
            prop_assert!(image.cider_d <= image.cider_plain + 1e-9, "clipping only takes");
        }
    }

    #[test]
    fn the_reference_itself_is_best(mut images in images()) {
        for image in &mut images {
            image.references.truncate(1);
        }
        let best = images.iter().map(|image| Captions {
            hypothesis: image.references[0].clone(),
            references: image.references.clone(),
        });
        let (found, best) = (score(&images), score(&best.collect::<Vec<_>>()));
        prop_assert!((best.rouge_l - 1.0).abs() < 1e-12);
        prop_assert!((best.bleu[0] - 1.0).abs() < 1e-6);
        for (found, best) in found.per_image.iter().zip(&best.per_image) {
            prop_assert!(found.rouge_l <= best.rouge_l + 1e-12);
            prop_assert!(found.cider_d <= best.cider_d + 1e-9);
        }
    }

    #[test]
    fn any_text_is_tokenised(text in any::<String>()) {
        let tokens = ptb_tokenize(&text);
        prop_assert!(!tokens.contains(['\n', '\t']));
        prop_assert!(!tokens.starts_with(' ') && !tokens.contains("  "));
    }
}
