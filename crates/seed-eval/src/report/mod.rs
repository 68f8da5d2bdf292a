//! The report of a run: one struct that holds everything shown, saved as JSON beside the page made of it.
//!
//! Every part may be missing (a run of stage I alone has no codes); its section is then absent.
//!
//! ```
//! use seed_eval::report::{Curve, Headline, Report, Series, Stage};
//! let report = Report::new("nano, seed 0")
//!     .fact("device", "flex")
//!     .headline(Headline::new("R@1 image→text", 27.3).unit("%").at_least(26.0))
//!     .stage(Stage::new("Stage I").curve(
//!         Curve::new("Loss").series(Series::new("ITC", [(0.0, 5.5), (100.0, 3.1)])),
//!     ));
//! assert!(report.html().contains("nano, seed 0"));
//! ```

pub(crate) mod chart;
mod html;
pub(crate) mod page;
pub(crate) mod save;
mod terminal;

use std::io::Cursor;

use base64::{Engine, prelude::BASE64_STANDARD};
use image::{ImageFormat, RgbImage};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{CodebookHealth, EvalError, RetrievalScores, SetName};

/// Everything that is shown of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// The few figures that matter, with what was hoped for.
    pub headlines: Vec<Headline>,
    /// What the reader must know before trusting the figures; see also [`Report::all_warnings`].
    pub warnings: Vec<String>,
    /// Training curves, a group a stage.
    pub stages: Vec<Stage>,
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

/// One figure that matters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// What it is.
    pub label: String,
    /// The figure. NaN, which JSON cannot write, comes back from `null`.
    #[serde(deserialize_with = "null_as_nan")]
    pub value: f64,
    /// Written after it: `%`, `points`, …
    pub unit: String,
    /// Digits after the point.
    pub decimals: usize,
    /// What it should reach.
    pub target: Option<Target>,
    /// A few words of context.
    pub note: Option<String>,
}

/// What a figure should reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// The curves of one training stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// A few words: steps, time, what is trained.
    pub note: Option<String>,
    /// Its charts.
    pub curves: Vec<Curve>,
}

/// One chart: some series over the training step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Its title.
    pub title: String,
    /// Unit of the values, if any.
    pub unit: String,
    /// Logarithmic values; those of 0 or less are then left out.
    pub log: bool,
    /// Up to six series; colours repeat after that.
    pub series: Vec<Series>,
}

/// One line of a chart. Only finite points are kept, in the order given, the step rising.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    points: Vec<(f64, f64)>,
}

/// Retrieval on one set of candidates. Scores are in percent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RetrievalResult {
    /// Which set.
    #[serde(flatten)]
    pub set: SetName,
    /// Pictures among the candidates.
    pub images: usize,
    /// Texts among the candidates.
    pub texts: usize,
    /// With causal embeddings.
    pub embeddings: RetrievalScores,
    /// With codes, that is, with the embeddings reconstructed from them.
    pub codes: Option<RetrievalScores>,
    /// With 16×16 pixels through a ridge regression.
    pub pixels: Option<RetrievalScores>,
    /// Expected of a random order.
    pub chance: RetrievalScores,
}

/// A picture and the captions nearest to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NearestCaptions {
    /// The picture.
    pub picture: Png,
    /// Its own caption.
    pub caption: String,
    /// Where it comes from, such as `openmoji, unseen`.
    pub source: String,
    /// The nearest captions, best first.
    pub matches: Vec<CaptionMatch>,
}

/// A caption found for a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionMatch {
    /// The caption.
    pub caption: String,
    /// Its cosine with the picture.
    #[serde(deserialize_with = "null_as_nan")]
    pub score: f32,
    /// Whether it is one of the picture's own.
    pub hit: bool,
}

/// A code and pictures that share it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodeGallery {
    /// The code.
    pub code: u32,
    /// Pictures that have it, shown or not.
    pub pictures: usize,
    /// Those shown.
    pub examples: Vec<CodeExample>,
}

/// A picture that has a code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodeExample {
    /// The picture.
    pub picture: Png,
    /// Its caption.
    pub caption: String,
    /// The position of the code in its sequence, from 0.
    pub position: usize,
}

/// A picture embedded as a `data:image/png;base64,` URI, so that a page needs nothing but itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Png(String);

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

    /// The warnings given, and those the figures themselves call for: a headline that is not reached,
    /// embeddings that do no better than pixels, a codebook of which less than half is used.
    pub fn all_warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        warnings.extend(self.headlines.iter().filter_map(Headline::missed));
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

    /// The page, self-contained: styles, charts and pictures are inside, nothing is loaded, no script runs.
    pub fn html(&self) -> String {
        html::page(self).into_string()
    }

    /// Retrieval and codebook as plain text, at most 100 columns wide. Empty if there is neither.
    pub fn terminal_table(&self) -> String {
        terminal::table(self)
    }
}

