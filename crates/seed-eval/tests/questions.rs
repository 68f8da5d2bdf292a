//! VQA and GQA accuracy against the official code's, and what must hold of any answers.

mod golden;

use std::collections::BTreeMap;

use golden::{close, expected, file};
use proptest::prelude::*;
use seed_eval::{
    EvalError, GqaItem, GqaScores, VqaItem, VqaScores, vqa_cleaned_answers, vqa_normalize,
    vqa_punctuation,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Asked {
    question_id: u64,
    question_type: String,
    answer_type: String,
    prediction: String,
    answers: Vec<String>,
}

impl Asked {
    fn item(&self) -> VqaItem<'_> {
        VqaItem {
            prediction: &self.prediction,
            answers: &self.answers,
            answer_type: Some(&self.answer_type),
            question_type: Some(&self.question_type),
        }
    }
}

#[derive(Deserialize)]
struct Golden {
    overall: f64,
    per_answer_type: BTreeMap<String, f64>,
    per_question_type: BTreeMap<String, f64>,
    per_question: BTreeMap<String, f64>,
    normalised_predictions: Vec<String>,
    ground_truth_after_eval: Vec<Vec<String>>,
}

/// The official code rounds to two decimals.
#[track_caller]
fn rounds_to(found: f64, golden: f64) {
    assert!(
        (found - golden).abs() <= 0.005 + 1e-9,
        "{found} is not {golden}"
    );
}

#[test]
fn accuracies_are_the_official_ones() {
    let questions: Vec<Asked> = file("vqa.json");
    let golden: Golden = expected("vqa");
    let items: Vec<_> = questions.iter().map(Asked::item).collect();
    let found = VqaScores::of(&items).unwrap();
    rounds_to(found.overall, golden.overall);
    for (found, golden) in [
        (&found.per_answer_type, &golden.per_answer_type),
        (&found.per_question_type, &golden.per_question_type),
    ] {
        assert!(found.keys().eq(golden.keys()), "{found:?}");
        for (kind, golden) in golden {
            rounds_to(found[kind], *golden);
        }
    }
    for (question, found) in questions.iter().zip(&found.per_question) {
        rounds_to(
            *found,
            golden.per_question[&question.question_id.to_string()],
        );
    }
    for (place, question) in questions.iter().enumerate() {
        let prediction = vqa_normalize(&question.prediction);
        assert_eq!(prediction, golden.normalised_predictions[place]);
        let answers = vqa_cleaned_answers(&question.answers);
        assert_eq!(answers, golden.ground_truth_after_eval[place]);
    }
}

#[test]
fn strings_are_normalised_as_by_the_official_code() {
    let strings: Vec<String> = file("vqa_strings.json");
    let normalised: Vec<String> = expected("vqa_normalised_strings");
    let punctuation: Vec<String> = expected("vqa_punctuation_only_strings");
    assert_eq!(strings.len(), normalised.len());
    for (place, text) in strings.iter().enumerate() {
        assert_eq!(vqa_normalize(text), normalised[place], "of {text:?}");
        assert_eq!(vqa_punctuation(text), punctuation[place], "of {text:?}");
    }
}

#[test]
fn no_more_than_32_periods_go() {
    assert_eq!(vqa_punctuation(&".".repeat(40)), ".".repeat(8));
    assert_eq!(vqa_normalize("somebody'd"), "somebodyd");
}

#[test]
fn gqa_is_an_exact_match() {
    #[derive(Deserialize)]
    struct Question {
        prediction: String,
        answer: String,
    }
    #[derive(Deserialize)]
    struct Golden {
        accuracy: f64,
        hits: Vec<u8>,
    }
    let questions: Vec<Question> = file("gqa.json");
    let golden: Golden = expected("gqa");
    let items = questions.iter().map(|question| GqaItem {
        prediction: &question.prediction,
        answer: &question.answer,
    });
    let found = GqaScores::of(&items.collect::<Vec<_>>()).unwrap();
    close(found.accuracy, golden.accuracy, 1e-12);
    let hits: Vec<u8> = found.hits.iter().map(|hit| u8::from(*hit)).collect();
    assert_eq!(hits, golden.hits);
    assert!(matches!(
        GqaScores::of(&[]),
        Err(EvalError::Empty("questions"))
    ));
}

#[test]
fn no_questions_and_no_answers_are_errors() {
    assert!(matches!(
        VqaScores::of(&[]),
        Err(EvalError::Empty("questions"))
    ));
    let error = VqaScores::of(&[untyped("yes", &[])]).unwrap_err();
    assert!(
        matches!(error, EvalError::NoAnswers { question: 0 }),
        "{error}"
    );
}

#[test]
fn questions_without_a_type_count_overall_only() {
    let answers = vec!["yes".to_owned(); 10];
    let found = VqaScores::of(&[untyped("yes", &answers), untyped("", &answers)]).unwrap();
    close(found.overall, 50.0, 1e-12);
    assert!(found.per_answer_type.is_empty() && found.per_question_type.is_empty());
}

fn untyped<'a>(prediction: &'a str, answers: &'a [String]) -> VqaItem<'a> {
    VqaItem {
        prediction,
        answers,
        answer_type: None,
        question_type: None,
    }
}

proptest! {
    #[test]
    fn accuracy_depends_on_how_many_agree(agree in 0_usize..=10, place in 0_usize..10) {
        let mut answers: Vec<String> = (0..10)
            .map(|answer| if answer < agree { "blue" } else { "red" }.to_owned())
            .collect();
        answers.rotate_left(place);
        let found = VqaScores::of(&[untyped("Blue!", &answers)]).unwrap().overall;
        // The closed form: with `agree` equal answers, each of them is left out once.
        let left_out = |count: usize| f64::min(1.0, count as f64 / 3.0);
        let own = agree as f64 * left_out(agree.saturating_sub(1));
        let other = (10 - agree) as f64 * left_out(agree);
        prop_assert!((found - 10.0 * (own + other)).abs() < 1e-9);
    }

    #[test]
    fn a_normalised_answer_has_no_articles_or_marks(text in "[ a-zA-Z0-9,.!?'()-]{0,40}") {
        let normal = vqa_normalize(&text);
        prop_assert!(!normal.contains(['!', '?', '(', ')', '-', ',']));
        prop_assert!(normal.split(' ').all(|word| !["a", "an", "the"].contains(&word)));
        prop_assert!(!normal.chars().any(char::is_uppercase));
    }

    #[test]
    fn any_text_is_normalised(text in any::<String>()) {
        let normal = vqa_normalize(&text);
        prop_assert_eq!(normal.trim(), &normal);
    }
}
