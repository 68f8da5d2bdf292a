//! The page and the table at the end of a tokenizer's training.

use seed_eval::{
    Figure, Report, Score,
    report::{CaptionMatch, CodeExample, CodeGallery, Headline, NearestCaptions, Png},
    shared_codes,
};

use seed_tokenizer::{QueryAttention, TokenEncoderConfig};
use seed_train::RunDir;

use super::{
    evaluation::Judged,
    training::{TokenizerTraining, TrainedTokenizer},
};
use crate::{curves::curves, error::RecipeError, splits::EvaluationSet};

/// Pictures with their nearest captions on the page.
const SHOWN_PICTURES: usize = 12;
/// Codes with the pictures that share them on the page.
const SHOWN_CODES: usize = 8;
/// Pictures shown for each of these codes.
const SHOWN_PER_CODE: usize = 8;

impl TokenizerTraining<'_> {
    /// Judges a trained tokenizer on every held-out set and writes `report.html` and `report.json`
    /// into the run's folder.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn report(
        &self,
        trained: &TrainedTokenizer,
        run: &RunDir,
        facts: &[(&str, String)],
    ) -> Result<Report, RecipeError> {
        let pixels = self.pixel_control(trained)?;
        let mut report = Report::new("SEED tokenizer");
        for (label, value) in facts {
            report = report.fact(*label, value.clone());
        }
        if let Ok(config) = toml::to_string_pretty(self.config) {
            report = report.config(config);
        }
        for stage in curves(run)? {
            report = report.stage(stage);
        }
        let mut shown = None;
        for held_out in &self.splits.evaluations {
            let judged = self.judge(trained, held_out, &pixels)?;
            report = report.retrieval(judged.result.clone());
            if held_out.name.is_test_seen() || shown.is_none() {
                shown = Some((held_out, judged));
            }
        }
        if let Some((held_out, judged)) = shown {
            report = self.galleries(report, held_out, &judged)?;
            let health = self.codebook_health(&judged.codes)?;
            report = headlines(report, &judged).codebook(health);
        }
        let report = report
            .causal(is_causal(&self.config.model.tokens))
            .judge(&self.config.targets);
        report.save(run.path())?;
        Ok(report)
    }

    fn galleries(
        &self,
        mut report: Report,
        held_out: &EvaluationSet,
        judged: &Judged,
    ) -> Result<Report, RecipeError> {
        let set = held_out.set.as_ref();
        let stride = (set.len() / SHOWN_PICTURES).max(1);
        for index in (0..set.len()).step_by(stride).take(SHOWN_PICTURES) {
            let matches = judged.nearest[index].iter().map(|found| {
                let candidate = judged.candidates.captions[found.row];
                CaptionMatch {
                    caption: set.candidates(candidate.pair)[candidate.caption].clone(),
                    score: found.score,
                    hit: judged.candidates.named[found.row] == set.concept(index),
                }
            });
            report = report.nearest(NearestCaptions {
                picture: Png::new(&set.picture(index)?)?,
                caption: set.captions(index)[0].clone(),
                source: held_out.name.source.clone(),
                matches: matches.collect(),
            });
        }
        let config = &self.config.model.codes;
        let most = (set.len() / 4).max(4);
        let shared = shared_codes(
            &judged.codes,
            config.positions,
            config.quantizer.codes,
            4..=most,
            SHOWN_CODES,
        )?;
        for code in shared {
            let examples = code.uses.iter().take(SHOWN_PER_CODE).map(|found| {
                Ok(CodeExample {
                    picture: Png::new(&set.picture(found.picture)?)?,
                    caption: set.captions(found.picture)[0].clone(),
                    position: found.position,
                })
            });
            report = report.code(CodeGallery {
                code: code.code,
                pictures: code.uses.len(),
                examples: examples.collect::<Result<_, RecipeError>>()?,
            });
        }
        Ok(report)
    }
}

/// Whether the embeddings are causal ones.
fn is_causal(tokens: &TokenEncoderConfig) -> bool {
    matches!(tokens, TokenEncoderConfig::QFormer(config) if config.attention == QueryAttention::Causal)
}

fn headlines(report: Report, judged: &Judged) -> Report {
    let result = &judged.result;
    let r1 = report.figure(Score::ImageToTextR1, &result.set.to_string());
    let r1 = r1.unwrap_or(Figure::Number(f64::NAN));
    let mut report = report
        .headline(Headline::new("Image to text R@1", r1).of(Score::ImageToTextR1, &result.set))
        .headline(
            Headline::new("R@mean", result.embeddings.r_mean)
                .unit("%")
                .of(Score::RMean, &result.set),
        );
    if let Some(lost) = result.loss_of_codes() {
        report = report.headline(
            Headline::new("Lost by quantising", lost)
                .unit("points")
                .of(Score::LostByCodes, &result.set)
                .note("R@mean; the paper's codes lose 3.3 on COCO"),
        );
    }
    report
}
