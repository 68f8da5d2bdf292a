//! The page and the table at the end of a tokenizer's training.

use seed_eval::{
    Report,
    report::{CaptionMatch, CodeExample, CodeGallery, Headline, NearestCaptions, Png},
    shared_codes,
};

use super::{
    EvaluationSet, Judged, RecipeError, TokenizerTraining, TrainedTokenizer, curves::curves,
};
use crate::RunDir;

/// Pictures with their nearest captions on the page.
const SHOWN_PICTURES: usize = 12;
/// R@1 hoped for on the test vendor's seen concepts: twice that of frozen ImageNet features.
const HOPED_R1: f64 = 26.0;
/// Codes with the pictures that share them on the page.
const SHOWN_CODES: usize = 8;
/// Pictures shown for each of these codes.
const SHOWN_PER_CODE: usize = 8;

impl TokenizerTraining<'_> {
    /// Judges a trained tokenizer on every held-out set and writes `report.html` and `report.json`
    /// into the run's folder.
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
            report = headlines(report, &judged, health.usage).codebook(health);
        }
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
                let candidate = judged.candidates[found.row];
                CaptionMatch {
                    caption: set.captions(candidate)[0].clone(),
                    score: found.score,
                    hit: set.concept(candidate) == set.concept(index),
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

fn headlines(report: Report, judged: &Judged, usage: f64) -> Report {
    let result = &judged.result;
    let mut r1 = Headline::new("Image to text R@1", result.embeddings.image_to_text.r1)
        .unit("%")
        .decimals(1)
        .note(result.set.place());
    if result.set.split == "test" {
        r1 = r1.at_least(HOPED_R1);
    }
    let mut report = report.headline(r1).headline(
        Headline::new("R@mean", result.embeddings.r_mean)
            .unit("%")
            .decimals(1),
    );
    if let Some(lost) = result.loss_of_codes() {
        let lost = Headline::new("Lost by quantising", lost)
            .unit("points")
            .decimals(1);
        report = report.headline(
            lost.at_most(3.3)
                .note("R@mean; the paper loses 3.3 on COCO"),
        );
    }
    report.headline(
        Headline::new("Codebook in use", 100.0 * usage)
            .unit("%")
            .at_least(50.0),
    )
}
