//! The report of a language model: one struct that holds everything shown.

use serde::{Deserialize, Serialize};

use super::{
    examples::{AnsweredPicture, CaptionedPicture, DrawnCaption},
    results::{CaptionResult, CodePerplexity, DrawingResult, NounResult, QuestionResult},
};
use crate::{
    report::{Headline, Stage},
    share::Share,
};

/// All of it. Parts that a saved report lacks are empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LanguageReport {
    /// Heading of the page.
    pub title: String,
    /// A sentence or two below it: what was trained on what.
    pub summary: Option<String>,
    /// Device, seed, time.
    pub facts: Vec<(String, String)>,
    /// The command that made the run.
    pub command: Option<String>,
    /// The full configuration, as text.
    pub config: Option<String>,
    /// The few figures that matter, with what was asked of them.
    pub headlines: Vec<Headline>,
    /// What the reader must know before trusting the figures; see also [`LanguageReport::all_warnings`].
    pub warnings: Vec<String>,
    /// Training curves, a group a stage.
    pub stages: Vec<Stage>,
    /// A line a set.
    pub captions: Vec<CaptionResult>,
    /// A line a set.
    pub questions: Vec<QuestionResult>,
    /// A line a kind of prompt and set.
    pub drawings: Vec<DrawingResult>,
    /// A line a way of decoding.
    pub nouns: Vec<NounResult>,
    /// A line a set.
    pub code_perplexity: Vec<CodePerplexity>,
    /// Some held-out pictures with what the model says of them.
    pub captioned: Vec<CaptionedPicture>,
    /// Some questions with what the model answers.
    pub answered: Vec<AnsweredPicture>,
    /// Some captions with what the model draws.
    pub drawn: Vec<DrawnCaption>,
}

impl LanguageReport {
    /// The warnings given, and those the figures themselves call for: a target that is not reached or not compared,
    /// captions that do no better than the most frequent one, answers no better than the most frequent one or those
    /// about another picture, drawings that are found no more often than by chance.
    pub fn all_warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        warnings.extend(self.headlines.iter().filter_map(Headline::warning));
        for result in &self.captions {
            let (exact, frequent) = (result.exact, result.most_frequent_caption);
            if no_better(exact, frequent) {
                warnings.push(format!(
                    "On {} the captions, {exact} exact, do no better than the most frequent one: {frequent}.",
                    result.set
                ));
            }
        }
        for result in &self.questions {
            for (other, what) in [
                (result.other_picture, "those about another picture"),
                (result.most_frequent_answer, "the most frequent answer"),
            ] {
                let right = result.accuracy;
                if no_better(right, other) {
                    warnings.push(format!(
                        "On {} the answers, {right} right, do no better than {what}: {other}.",
                        result.set
                    ));
                }
            }
        }
        for result in &self.drawings {
            let DrawingResult { kind, set, r1, .. } = result;
            if r1.percent() <= result.chance_r1 {
                warnings.push(format!(
                    "On {kind}, {set}, the drawings find their prompt no more often than by chance: R@1 {r1}, chance \
                     {:.2} %.",
                    result.chance_r1
                ));
            }
        }
        warnings
    }

    /// The same with the captions of a run without codes beside its own, set by set.
    #[must_use]
    pub fn beside(mut self, continuous: &Self) -> Self {
        for result in &mut self.captions {
            let mut others = continuous.captions.iter();
            let other = others.find(|other| other.set == result.set);
            result.continuous = other.map(|other| other.exact);
        }
        self
    }
}

/// Whether a share is not above another; never, if one of them was not measured.
fn no_better(share: Share, other: Share) -> bool {
    share.percent() <= other.percent()
}
