//! The scores that a report holds, by their names.

use super::{
    candidates::RetrievalResult,
    contents::Report,
    judge::{self, Measured},
};
use crate::{
    figure::Figure, retrieval::RetrievalScores, score::Score, share::Share, target::Target,
};

impl Report {
    /// Judges targets, once all is measured: each is shown on the headline of its score and set, which is made where
    /// there is none. A target of something that this report lacks becomes a warning.
    pub fn judge(mut self, targets: &[Target]) -> Self {
        let measured = self.measured();
        judge::judge(targets, &measured, &mut self.headlines, &mut self.warnings);
        self
    }

    /// A score on a set, which is named as in a [`Target`]: empty for a score of no set. `None` if it was not measured.
    pub fn figure(&self, score: Score, set: &str) -> Option<Figure> {
        judge::find(&self.measured(), score, set)
    }

    fn measured(&self) -> Vec<Measured> {
        let mut all: Vec<Measured> = self.retrieval.iter().flat_map(retrieval).collect();
        if let Some(health) = &self.codebook {
            let used = Share::new(health.used, health.size);
            all.push(Measured::new(Score::CodebookInUse, "", used));
            let perplexity = health.perplexity;
            all.push(Measured::new(Score::CodebookPerplexity, "", perplexity));
        }
        all
    }
}

fn retrieval(result: &RetrievalResult) -> Vec<Measured> {
    let number = |score, value: f64| Measured::new(score, &result.set, value);
    let by_embeddings = [
        Score::ImageToTextR1,
        Score::ImageToTextR5,
        Score::ImageToTextR10,
        Score::TextToImageR1,
        Score::TextToImageR5,
        Score::TextToImageR10,
    ];
    let by_codes = [
        Score::CodesImageToTextR1,
        Score::CodesImageToTextR5,
        Score::CodesImageToTextR10,
        Score::CodesTextToImageR1,
        Score::CodesTextToImageR5,
        Score::CodesTextToImageR10,
    ];
    let mut all = recalls(result, by_embeddings, &result.embeddings);
    all.push(number(Score::RMean, result.embeddings.r_mean));
    if let Some(codes) = &result.codes {
        all.extend(recalls(result, by_codes, codes));
        all.push(number(Score::CodesRMean, codes.r_mean));
    }
    let lost = result.loss_of_codes();
    all.extend(lost.map(|lost| number(Score::LostByCodes, lost)));
    all
}

/// The six recalls, as the counts that they are.
fn recalls(result: &RetrievalResult, names: [Score; 6], scores: &RetrievalScores) -> Vec<Measured> {
    let RetrievalScores {
        image_to_text: images,
        text_to_image: texts,
        ..
    } = scores;
    let percent = [
        images.r1, images.r5, images.r10, texts.r1, texts.r5, texts.r10,
    ];
    let queries = [result.images; 3].into_iter().chain([result.texts; 3]);
    let counted = names.into_iter().zip(percent).zip(queries);
    counted
        .map(|((name, percent), queries)| {
            let share = RetrievalResult::counted(percent, queries);
            Measured::new(name, &result.set, share)
        })
        .collect()
}
