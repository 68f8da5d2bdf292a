//! The page and the tables at the end of a language model's training.

use seed_data::{PairSet, TextTokenizer};
use seed_eval::{
    SetName,
    language::{AnsweredPicture, CaptionedPicture, DrawnCaption, LanguageReport},
    report::{CaptionMatch, Headline, Png},
    vqa_normalize,
};

use super::{
    super::{EvaluationSet, RecipeError, Splits, curves::curves},
    LmEvaluation,
    evaluation::{DrawnImage, JudgedLm},
    training::short_caption,
};
use crate::RunDir;

/// Pictures with their captions, with questions, and captions with drawings on the page.
const SHOWN: usize = 12;
/// Captions near to a drawing on the page.
const SHOWN_MATCHES: usize = 3;
/// Exact captions hoped for on the test vendor's seen concepts, in percent.
const HOPED_EXACT: f64 = 40.0;
/// Well-formed images hoped for, in percent.
const HOPED_WELL_FORMED: f64 = 99.0;
/// R@1 of drawn codes hoped for, in percent.
const HOPED_R1: f64 = 30.0;

impl LmEvaluation<'_> {
    /// Judges the model on every held-out set but flags.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn report(
        &self,
        splits: &Splits,
        text_tokenizer: Option<&TextTokenizer>,
        run: &RunDir,
    ) -> Result<LanguageReport, RecipeError> {
        let mut report = LanguageReport {
            title: "SEED language model".to_owned(),
            config: toml::to_string_pretty(self.training.config).ok(),
            stages: curves(run)?,
            ..LanguageReport::default()
        };
        let mut shown = None;
        for held_out in &splits.evaluations {
            if held_out.name.concepts == "flags" {
                continue;
            }
            let judged = self.judge(held_out, text_tokenizer)?;
            report.captions.push(judged.captions.clone());
            report.questions.extend(judged.questions.clone());
            report.images.extend(judged.images.clone());
            if held_out.name.is_test_seen() || shown.is_none() {
                shown = Some((held_out, judged));
            }
        }
        if let Some((held_out, judged)) = shown {
            report.headlines = headlines(&judged);
            galleries(&mut report, held_out, &judged)?;
            self.drawings(&mut report, held_out, &judged)?;
        }
        Ok(report)
    }

    fn drawings(
        &self,
        report: &mut LanguageReport,
        held_out: &EvaluationSet,
        judged: &JudgedLm,
    ) -> Result<(), RecipeError> {
        let set = held_out.set.as_ref();
        let shown: Vec<&DrawnImage> = some(&judged.drawn).collect();
        let images: Vec<Vec<i64>> = shown
            .iter()
            .filter_map(|drawn| drawn.codes.clone())
            .collect();
        let mut pictures = self.nearest_pictures(&images, &held_out.set)?.into_iter();
        for drawn in shown {
            let matches = drawn.captions.iter().take(SHOWN_MATCHES);
            let near = drawn.codes.as_ref().and_then(|_| pictures.next());
            report.drawn.push(DrawnCaption {
                caption: short_caption(set, drawn.pair).to_owned(),
                codes: drawn
                    .codes
                    .iter()
                    .flatten()
                    .map(|code| *code as u32)
                    .collect(),
                matches: matches
                    .map(|near| CaptionMatch {
                        caption: short_caption(set, near.row).to_owned(),
                        score: near.score,
                        hit: near.row == drawn.pair,
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

fn headlines(judged: &JudgedLm) -> Vec<Headline> {
    let captions = &judged.captions;
    let percent = |label, value| Headline::new(label, value).unit("%").decimals(1);
    // What is hoped for is said of the corpus' test vendor; own pictures have no such set.
    let hoped = |headline: Headline, value| {
        if captions.set.split == "test" {
            headline.at_least(value)
        } else {
            headline
        }
    };
    let exact = percent("Captions exactly right", captions.exact).note(captions.set.place());
    let mut headlines = vec![hoped(exact, HOPED_EXACT)];
    if let Some(questions) = &judged.questions {
        let blind = format!("{:.1} % without the picture", questions.blind);
        headlines.push(percent("Questions answered right", questions.accuracy).note(blind));
    }
    if let Some(images) = &judged.images {
        let formed = percent("Well-formed images", images.well_formed).note("without the grammar");
        headlines.push(hoped(formed, HOPED_WELL_FORMED));
        let chance = format!("R@1; chance {:.2} %", images.chance_r1);
        let found = percent("Drawn codes find their caption", images.r1).note(chance);
        headlines.push(hoped(found, HOPED_R1));
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
    for (index, caption) in some(&judged.said) {
        let reference = short_caption(set, *index).to_owned();
        report.captioned.push(CaptionedPicture {
            picture: png(set, *index)?,
            source: source.clone(),
            right: *caption == reference,
            caption: caption.clone(),
            reference,
        });
    }
    for asked in some(&judged.answers) {
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
fn some<T>(all: &[T]) -> impl Iterator<Item = &T> {
    all.iter().step_by(all.len().div_ceil(SHOWN).max(1))
}

fn png(set: &dyn PairSet, index: usize) -> Result<Png, RecipeError> {
    Ok(Png::new(&set.picture(index)?)?)
}
