//! Training curves: a stage has charts, a chart has series.

use serde::{Deserialize, Serialize};

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
