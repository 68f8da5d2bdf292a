//! `metrics.jsonl`: one JSON object a line, written as training runs, read by reports.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MetricsLine {
    /// A training step.
    Train(TrainMetrics),
    /// An evaluation after a training step.
    Evaluation(Evaluation),
}

/// What one logged training step measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainMetrics {
    /// The recipe's name.
    pub stage: String,
    /// Optimiser steps done, this one included.
    pub step: u64,
    /// Epochs done when the step began, if the config says how long an epoch is.
    pub epoch: Option<u64>,
    /// Learning rate of the step.
    pub rate: f64,
    /// The loss of this step (mean over micro-batches).
    pub loss: f64,
    /// The recipe's other scalars of this step; those that were not finite are left out.
    pub parts: BTreeMap<String, f64>,
    /// Norm of all gradients before clipping.
    pub gradient_norm: f64,
    /// Training throughput since the line before, evaluation and checkpoints not counted.
    pub images_per_second: f64,
    /// Seconds that training waited for the loader since the line before.
    pub data_wait_seconds: f64,
    /// Seconds of training in this session.
    pub seconds: f64,
}

/// What an evaluation returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The recipe's name.
    pub stage: String,
    /// Optimiser steps done.
    pub step: u64,
    /// The numbers, by name; those that were not finite are left out.
    pub values: BTreeMap<String, f64>,
}

impl MetricsLine {
    fn place(&self) -> (&str, u64) {
        match self {
            Self::Train(line) => (&line.stage, line.step),
            Self::Evaluation(line) => (&line.stage, line.step),
        }
    }
}

/// Reads `metrics.jsonl`. A last line cut short by a crash is left out.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricsLine>, MetricsError> {
    let text = std::fs::read_to_string(path).map_err(|source| MetricsError::io(path, source))?;
    let mut lines = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        match serde_json::from_str(line) {
            Ok(parsed) => lines.push(parsed),
            Err(_) if !line.ends_with('\n') => break,
            Err(source) => {
                return Err(MetricsError::Line {
                    path: path.to_owned(),
                    line: index + 1,
                    source,
                });
            }
        }
    }
    Ok(lines)
}

/// The open end of `metrics.jsonl`.
#[derive(Debug)]
pub(crate) struct MetricsWriter {
    path: PathBuf,
    file: File,
}

impl MetricsWriter {
    pub(crate) fn open(path: &Path) -> Result<Self, MetricsError> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|source| MetricsError::io(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Drops the lines of `stage` after `step`, which the resumed run will write again.
    pub(crate) fn rewind(&mut self, stage: &str, step: u64) -> Result<(), MetricsError> {
        let lines = match read_metrics(&self.path) {
            Err(MetricsError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(());
            }
            lines => lines?,
        };
        let keep = |line: &&MetricsLine| {
            let (line_stage, line_step) = line.place();
            line_stage != stage || line_step <= step
        };
        let mut text = String::new();
        for line in lines.iter().filter(keep) {
            text.push_str(&to_line(line));
        }
        seed_files::write_file(&self.path, text.as_bytes())
            .map_err(|source| MetricsError::io(&self.path, source))?;
        *self = Self::open(&self.path)?;
        Ok(())
    }

    pub(crate) fn write(&mut self, line: &MetricsLine) -> Result<(), MetricsError> {
        self.file
            .write_all(to_line(line).as_bytes())
            .map_err(|source| MetricsError::io(&self.path, source))
    }
}

fn to_line(line: &MetricsLine) -> String {
    let mut text = serde_json::to_string(line).expect("names and numbers have a JSON form");
    text.push('\n');
    text
}

/// `metrics.jsonl` cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Disk or permissions.
    #[error("cannot read or write the metrics {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not what this version writes.
    #[error("{}, line {line}: not a metrics line ({source}); mend or remove the line", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

impl MetricsError {
    fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stage: &str, step: u64) -> MetricsLine {
        let values = BTreeMap::from([("recall".to_owned(), 0.5)]);
        MetricsLine::Evaluation(Evaluation {
            stage: stage.to_owned(),
            step,
            values,
        })
    }

    #[test]
    fn rewinding_drops_only_the_lines_to_be_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut writer = MetricsWriter::open(&path).unwrap();
        for (stage, step) in [
            ("itc", 50),
            ("itc", 90),
            ("stage2", 10),
            ("stage2", 20),
            ("stage2", 30),
        ] {
            writer.write(&line(stage, step)).unwrap();
        }
        writer.file.write_all(b"{\"kind\":\"eval").unwrap();
        writer.rewind("stage2", 20).unwrap();
        writer.write(&line("stage2", 40)).unwrap();
        let expected = [
            ("itc", 50),
            ("itc", 90),
            ("stage2", 10),
            ("stage2", 20),
            ("stage2", 40),
        ];
        assert_eq!(
            read_metrics(&path).unwrap(),
            expected.map(|(stage, step)| line(stage, step))
        );
    }

    #[test]
    fn a_broken_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, format!("{}nonsense\n", to_line(&line("itc", 1)))).unwrap();
        let message = read_metrics(&path).unwrap_err().to_string();
        assert!(message.contains("line 2"), "{message}");
    }
}
