//! The scores that a language model's report holds, by their names.

use super::contents::LanguageReport;
use crate::{
    figure::Figure,
    report::judge::{self, Measured},
    score::Score,
    target::Target,
};

impl LanguageReport {
    /// Judges targets, once all is measured: each is shown on the headline of its score and set, which is made where
    /// there is none. A target of something that this report lacks becomes a warning.
    #[must_use]
    pub fn judge(mut self, targets: &[Target]) -> Self {
        let measured = self.measured();
        judge::judge(targets, &measured, &mut self.headlines, &mut self.warnings);
        self
    }

    /// A score on a set, which is named as in a [`Target`]. `None` if it was not measured.
    pub fn figure(&self, score: Score, set: &str) -> Option<Figure> {
        judge::find(&self.measured(), score, set)
    }

    fn measured(&self) -> Vec<Measured> {
        let mut all = Vec::new();
        for result in &self.captions {
            let number = |score, value: f64| Measured::new(score, &result.set, value);
            all.extend([
                Measured::new(Score::ExactCaptions, &result.set, result.exact),
                number(Score::Cider, result.cider),
                number(Score::Bleu4, result.bleu4),
                number(Score::RougeL, result.rouge_l),
                number(Score::CaptionPerplexity, result.perplexity),
            ]);
        }
        for result in &self.questions {
            let right = result.accuracy;
            all.push(Measured::new(Score::RightAnswers, &result.set, right));
        }
        for result in &self.drawings {
            let shares = [result.well_formed, result.r1, result.r5, result.r10];
            let named = result.kind.scores().into_iter().zip(shares);
            all.extend(named.map(|(score, share)| Measured::new(score, &result.set, share)));
        }
        for result in &self.nouns {
            let (decoding, formed) = (&result.decoding, result.well_formed);
            all.push(Measured::new(Score::NounsWellFormed, decoding, formed));
        }
        for result in &self.code_perplexity {
            let codes = result.codes;
            all.push(Measured::new(Score::CodePerplexity, &result.set, codes));
        }
        all
    }
}