impl Headline {
    /// A figure with one decimal and no unit.
    pub fn new(label: impl Into<String>, value: f64) -> Self {
        let (unit, target, note) = (String::new(), None, None);
        Self {
            label: label.into(),
            value,
            unit,
            decimals: 1,
            target,
            note,
        }
    }

    /// Sets the unit.
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// Sets the digits after the point.
    pub fn decimals(mut self, decimals: usize) -> Self {
        self.decimals = decimals;
        self
    }

    /// Hopes for this or more.
    pub fn at_least(mut self, value: f64) -> Self {
        self.target = Some(Target::AtLeast(value));
        self
    }

    /// Hopes for this or less.
    pub fn at_most(mut self, value: f64) -> Self {
        self.target = Some(Target::AtMost(value));
        self
    }

    /// Adds a few words of context.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Whether the target is reached; `None` without one. NaN reaches nothing.
    pub fn reached(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtLeast(wanted) => self.value >= wanted,
            Target::AtMost(wanted) => self.value <= wanted,
        })
    }

    /// What to warn of if the target is not reached.
    pub(crate) fn missed(&self) -> Option<String> {
        let (target, reached) = (self.target?, self.reached()?);
        let (label, value) = (
            &self.label,
            with_unit(self.value, self.decimals, &self.unit),
        );
        let wanted = self.target_text(target);
        (!reached).then(|| format!("Not reached: {label} is {value}, hoped for {wanted}."))
    }

    fn target_text(&self, target: Target) -> String {
        let (sign, wanted) = match target {
            Target::AtLeast(wanted) => ('≥', wanted),
            Target::AtMost(wanted) => ('≤', wanted),
        };
        format!("{sign} {}", with_unit(wanted, self.decimals, &self.unit))
    }
}

/// NaN, which JSON cannot write, comes back from `null`.
pub(crate) fn null_as_nan<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + From<f32>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or(f32::NAN.into()))
}

fn with_unit(value: f64, decimals: usize, unit: &str) -> String {
    let value = page::number(value, decimals);
    if unit.is_empty() {
        value
    } else {
        format!("{value} {unit}")
    }
}

impl Stage {
    /// A stage without curves.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Adds a few words about it.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Adds a chart.
    pub fn curve(mut self, curve: Curve) -> Self {
        self.curves.push(curve);
        self
    }
}

impl Curve {
    /// A chart without series.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            ..Self::default()
        }
    }

    /// Sets the unit of the values.
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// Makes the values logarithmic.
    pub fn log(mut self) -> Self {
        self.log = true;
        self
    }

    /// Adds a line.
    pub fn series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }
}

impl Series {
    /// A line through `(step, value)` points, the step rising. Points that are not finite are left out.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let finite = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite();
        Self {
            name: name.into(),
            points: points.into_iter().filter(finite).collect(),
        }
    }

    /// The points, `(step, value)`.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }
}

impl RetrievalResult {
    /// What the codes lose against the embeddings, in points of R@mean (negative if they gain).
    pub fn loss_of_codes(&self) -> Option<f64> {
        self.codes
            .map(|codes| self.embeddings.r_mean - codes.r_mean)
    }

    /// The rows of the table: name and scores, best informed first.
    fn rows(&self) -> impl Iterator<Item = (&'static str, &RetrievalScores)> {
        let rows = [
            ("causal embeddings", Some(&self.embeddings)),
            ("codes", self.codes.as_ref()),
            ("16×16 pixels", self.pixels.as_ref()),
            ("chance", Some(&self.chance)),
        ];
        rows.into_iter()
            .filter_map(|(name, scores)| Some((name, scores?)))
    }
}

impl Png {
    const START: &str = "data:image/png;base64,";

    /// Embeds a picture.
    ///
    /// # Errors
    /// [`EvalError::Png`] if it cannot be encoded, as when it has no pixels.
    pub fn new(picture: &RgbImage) -> Result<Self, EvalError> {
        let mut png = Cursor::new(Vec::new());
        picture
            .write_to(&mut png, ImageFormat::Png)
            .map_err(EvalError::Png)?;
        Ok(Self(format!(
            "{}{}",
            Self::START,
            BASE64_STANDARD.encode(png.into_inner())
        )))
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Png {
    type Error = EvalError;

    fn try_from(uri: String) -> Result<Self, EvalError> {
        if uri.starts_with(Self::START) {
            Ok(Self(uri))
        } else {
            Err(EvalError::NotEmbedded {
                start: uri.chars().take(Self::START.len()).collect(),
            })
        }
    }
}

impl From<Png> for String {
    fn from(png: Png) -> Self {
        png.0
    }
}
