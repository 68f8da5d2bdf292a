//! Visual question answering: the accuracy of VQAv2, as its official evaluation counts it.
//!
//! After LAVIS' `common/vqa_tools/vqa_eval.py`, which follows the official `vqaEval.py`. Of ten people's answers a
//! prediction must equal three to be fully right: the accuracy is the mean, over each nine of the ten, of
//! `min(1, equal answers / 3)`. Before that the prediction is normalised, by rules with quirks that all
//! published numbers share and that are kept here:
//!
//! - a punctuation mark is deleted if it stands beside a space anywhere in the text, or if the text has a
//!   comma between two digits anywhere; else it becomes a space;
//! - a period before a digit stays, of the others the first 32 go;
//! - people's answers lose their punctuation only where they are not all equal, and never their articles or
//!   numerals.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use serde::{Deserialize, Serialize};

use crate::{EvalError, white_space};

/// A question, answered.
#[derive(Debug, Clone, Copy)]
pub struct VqaItem<'a> {
    /// The model's answer.
    pub prediction: &'a str,
    /// People's answers, ten in VQAv2.
    pub answers: &'a [String],
    /// `yes/no`, `number` or `other`, where known.
    pub answer_type: Option<&'a str>,
    /// How the question begins, such as `what color is the`, where known.
    pub question_type: Option<&'a str>,
}

/// Accuracies in percent (0–100). The official evaluation rounds them to two decimals; these are not rounded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VqaScores {
    /// Over all questions.
    pub overall: f64,
    /// Over the questions of each answer type.
    pub per_answer_type: BTreeMap<String, f64>,
    /// Over the questions of each question type.
    pub per_question_type: BTreeMap<String, f64>,
    /// For each question, in the order given.
    pub per_question: Vec<f64>,
}

impl VqaScores {
    /// Scores answered questions.
    ///
    /// ```
    /// # use seed_eval::{VqaItem, VqaScores};
    /// let answers: Vec<String> = ["two", "2", "2", "2", "3", "3", "3", "3", "3", "3"].map(str::to_owned).into();
    /// let item = VqaItem { prediction: "Two.", answers: &answers, answer_type: None, question_type: None };
    /// assert!((VqaScores::of(&[item])?.overall - 90.0).abs() < 1e-9);
    /// # Ok::<(), seed_eval::EvalError>(())
    /// ```
    ///
    /// # Errors
    /// [`EvalError::Empty`], or [`EvalError::NoAnswers`] naming the question.
    pub fn of(items: &[VqaItem<'_>]) -> Result<Self, EvalError> {
        if items.is_empty() {
            return Err(EvalError::Empty("questions"));
        }
        if let Some(question) = items.iter().position(|item| item.answers.is_empty()) {
            return Err(EvalError::NoAnswers { question });
        }
        let per_question: Vec<f64> = items.iter().map(accuracy).collect();
        let by = |kind: fn(&VqaItem<'_>) -> Option<String>| {
            let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
            for (item, accuracy) in items.iter().zip(&per_question) {
                if let Some(kind) = kind(item) {
                    let (sum, count) = sums.entry(kind).or_default();
                    *sum += accuracy;
                    *count += 1;
                }
            }
            let means = sums
                .into_iter()
                .map(|(kind, (sum, count))| (kind, sum / count as f64));
            means.collect()
        };
        Ok(Self {
            overall: per_question.iter().sum::<f64>() / items.len() as f64,
            per_answer_type: by(|item| item.answer_type.map(str::to_owned)),
            per_question_type: by(|item| item.question_type.map(str::to_owned)),
            per_question,
        })
    }
}

/// In percent.
fn accuracy(item: &VqaItem<'_>) -> f64 {
    let prediction = vqa_normalize(item.prediction);
    let equal: Vec<bool> = vqa_cleaned_answers(item.answers)
        .iter()
        .map(|answer| *answer == prediction)
        .collect();
    let all = equal.iter().filter(|equal| **equal).count();
    let sum: f64 = equal
        .iter()
        .map(|own| f64::min(1.0, (all - usize::from(*own)) as f64 / 3.0))
        .sum();
    100.0 * sum / equal.len() as f64
}

/// A prediction as it is compared: in lower case, without punctuation and articles, numerals to ten as
/// digits, and with the apostrophes of contractions.
pub fn vqa_normalize(prediction: &str) -> String {
    let spaced = prediction.replace(['\n', '\t'], " ");
    digits_and_articles(&vqa_punctuation(white_space::strip(&spaced)))
}

/// People's answers as a prediction is compared with them.
pub fn vqa_cleaned_answers(answers: &[String]) -> Vec<Cow<'_, str>> {
    let differ = answers.iter().any(|answer| *answer != answers[0]);
    answers
        .iter()
        .map(|answer| {
            if differ {
                Cow::Owned(vqa_punctuation(answer))
            } else {
                Cow::Borrowed(answer.as_str())
            }
        })
        .collect()
}

