//! The page and the tables at the end of a language model's training.

use seed_data::{Corpus, DataError, OtherWords, PairSet, wordnet_nouns};
use seed_eval::{
    Score, SetName,
    language::{
        AnsweredPicture, CaptionedPicture, DrawingResult, DrawnCaption, LanguageReport, PromptKind,
    },
    nearest,
    report::{CaptionMatch, Headline, Png},
    vqa_normalize,
};

use super::{
    drawings::{DrawnImage, PromptSet},
    evaluation::{JudgedLm, LmEvaluation},
};
use crate::{error::RecipeError, splits::EvaluationSet};

/// Pictures with their captions and with questions on the page.
const SHOWN: usize = 12;
/// Drawings of each set of prompts on the page.
const SHOWN_DRAWINGS: usize = 6;
/// Captions near to a drawing on the page.
const SHOWN_MATCHES: usize = 3;
/// Pictures near to a drawing on the page.
const NEIGHBOURS: usize = 3;

/// Prompts that no training asked with, of data that has some.
#[derive(Debug, Clone, Default)]
pub struct UntrainedPrompts {
    /// Seen concepts in other words.
    pub other_words: Vec<OtherWords>,
    /// Nouns that are no concept.
    pub nouns: Vec<String>,
}

impl UntrainedPrompts {
    /// Those of the corpus that ships.
    ///
    /// # Errors
    ///
    /// [`DataError::Corpus`] if an embedded file is damaged.
    pub fn of_corpus(corpus: &Corpus) -> Result<Self, DataError> {
        Ok(Self {
            other_words: corpus.other_words()?,
            nouns: wordnet_nouns(corpus)?,
        })
    }
}

impl LmEvaluation<'_> {
    /// Judges the model on every held-out set but flags, and what it draws by every kind of prompt.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn report(&self, prompts: &UntrainedPrompts) -> Result<LanguageReport, RecipeError> {
        let mut report = LanguageReport {
            title: "SEED language model".to_owned(),
            ..LanguageReport::default()
        };
        let mut shown = None;
        for held_out in &self.splits.evaluations {
            if held_out.name.concepts == "flags" {
                continue;
            }
            let judged = self.judge(held_out)?;
            report.captions.push(judged.captions.clone());
            report.questions.extend(judged.questions.clone());
            report.code_perplexity.extend(judged.codes.clone());
            if held_out.name.is_test_seen() || shown.is_none() {
                shown = Some((held_out, judged));
            }
        }
        let Some((held_out, judged)) = shown else {
            return Ok(report);
        };
        galleries(&mut report, held_out, &judged)?;
        let reads_text = self.images.text_tokenizer()?;
        if let Some(text_tokenizer) = reads_text.filter(|_| self.draws) {
            for set in PromptSet::of(self.splits, &prompts.other_words, self.most) {
                let (result, drawn) = self.drawings(&set, &text_tokenizer)?;
                report.drawings.push(result);
                self.show(&mut report, held_out, &drawn)?;
            }
            if !prompts.nouns.is_empty() {
                report.nouns = self.nouns(&prompts.nouns)?;
            }
        }
        report.headlines = headlines(&report, &judged);
        Ok(report)
    }

    /// Some of what was drawn, with the pictures of a set whose own codes are nearest.
    fn show(
        &self,
        report: &mut LanguageReport,
        held_out: &EvaluationSet,
        drawn: &[DrawnImage],
    ) -> Result<(), RecipeError> {
        let set = held_out.set.as_ref();
        let shown: Vec<&DrawnImage> = some(drawn, SHOWN_DRAWINGS).collect();
        let images: Vec<Vec<i64>> = shown
            .iter()
            .filter(|image| image.well_formed)
            .map(|image| image.codes.clone())
            .collect();
        let mut near = if images.is_empty() {
            Vec::new()
        } else {
            let pictures = self.pictures(&held_out.set)?.into_iter();
            let own: Vec<Vec<i64>> = pictures.map(|(codes, _)| codes).collect();
            let features = self.image_features(&images)?;
            nearest(&features, &self.image_features(&own)?, NEIGHBOURS)?
        }
        .into_iter();
        for image in shown {
            let near = if image.well_formed { near.next() } else { None };
            let matches = image.captions.iter().take(SHOWN_MATCHES);
            report.drawn.push(DrawnCaption {
                kind: image.asked.kind,
                caption: image.asked.prompt.clone(),
                well_formed: image.well_formed,
                codes: image.codes.iter().map(|code| *code as u32).collect(),
                matches: matches
                    .map(|(caption, score, hit)| CaptionMatch {
                        caption: caption.clone(),
                        score: *score,
                        hit: *hit,
                    })
                    .collect(),
                neighbours: near
                    .iter()
                    .flatten()
                    .map(|near| png(set, near.row))
                    .collect::<Result<_, _>>()?,
            });
        }
        Ok(())
    }
}

