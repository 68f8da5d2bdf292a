//! Checkpoints: written whole or not at all, verified before they are believed.
//!
//! `step-000123/` holds `model.bpk` (parameters with their ids), `optimizer.bpk` (state keyed by those
//! ids) and `state.json` (step, config, and size and BLAKE3 hash of the other two). There is no
//! generator state: randomness is a function of seed and step.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::store::ModuleRecord;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of the folder's layout.
const FORMAT: u32 = 1;
/// The pinned version of Burn, whose record format the files are in.
pub(crate) const BURN_VERSION: &str = "0.22.1";
const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const STATE: &str = "state.json";
const TEMPORARY: &str = ".writing-";

/// `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointState {
    /// Version of the layout.
    pub format: u32,
    /// Optimiser steps done.
    pub step: u64,
    /// What decided the numbers: recipe and training config. Another one cannot be resumed.
    pub config: Value,
    /// Device that wrote it, for information.
    pub device: String,
    /// Burn's version, for information.
    pub burn: String,
    /// Size and hash of each file.
    pub files: BTreeMap<String, FileRecord>,
}

/// How a file was when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Size.
    pub bytes: u64,
    /// BLAKE3, hexadecimal.
    pub blake3: String,
}

/// The checkpoints of one stage of a run.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep_last: usize,
}

/// A verified checkpoint.
#[derive(Debug)]
pub struct Found {
    /// Its `state.json`.
    pub state: CheckpointState,
    /// Its folder.
    pub path: PathBuf,
    /// Newer checkpoints that were passed over, and what is wrong with them.
    pub damaged: Vec<CheckpointError>,
}

impl Checkpoints {
    /// The checkpoints in `folder`, which is made with the first of them.
    pub fn new(folder: PathBuf, keep_last: usize) -> Self {
        Self { folder, keep_last }
    }

    /// Steps and folders of all checkpoints, oldest first, not verified.
    pub fn list(&self) -> Vec<(u64, PathBuf)> {
        let entries = std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten();
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let step = entry
                    .file_name()
                    .to_str()?
                    .strip_prefix("step-")?
                    .parse()
                    .ok()?;
                Some((step, entry.path()))
            })
            .collect();
        found.sort_unstable();
        found
    }

    /// Writes a checkpoint, then removes all but the last `keep_last`.
    ///
    /// On an error what was saved before is still there, and nothing of the new one.
    pub fn save<M: Module>(
        &self,
        model: &M,
        optimizer: &ModuleOptimizer,
        step: u64,
        config: &Value,
        device: &str,
    ) -> Result<PathBuf, CheckpointError> {
        let name = format!("step-{step:06}");
        let path = self.folder.join(&name);
        let writing = self.folder.join(format!("{TEMPORARY}{name}"));
        let written = std::fs::create_dir_all(&self.folder)
            .map_err(|error| error.to_string())
            .and_then(|()| {
                self.remove_unfinished();
                write_files(&writing, model, optimizer, step, config, device)?;
                publish(&writing, &path).map_err(|error| error.to_string())
            });
        if let Err(reason) = written {
            // It may well be what fills the disk; the error to tell is the first one.
            let _ = std::fs::remove_dir_all(&writing);
            return Err(CheckpointError::Write { path, reason });
        }
        self.prune(step);
        Ok(path)
    }

    /// The newest checkpoint that is whole, of this format and of this config; `None` without any.
    ///
    /// Damaged ones are passed over and told in [`Found::damaged`]. One of another format or config
    /// is an error, since every other will be as well.
    pub fn latest_good(&self, config: &Value) -> Result<Option<Found>, CheckpointError> {
        let mut damaged = Vec::new();
        for (step, path) in self.list().into_iter().rev() {
            match verify(&path, step) {
                Ok(state) => {
                    let differences = differences(&as_long_as(&state.config, config, step), config);
                    if !differences.is_empty() {
                        return Err(CheckpointError::OtherConfig { path, differences });
                    }
                    return Ok(Some(Found {
                        state,
                        path,
                        damaged,
                    }));
                }
                Err(error @ CheckpointError::OtherFormat { .. }) => return Err(error),
                Err(error) => damaged.push(error),
            }
        }
        if damaged.is_empty() {
            return Ok(None);
        }
        Err(CheckpointError::AllDamaged {
            folder: self.folder.clone(),
            damaged,
        })
    }

    /// Refuses a config that differs from that of the newest whole checkpoint in a key that `config` has.
    pub fn check(&self, config: &Value) -> Result<(), CheckpointError> {
        let checkpoints = self.list().into_iter().rev();
        for (step, path) in checkpoints {
            let Ok(state) = verify(&path, step) else {
                continue;
            };
            let saved = as_long_as(&state.config, config, step);
            let differences = differences(&with_keys_of(&saved, config), config);
            if differences.is_empty() {
                return Ok(());
            }
            return Err(CheckpointError::OtherConfig { path, differences });
        }
        Ok(())
    }

    /// Keeps the last `keep_last` up to `step`. Later ones are damaged, or the run would have gone on
    /// from them. That an old folder cannot be removed does not harm the run.
    fn prune(&self, step: u64) {
        let (mut keep, mut remove): (Vec<_>, Vec<_>) = self
            .list()
            .into_iter()
            .partition(|(other, _)| *other <= step);
        let surplus = keep.len().saturating_sub(self.keep_last);
        remove.extend(keep.drain(..surplus));
        for (_, path) in remove {
            if let Err(error) = std::fs::remove_dir_all(&path) {
                tracing::warn!(
                    "cannot remove the old checkpoint {}: {error}",
                    path.display()
                );
            }
        }
    }

    /// Removes what a killed process left half written.
    fn remove_unfinished(&self) {
        for entry in std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY)
                && let Err(error) = std::fs::remove_dir_all(entry.path())
            {
                tracing::warn!("cannot remove {}: {error}", entry.path().display());
            }
        }
    }
}

