//! What a run logged, as the charts of its page.

use std::collections::BTreeMap;

use seed_eval::report::{Curve, Series, Stage};
use seed_train::{MetricsLine, RunDir, read_metrics};

use crate::error::RecipeError;

/// One chart for each logged part of each stage.
pub(crate) fn curves(run: &RunDir) -> Result<Vec<Stage>, RecipeError> {
    type Points = Vec<(f64, f64)>;
    let mut stages: BTreeMap<String, BTreeMap<String, Points>> = BTreeMap::new();
    for line in read_metrics(&run.metrics_path())? {
        let MetricsLine::Train(metrics) = line else {
            continue;
        };
        let step = metrics.step as f64;
        let stage = stages.entry(metrics.stage).or_default();
        let mut add = |name: &str, value: f64| {
            stage
                .entry(name.to_owned())
                .or_default()
                .push((step, value));
        };
        add("learning rate", metrics.rate);
        for (name, value) in &metrics.parts {
            add(name, *value);
        }
    }
    let chart = |(name, points): (String, Points)| {
        Curve::new(name.replace('_', " ")).series(Series::new(name, points))
    };
    let stage = |(name, curves): (String, BTreeMap<String, Points>)| {
        curves
            .into_iter()
            .map(chart)
            .fold(Stage::new(name), Stage::curve)
    };
    Ok(stages.into_iter().map(stage).collect())
}