const PUNCTUATION: &[char] = &[
    ';', '/', '[', ']', '"', '{', '}', '(', ')', '=', '+', '\\', '_', '-', '>', '<', '@', '`', ',',
    '?', '!',
];

/// The official code passes a flag of this value where the number of replacements goes.
const MOST_PERIODS: usize = 32;

/// A text without punctuation, the first step of the normalisation.
pub fn vqa_punctuation(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let between_digits = |window: &[char]| {
        window[1] == ',' && window[0].is_ascii_digit() && window[2].is_ascii_digit()
    };
    let thousands = characters.windows(3).any(between_digits);
    let deleted: Vec<char> = PUNCTUATION
        .iter()
        .copied()
        .filter(|mark| {
            let beside_space = |pair: &[char]| pair == [*mark, ' '] || pair == [' ', *mark];
            thousands || characters.windows(2).any(beside_space)
        })
        .collect();
    let marked: Vec<char> = characters
        .into_iter()
        .filter(|character| !deleted.contains(character))
        .map(|character| {
            if PUNCTUATION.contains(&character) {
                ' '
            } else {
                character
            }
        })
        .collect();
    let mut periods = 0;
    let mut clean = String::with_capacity(text.len());
    for (place, character) in marked.iter().enumerate() {
        let before_digit = marked.get(place + 1).is_some_and(char::is_ascii_digit);
        if *character == '.' && !before_digit && periods < MOST_PERIODS {
            periods += 1;
        } else {
            clean.push(*character);
        }
    }
    clean
}

/// The second step, after [`vqa_punctuation`]: lower case, numerals, articles, contractions.
pub(crate) fn digits_and_articles(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = white_space::split(&lower).map(|word| {
        let numeral = NUMERALS.iter().find(|(name, _)| *name == word);
        numeral.map_or(word, |(_, digits)| *digits)
    });
    let words = words
        .filter(|word| !["a", "an", "the"].contains(word))
        .map(|word| CONTRACTIONS.get(word).copied().unwrap_or(word));
    words.collect::<Vec<_>>().join(" ")
}

const NUMERALS: &[(&str, &str)] = &[
    ("none", "0"),
    ("zero", "0"),
    ("one", "1"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
];

/// Contractions whose apostrophe a prediction may lack: a word that lacks one of them gets it back.
const CONTRACTED: &str = "\
    'ow's'at 'twas ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't \
    hadn't've hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am \
    might've mightn't mightn't've must've mustn't needn't not've o'clock oughtn't shan't she'd've \
    should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've \
    someone'll someone's something'd something'd've something'll that's there'd there'd've there're \
    there's they'd they'd've they'll they're they've wasn't we'd've we've weren't what'll what're what's \
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't \
    would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've";

/// Each spelling without one apostrophe, and the right one.
static CONTRACTIONS: LazyLock<HashMap<String, &str>> = LazyLock::new(|| {
    let without_one = |right: &'static str| {
        let apostrophes = right.match_indices('\'');
        apostrophes
            .map(move |(place, _)| (format!("{}{}", &right[..place], &right[place + 1..]), right))
    };
    let mut contractions: HashMap<_, _> = CONTRACTED
        .split_whitespace()
        .flat_map(without_one)
        .collect();
    // The official table has this one the wrong way round.
    contractions.insert("somebody'd".to_owned(), "somebodyd");
    contractions
});