fn headlines(report: &LanguageReport, judged: &JudgedLm) -> Vec<Headline> {
    let captions = &judged.captions;
    let exact = Headline::new("Captions exactly right", captions.exact);
    let mut headlines = vec![exact.of(Score::ExactCaptions, &captions.set)];
    if let Some(questions) = &judged.questions {
        let note = format!(
            "{:.1} % with another picture, {:.1} % by the most frequent answer",
            questions.other_picture.percent(),
            questions.most_frequent_answer.percent()
        );
        let right = Headline::new("Questions answered right", questions.accuracy);
        headlines.push(right.of(Score::RightAnswers, &questions.set).note(note));
    }
    for (kind, score, label) in [
        (
            PromptKind::Recall,
            Score::RecallR1,
            "Recall: drawings find their prompt",
        ),
        (
            PromptKind::OtherWords,
            Score::OtherWordsR1,
            "Other words: drawings find their concept",
        ),
        (
            PromptKind::UnseenConcepts,
            Score::UnseenConceptsR1,
            "Unseen concepts: drawings find their prompt",
        ),
    ] {
        // The test vendor's of a kind; of several sets the largest.
        let of_kind = |result: &&DrawingResult| result.kind == kind;
        let order = |result: &&DrawingResult| (result.set.split == "test", result.prompts);
        let results = report.drawings.iter().filter(of_kind);
        if let Some(result) = results.max_by_key(order) {
            let note = format!(
                "R@1; chance {:.2} %; {:.1} % well formed without the grammar",
                result.chance_r1,
                result.well_formed.percent()
            );
            let found = Headline::new(label, result.r1);
            headlines.push(found.of(score, &result.set).note(note));
        }
    }
    headlines
}

fn galleries(
    report: &mut LanguageReport,
    held_out: &EvaluationSet,
    judged: &JudgedLm,
) -> Result<(), RecipeError> {
    let set = held_out.set.as_ref();
    let SetName {
        source, concepts, ..
    } = &held_out.name;
    let source = format!("{source}, {concepts}");
    for (index, caption) in some(&judged.said, SHOWN) {
        let references = set.references(*index);
        report.captioned.push(CaptionedPicture {
            picture: png(set, *index)?,
            source: source.clone(),
            right: references.contains(caption),
            caption: caption.clone(),
            reference: references.join(" / "),
        });
    }
    for asked in some(&judged.answers, SHOWN) {
        report.answered.push(AnsweredPicture {
            picture: png(set, asked.picture)?,
            source: source.clone(),
            question: asked.question.question.clone(),
            answer: asked.answer.clone(),
            reference: asked.question.answer.clone(),
            right: vqa_normalize(&asked.answer) == vqa_normalize(&asked.question.answer),
        });
    }
    Ok(())
}

/// A few of all, spread evenly.
fn some<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    all.iter().step_by(all.len().div_ceil(most).max(1))
}

fn png(set: &dyn PairSet, index: usize) -> Result<Png, RecipeError> {
    Ok(Png::new(&set.picture(index)?)?)
}
