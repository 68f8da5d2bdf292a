//! What a language model of words and codes is judged by: captions, answers, images; as JSON, as one
//! self-contained HTML page, and as tables for the terminal.
//!
//! Every part may be missing: its table, chart or gallery is then absent from the page.
//!
//! ```
//! use seed_eval::{language::LanguageReport, report::{Curve, Headline, Series, Stage}};
//! let report = LanguageReport {
//!     title: "nano language model, seed 0".into(),
//!     headlines: vec![Headline::new("exact captions, seen", 41.6).unit("%").at_least(30.0)],
//!     stages: vec![Stage::new("Adapter training").curve(
//!         Curve::new("Loss").series(Series::new("train", [(0.0, 6.2), (100.0, 3.1)])),
//!     )],
//!     ..LanguageReport::default()
//! };
//! assert!(report.html().contains("nano language model, seed 0"));
//! ```

mod html;
mod terminal;

use std::{fs, path::Path};

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    EvalError, SetName,
    report::{
        CaptionMatch, Headline, Png, Stage, null_as_nan,
        save::{io, json, read_json, write},
    },
};

/// Captions of one held-out set. A figure that was not measured is NaN, here and below.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaptionResult {
    /// Which set.
    #[serde(flatten)]
    pub set: SetName,
    /// Number of pictures.
    pub pictures: usize,
    /// Captions that are the reference to the letter, in percent.
    #[serde(deserialize_with = "null_as_nan")]
    pub exact: f64,
    /// CIDEr-D.
    #[serde(deserialize_with = "null_as_nan")]
    pub cider: f64,
    /// BLEU-4.
    #[serde(deserialize_with = "null_as_nan")]
    pub bleu4: f64,
    /// ROUGE-L.
    #[serde(deserialize_with = "null_as_nan")]
    pub rouge_l: f64,
    /// Perplexity of the reference's tokens.
    #[serde(deserialize_with = "null_as_nan")]
    pub perplexity: f64,
    /// What the most frequent caption of the training pairs gets, in percent.
    #[serde(deserialize_with = "null_as_nan")]
    pub most_frequent: f64,
    /// Exact captions of the same model on causal embeddings that were not quantised, in percent.
    pub continuous: Option<f64>,
}

/// Answers about one held-out set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuestionResult {
    /// Which set.
    #[serde(flatten)]
    pub set: SetName,
    /// Number of questions.
    pub questions: usize,
    /// Right answers after VQA's normalisation, in percent.
    #[serde(deserialize_with = "null_as_nan")]
    pub accuracy: f64,
    /// What the most frequent answer to each question gets, in percent.
    #[serde(deserialize_with = "null_as_nan")]
    pub blind: f64,
}

/// Images to the captions of one held-out set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageResult {
    /// Which set.
    #[serde(flatten)]
    pub set: SetName,
    /// Number of captions, and of candidates that the generated codes choose among.
    pub captions: usize,
    /// Images of exactly the right form, generated without the grammar, in percent.
    #[serde(deserialize_with = "null_as_nan")]
    pub well_formed: f64,
    /// Share of the images whose reconstructed embedding finds its caption first, in percent.
    #[serde(deserialize_with = "null_as_nan")]
    pub r1: f64,
    /// Among the first five.
    #[serde(deserialize_with = "null_as_nan")]
    pub r5: f64,
    /// Among the first ten.
    #[serde(deserialize_with = "null_as_nan")]
    pub r10: f64,
    /// R@1 of chance.
    #[serde(deserialize_with = "null_as_nan")]
    pub chance_r1: f64,
    /// Perplexity of the codes of held-out pictures, marks included.
    #[serde(deserialize_with = "null_as_nan")]
    pub perplexity: f64,
    /// The same for the opening mark, each code and the closing mark.
    #[serde(deserialize_with = "nulls_as_nan")]
    pub perplexity_by_position: Vec<f64>,
}

/// A held-out picture, and what the model says of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaptionedPicture {
    /// The picture.
    pub picture: Png,
    /// Where it comes from, such as `openmoji, seen`.
    pub source: String,
    /// Its own caption.
    pub reference: String,
    /// What the model says.
    pub caption: String,
    /// Whether that is right.
    pub right: bool,
}

