//! The report of a run: one struct that holds everything shown.

use serde::{Deserialize, Serialize};

use super::{
    candidates::RetrievalResult,
    curves::Stage,
    galleries::{CodeGallery, NearestCaptions},
    headline::Headline,
};
use crate::codebook::CodebookHealth;

/// Everything that is shown of a run. Parts that a saved report lacks are empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Heading of the page.
    pub title: String,
    /// A sentence or two below it: what was trained on what.
    pub summary: Option<String>,
    /// Commit, device, seed, time, parameters and so on, in the order shown.
    pub facts: Vec<Fact>,
    /// The command that made the run.
    pub command: Option<String>,
    /// The full configuration, as text.
    pub config: Option<String>,
    /// The few figures that matter, with what was asked of them.
    pub headlines: Vec<Headline>,
    /// What the reader must know before trusting the figures; see also [`Report::all_warnings`].
    pub warnings: Vec<String>,
    /// Training curves, a group a stage.
    pub stages: Vec<Stage>,
    /// Whether the embeddings are causal: each may look only at those before it. The tables then say so.
    pub causal: bool,
    /// Retrieval, one entry a set of candidates.
    pub retrieval: Vec<RetrievalResult>,
    /// How the codebook is used.
    pub codebook: Option<CodebookHealth>,
    /// Held-out pictures with the captions nearest to them.
    pub nearest: Vec<NearestCaptions>,
    /// Some codes with pictures that share them.
    pub codes: Vec<CodeGallery>,
}

/// One line about the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What it is.
    pub label: String,
    /// Its value.
    pub value: String,
}

impl Report {
    /// An empty report.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            ..Self::default()
        }
    }

    /// Sets the sentence below the title.
    pub fn summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = Some(summary.into());
        self
    }

    /// Adds a line about the run.
    pub fn fact(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.facts.push(Fact {
            label: label.into(),
            value: value.into(),
        });
        self
    }

    /// Sets the command that made the run.
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    /// Sets the configuration, as text.
    pub fn config(mut self, config: impl Into<String>) -> Self {
        self.config = Some(config.into());
        self
    }

    /// Adds a figure that matters.
    pub fn headline(mut self, headline: Headline) -> Self {
        self.headlines.push(headline);
        self
    }

    /// Adds something the reader must know.
    pub fn warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// Adds the curves of a stage.
    pub fn stage(mut self, stage: Stage) -> Self {
        self.stages.push(stage);
        self
    }

    /// Says whether the embeddings are causal.
    pub fn causal(mut self, causal: bool) -> Self {
        self.causal = causal;
        self
    }

    /// Adds the retrieval on one set of candidates.
    pub fn retrieval(mut self, result: RetrievalResult) -> Self {
        self.retrieval.push(result);
        self
    }

    /// Sets the health of the codebook.
    pub fn codebook(mut self, health: CodebookHealth) -> Self {
        self.codebook = Some(health);
        self
    }

    /// Adds a picture with its nearest captions.
    pub fn nearest(mut self, nearest: NearestCaptions) -> Self {
        self.nearest.push(nearest);
        self
    }

    /// Adds a code with its pictures.
    pub fn code(mut self, gallery: CodeGallery) -> Self {
        self.codes.push(gallery);
        self
    }

    /// The warnings given, and those the figures themselves call for: a target that is not reached or not compared,
    /// embeddings that do no better than pixels, a codebook of which less than half is used.
    pub fn all_warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        warnings.extend(self.headlines.iter().filter_map(Headline::warning));
        for result in &self.retrieval {
            let (name, r_mean) = (&result.set, result.embeddings.r_mean);
            match result.pixels {
                Some(pixels) if r_mean <= pixels.r_mean => warnings.push(format!(
                    "On {name} the embeddings (R@mean {r_mean:.1} %) do no better than 16×16 pixels ({:.1} %).",
                    pixels.r_mean
                )),
                _ => {}
            }
        }
        if let Some(health) = self.codebook.as_ref().filter(|health| health.usage < 0.5) {
            warnings.push(format!(
                "The codebook is partly dead: {} of {} codes are in use ({:.1} %), perplexity {:.0}.",
                health.used,
                health.size,
                100.0 * health.usage,
                health.perplexity
            ));
        }
        warnings
    }
}