impl Found {
    /// How many steps the run was to have when this was written.
    pub fn planned_steps(&self) -> Option<u64> {
        steps(&self.state.config)
    }

    /// `model` with the checkpoint's parameters and their ids.
    pub fn load_model<M: Module>(&self, model: M) -> Result<M, CheckpointError> {
        let path = self.path.join(MODEL);
        ModuleRecord::load(&path)
            .and_then(|record| model.try_load_record(record))
            .map_err(|error| CheckpointError::Load {
                path,
                reason: error.to_string(),
            })
    }

    /// `optimizer`, made for the loaded model, with the checkpoint's state.
    pub fn load_optimizer(
        &self,
        optimizer: ModuleOptimizer,
    ) -> Result<ModuleOptimizer, CheckpointError> {
        let path = self.path.join(OPTIMIZER);
        optimizer
            .load(&path)
            .map_err(|error| CheckpointError::Load {
                path,
                reason: error.to_string(),
            })
    }
}

impl FileRecord {
    fn of(path: &Path) -> std::io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let bytes = std::io::copy(&mut File::open(path)?, &mut hasher)?;
        Ok(Self {
            bytes,
            blake3: hasher.finalize().to_hex().to_string(),
        })
    }
}

/// Makes the folder `writing` and all the files of a checkpoint in it, on the disk when it returns.
fn write_files<M: Module>(
    writing: &Path,
    model: &M,
    optimizer: &ModuleOptimizer,
    step: u64,
    config: &Value,
    device: &str,
) -> Result<(), String> {
    let io = |error: std::io::Error| error.to_string();
    std::fs::create_dir(writing).map_err(io)?;
    let record = model.clone().into_record();
    record
        .save(writing.join(MODEL))
        .map_err(|error| error.to_string())?;
    optimizer
        .save(writing.join(OPTIMIZER))
        .map_err(|error| error.to_string())?;
    let mut files = BTreeMap::new();
    for name in [MODEL, OPTIMIZER] {
        let file = writing.join(name);
        File::open(&file)
            .and_then(|file| file.sync_all())
            .map_err(io)?;
        files.insert(name.to_owned(), FileRecord::of(&file).map_err(io)?);
    }
    let state = CheckpointState {
        format: FORMAT,
        step,
        config: config.clone(),
        device: device.to_owned(),
        burn: BURN_VERSION.to_owned(),
        files,
    };
    let text = serde_json::to_string_pretty(&state).map_err(|error| error.to_string())?;
    seed_files::write_file(&writing.join(STATE), text.as_bytes()).map_err(io)
}

