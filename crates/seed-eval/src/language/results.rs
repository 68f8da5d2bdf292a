//! What a language model scores on held-out sets: captions, answers, drawings, the codes themselves.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    nan::{null_as_nan, nulls_as_nan},
    score::Score,
    set_name::SetName,
    share::Share,
};

/// Captions of one held-out set. A number that was not measured is NaN and a share a share of none, here and below.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaptionResult {
    /// Which set.
    #[serde(flatten)]
    pub set: SetName,
    /// Number of pictures.
    pub pictures: usize,
    /// Captions that are a reference of their picture to the letter; a picture may have several.
    pub exact: Share,
    /// CIDEr-D.
    #[serde(deserialize_with = "null_as_nan")]
    pub cider: f64,
    /// BLEU-4.
    #[serde(deserialize_with = "null_as_nan")]
    pub bleu4: f64,
    /// ROUGE-L.
    #[serde(deserialize_with = "null_as_nan")]
    pub rouge_l: f64,
    /// Perplexity of the references' tokens.
    #[serde(deserialize_with = "null_as_nan")]
    pub perplexity: f64,
    /// What would be exact if every picture got the caption that most training pairs bear.
    pub most_frequent_caption: Share,
    /// Exact captions of the same model on embeddings that were not quantised.
    pub continuous: Option<Share>,
}

/// Answers about one held-out set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuestionResult {
    /// Which set.
    #[serde(flatten)]
    pub set: SetName,
    /// Number of questions.
    pub questions: usize,
    /// Right answers after VQA's normalisation.
    pub accuracy: Share,
    /// Without the picture: right answers of the same model when the image tokens are those of another picture.
    pub other_picture: Share,
    /// What would be right if every question got its most frequent answer, counted over training items only.
    pub most_frequent_answer: Share,
}

/// What training knew of a prompt that an image is asked for with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PromptKind {
    /// Captions that were trained on.
    #[serde(rename = "recall")]
    Recall,
    /// Seen concepts in words that were never a training prompt for them.
    #[serde(rename = "other words")]
    OtherWords,
    /// Concepts that training never saw.
    #[serde(rename = "unseen concepts")]
    UnseenConcepts,
}

/// Images drawn for the prompts of one kind and one set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrawingResult {
    /// What training knew of the prompts.
    pub kind: PromptKind,
    /// Which set they are of.
    #[serde(flatten)]
    pub set: SetName,
    /// Number of prompts.
    pub prompts: usize,
    /// Number of candidates that the generated codes choose among.
    pub candidates: usize,
    /// Prompts answered with exactly the right form, generated without the grammar.
    pub well_formed: Share,
    /// Images whose reconstructed embedding finds its prompt first; one that is not well formed is a miss.
    pub r1: Share,
    /// Among the first five.
    pub r5: Share,
    /// Among the first ten.
    pub r10: Share,
    /// R@1 of a random order, in percent.
    #[serde(deserialize_with = "null_as_nan")]
    pub chance_r1: f64,
    /// What was not well formed: number of codes → how often.
    #[serde(default)]
    pub malformed_lengths: BTreeMap<usize, usize>,
}

/// Images drawn for nouns that are no caption of the corpus: whether they are well formed, and no more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NounResult {
    /// How codes were chosen, such as `greedy` or `sampled, temperature 1, top-p 0.5`.
    pub decoding: String,
    /// Nouns answered with exactly the right form, generated without the grammar.
    pub well_formed: Share,
    /// What was not well formed: number of codes → how often.
    #[serde(default)]
    pub malformed_lengths: BTreeMap<usize, usize>,
}

/// How well the codes of one held-out set's pictures are foreseen from their captions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CodePerplexity {
    /// Which set.
    #[serde(flatten)]
    pub set: SetName,
    /// Number of pictures.
    pub pictures: usize,
    /// Perplexity of the codes alone, without the marks around them.
    #[serde(deserialize_with = "null_as_nan")]
    pub codes: f64,
    /// Perplexity of the opening and the closing mark.
    #[serde(deserialize_with = "null_as_nan")]
    pub marks: f64,
    /// That of the first code, the second, …
    #[serde(deserialize_with = "nulls_as_nan")]
    pub by_position: Vec<f64>,
}

impl PromptKind {
    /// All kinds, the best known to training first.
    pub const ALL: [Self; 3] = [Self::Recall, Self::OtherWords, Self::UnseenConcepts];

    /// What its prompts are.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Recall => "captions that were trained on",
            Self::OtherWords => "seen concepts in words never trained on",
            Self::UnseenConcepts => "concepts that training never saw",
        }
    }

    /// The names of its scores: well formed, R@1, R@5, R@10.
    pub(super) fn scores(self) -> [Score; 4] {
        match self {
            Self::Recall => [
                Score::RecallWellFormed,
                Score::RecallR1,
                Score::RecallR5,
                Score::RecallR10,
            ],
            Self::OtherWords => [
                Score::OtherWordsWellFormed,
                Score::OtherWordsR1,
                Score::OtherWordsR5,
                Score::OtherWordsR10,
            ],
            Self::UnseenConcepts => [
                Score::UnseenConceptsWellFormed,
                Score::UnseenConceptsR1,
                Score::UnseenConceptsR5,
                Score::UnseenConceptsR10,
            ],
        }
    }
}

/// `recall`, `other words`, `unseen concepts`: as in JSON.
impl fmt::Display for PromptKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The most frequent lengths of what was not well formed, `31×4 33×2`, and how many drawings had others.
pub(super) fn lengths(malformed: &BTreeMap<usize, usize>, most: usize) -> String {
    let mut all: Vec<_> = malformed.iter().filter(|(_, times)| **times > 0).collect();
    all.sort_by_key(|(codes, times)| (std::cmp::Reverse(**times), **codes));
    let rest = all.split_off(most.min(all.len()));
    let mut parts: Vec<String> = all
        .iter()
        .map(|(codes, times)| format!("{codes}×{times}"))
        .collect();
    if !rest.is_empty() {
        let others: usize = rest.iter().map(|(_, times)| **times).sum();
        parts.push(format!("others×{others}"));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_frequent_lengths_first() {
        let malformed = BTreeMap::from([(0, 1), (30, 2), (31, 40), (33, 2), (64, 0)]);
        assert_eq!(lengths(&malformed, 9), "31×40 30×2 33×2 0×1");
        assert_eq!(lengths(&malformed, 2), "31×40 30×2 others×3");
        assert_eq!(lengths(&BTreeMap::new(), 2), "");
    }

    #[test]
    fn kinds_have_one_name() {
        for (kind, name) in
            PromptKind::ALL
                .into_iter()
                .zip(["recall", "other words", "unseen concepts"])
        {
            assert_eq!(kind.to_string(), name);
            assert_eq!(serde_json::to_value(kind).unwrap(), name);
            for score in kind.scores() {
                let score = score.to_string().replace('_', " ");
                assert!(score.starts_with(name), "{score}");
            }
        }
    }
}