/// A held-out picture, a question about it, and what the model answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnsweredPicture {
    /// The picture.
    pub picture: Png,
    /// Where it comes from, such as `openmoji, seen`.
    pub source: String,
    /// What was asked.
    pub question: String,
    /// What the model answers.
    pub answer: String,
    /// The right answer.
    pub reference: String,
    /// Whether the two are the same after VQA's normalisation.
    pub right: bool,
}

/// A caption, and the image that the model generates for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrawnCaption {
    /// The caption.
    pub caption: String,
    /// The codes of the image; empty if what was generated is not an image.
    pub codes: Vec<u32>,
    /// The captions nearest to the codes, best first; the caption itself is a hit.
    pub matches: Vec<CaptionMatch>,
    /// Pictures whose codes are nearest to those drawn, the nearest first.
    pub neighbours: Vec<Png>,
}

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
    /// The few figures that matter, with what was hoped for.
    pub headlines: Vec<Headline>,
    /// What the reader must know before trusting the figures; see also [`LanguageReport::all_warnings`].
    pub warnings: Vec<String>,
    /// Training curves, a group a stage.
    pub stages: Vec<Stage>,
    /// A line a set.
    pub captions: Vec<CaptionResult>,
    /// A line a set.
    pub questions: Vec<QuestionResult>,
    /// A line a set.
    pub images: Vec<ImageResult>,
    /// Some held-out pictures with what the model says of them.
    pub captioned: Vec<CaptionedPicture>,
    /// Some questions with what the model answers.
    pub answered: Vec<AnsweredPicture>,
    /// Some captions with what the model draws.
    pub drawn: Vec<DrawnCaption>,
}

impl LanguageReport {
    /// The warnings given, and those the figures themselves call for: a headline that is not reached, captions or
    /// answers that do no better than the most frequent one, images that are found no more often than by chance.
    pub fn all_warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        warnings.extend(self.headlines.iter().filter_map(Headline::missed));
        for result in &self.captions {
            if result.exact <= result.most_frequent {
                warnings.push(format!(
                    "On {} the captions ({:.1} % exact) do no better than the most frequent one ({:.1} %).",
                    result.set,
                    result.exact,
                    result.most_frequent
                ));
            }
        }
        for result in &self.questions {
            if result.accuracy <= result.blind {
                warnings.push(format!(
                    "On {} the answers ({:.1} % right) do no better than without the picture ({:.1} %).",
                    result.set,
                    result.accuracy,
                    result.blind
                ));
            }
        }
        for result in &self.images {
            if result.r1 <= result.chance_r1 {
                warnings.push(format!(
                    "On {} the images find their caption (R@1 {:.1} %) no more often than by chance ({:.1} %).",
                    result.set,
                    result.r1,
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

    /// The page, self-contained: styles, charts and pictures are inside, nothing is loaded, no script runs.
    pub fn html(&self) -> String {
        html::page(self).into_string()
    }

    /// The tables for the terminal.
    pub fn terminal_table(&self) -> String {
        terminal::table(self)
    }

    /// Writes `language.json` and `report.html` into `folder`, which is made if need be; each is written whole or
    /// not at all.
    ///
    /// # Errors
    ///
    /// [`EvalError::Io`] naming the file; what was there before is then untouched.
    pub fn save(&self, folder: &Path) -> Result<(), EvalError> {
        fs::create_dir_all(folder).map_err(io(folder))?;
        let path = folder.join("language.json");
        write(
            &path,
            &serde_json::to_vec_pretty(self).map_err(json(&path))?,
        )?;
        self.save_html(&folder.join("report.html"))
    }

    /// Writes the page.
    ///
    /// # Errors
    ///
    /// [`EvalError::Io`].
    pub fn save_html(&self, path: &Path) -> Result<(), EvalError> {
        write(path, self.html().as_bytes())
    }

    /// Reads the `language.json` that [`LanguageReport::save`] wrote, or one that has tables alone.
    ///
    /// # Errors
    ///
    /// [`EvalError::Io`], [`EvalError::Json`].
    pub fn load(path: &Path) -> Result<Self, EvalError> {
        read_json(path)
    }
}

fn nulls_as_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<Option<f64>>::deserialize(deserializer)?;
    let or_nan = |value: Option<f64>| value.unwrap_or(f64::NAN);
    Ok(values.into_iter().map(or_nan).collect())
}