/// Gives the finished folder its name.
fn publish(writing: &Path, path: &Path) -> std::io::Result<()> {
    // Only a damaged checkpoint can be in the way: a good one would have been resumed.
    if path.exists() {
        std::fs::remove_dir_all(path)?;
    }
    std::fs::rename(writing, path)?;
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Reads `state.json` and checks every file against it.
fn verify(path: &Path, step: u64) -> Result<CheckpointState, CheckpointError> {
    let file = path.join(STATE);
    let text = std::fs::read_to_string(&file).map_err(|source| CheckpointError::Missing {
        path: file.clone(),
        source,
    })?;
    let damaged = |reason: String| CheckpointError::State {
        path: file.clone(),
        reason,
    };
    let value: Value = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    let format = value["format"]
        .as_u64()
        .ok_or_else(|| damaged("no format version".to_owned()))?;
    if format != u64::from(FORMAT) {
        return Err(CheckpointError::OtherFormat {
            path: file,
            found: format,
            expected: FORMAT,
        });
    }
    let state: CheckpointState =
        serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
    if state.step != step {
        return Err(damaged(format!(
            "it says step {}, its folder says {step}",
            state.step
        )));
    }
    for name in [MODEL, OPTIMIZER] {
        let expected = state
            .files
            .get(name)
            .ok_or_else(|| damaged(format!("it has no record of {name}")))?;
        let file = path.join(name);
        let found = FileRecord::of(&file).map_err(|source| CheckpointError::Missing {
            path: file.clone(),
            source,
        })?;
        if found.bytes != expected.bytes {
            let (found, expected) = (found.bytes, expected.bytes);
            return Err(CheckpointError::Size {
                path: file,
                found,
                expected,
            });
        }
        if found != *expected {
            return Err(CheckpointError::Altered { path: file });
        }
    }
    Ok(state)
}

fn steps(config: &Value) -> Option<u64> {
    config["train"]["steps"].as_u64()
}

/// The saved config with the steps of the current one, if those are more than the run was to have and than
/// it has made: a run may be made longer, and follows the longer schedule from then on.
fn as_long_as(saved: &Value, current: &Value, made: u64) -> Value {
    let mut config = saved.clone();
    if let (Some(planned), Some(asked)) = (steps(saved), steps(current))
        && asked > planned
        && asked > made
    {
        config["train"]["steps"] = asked.into();
    }
    config
}

/// `saved` without the keys of its first two levels that `other` lacks.
fn with_keys_of(saved: &Value, other: &Value) -> Value {
    let mut kept = saved.clone();
    if let (Some(kept), Some(other)) = (kept.as_object_mut(), other.as_object()) {
        kept.retain(|key, _| other.contains_key(key));
        for (key, value) in kept {
            if let (Some(value), Some(other)) = (value.as_object_mut(), other[key].as_object()) {
                value.retain(|key, _| other.contains_key(key));
            }
        }
    }
    kept
}

/// The dotted keys whose values differ, as `key: saved → current`.
fn differences(saved: &Value, current: &Value) -> Vec<String> {
    fn walk(key: &str, saved: &Value, current: &Value, out: &mut Vec<String>) {
        if let (Value::Object(a), Value::Object(b)) = (saved, current) {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for name in keys {
                let path = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                walk(&path, &saved[name], &current[name], out);
            }
        } else if saved != current {
            out.push(format!("{key}: {saved} → {current}"));
        }
    }
    // Through text, as the saved one went: reading a float may round its last digit.
    let current = serde_json::from_str(&current.to_string()).unwrap_or(Value::Null);
    let mut out = Vec::new();
    walk("", saved, &current, &mut out);
    out
}

/// A checkpoint that cannot be written or must not be resumed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Nothing of it was kept; the ones before are untouched.
    #[error(
        "cannot write the checkpoint {}: {reason}; is the disk full or read-only? Earlier checkpoints are untouched: make room and go on with --resume",
        path.display()
    )]
    Write {
        /// The folder that was to be made.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file of the checkpoint is not there, or not readable.
    #[error("the checkpoint file {} cannot be read: {source}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file has another size than when it was written: most often it is truncated.
    #[error("the checkpoint file {} is truncated or overwritten: {found} bytes, {expected} were written", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// Its size when written.
        expected: u64,
    },
    /// A file has another content than when it was written.
    #[error("the checkpoint file {} was altered: its BLAKE3 hash is not the one recorded", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
    },
    /// `state.json` is not what was written.
    #[error("the checkpoint's {} is damaged: {reason}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Written by another version of this library.
    #[error(
        "{} has checkpoint format {found}, this version reads {expected}: resume with the version that wrote it, or start a new run",
        path.display()
    )]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        expected: u32,
    },
    /// Of a run with another config.
    #[error(
        "{} was made with another config ({}): restore the config to resume it, or start a new run",
        path.display(),
        differences.join(", ")
    )]
    OtherConfig {
        /// The folder.
        path: PathBuf,
        /// Each difference as `key: saved → current`.
        differences: Vec<String>,
    },
    /// There are checkpoints and none of them is whole.
    #[error(
        "no checkpoint in {} is whole: {}; restore one from a copy, or start anew with --overwrite",
        folder.display(),
        damaged.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    AllDamaged {
        /// The stage's folder.
        folder: PathBuf,
        /// What is wrong with each, newest first.
        damaged: Vec<CheckpointError>,
    },
    /// The files are whole and still do not fit the model.
    #[error("cannot load {}: {reason}; does the model's code differ from the one that wrote it?", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_recorded_version_is_the_pinned_one() {
        let manifest = include_str!("../../../Cargo.toml");
        assert!(manifest.contains(&format!("burn = {{ version = \"={BURN_VERSION}\"")));
    }

    #[test]
    fn only_keys_of_the_other_are_kept() {
        let saved = json!({ "train": { "steps": 3 }, "recipe": { "inputs": "x", "rank": 4 } });
        let asked = json!({ "train": { "steps": 4 }, "recipe": { "rank": 4 } });
        let kept = with_keys_of(&saved, &asked);
        assert_eq!(
            kept,
            json!({ "train": { "steps": 3 }, "recipe": { "rank": 4 } })
        );
    }

    #[test]
    fn differences_name_the_keys() {
        let saved: Value =
            serde_json::from_str(&json!({ "a": { "b": 0.1, "c": 1 }, "d": 2 }).to_string())
                .unwrap();
        assert!(differences(&saved, &json!({ "d": 2, "a": { "c": 1, "b": 0.1 } })).is_empty());
        let changed = json!({ "a": { "b": 0.2, "c": 1 }, "e": 3 });
        assert_eq!(
            differences(&saved, &changed),
            ["a.b: 0.1 → 0.2", "d: 2 → null", "e: null → 3"]
        );
    }
}
