//! `runs/<name>/`: the folder that holds all a run leaves behind.

use std::fs::{File, TryLockError};
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::BURN_VERSION;
use crate::metrics::{MetricsError, MetricsWriter};

/// What to do if a run of the name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// An error that says how to go on.
    Refuse,
    /// Go on where it stopped; an error if there is no such run.
    Resume,
    /// Remove all that it left, results as well, and begin anew.
    Overwrite,
}

impl Existing {
    /// What `--resume` and `--overwrite` ask for; without them nothing is touched.
    pub fn asked(resume: bool, overwrite: bool) -> Self {
        match (resume, overwrite) {
            (true, _) => Self::Resume,
            (_, true) => Self::Overwrite,
            _ => Self::Refuse,
        }
    }
}

/// What is written down about a run when it begins.
#[derive(Debug, Clone)]
pub struct RunInfo {
    /// The full config, as it was resolved.
    pub config: Value,
    /// The run's seed.
    pub seed: u64,
    /// The device, as the user writes it.
    pub device: String,
    /// Files and folders that the run writes below its own when it is done. They are written down too, so that whoever
    /// replaces the run leaves none of them to be taken for the new one's.
    pub outputs: &'static [&'static str],
}

/// An open run folder: `config.json`, `run.json`, `metrics.jsonl`, `checkpoints/<stage>/`.
///
/// It is locked until dropped, so that two processes cannot train into one folder.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    pub(crate) metrics: MetricsWriter,
    _lock: File,
}

/// `run.json`.
#[derive(Debug, Serialize, Deserialize)]
struct RunFile {
    name: String,
    seed: u64,
    /// What the run writes when it is done, relative to its folder.
    #[serde(default)]
    outputs: Vec<String>,
    sessions: Vec<Session>,
}

/// One process that worked on the run: the first start and each resume.
#[derive(Debug, Serialize, Deserialize)]
struct Session {
    started_unix_seconds: u64,
    device: String,
    threads: usize,
    commit: Option<String>,
    seed_version: String,
    burn_version: String,
    arguments: Vec<String>,
}

const OWN_FILES: [&str; 3] = ["metrics.jsonl", "config.json", "run.json"];

impl RunDir {
    /// Opens `root/name`, new or existing.
    pub fn open(
        root: &Path,
        name: &str,
        existing: Existing,
        info: &RunInfo,
    ) -> Result<Self, RunError> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
        if !plain {
            return Err(RunError::Name {
                name: name.to_owned(),
            });
        }
        let path = root.join(name);
        let known = path.join("run.json").exists();
        match existing {
            Existing::Refuse if known => return Err(RunError::Exists { path }),
            Existing::Resume if !known => return Err(RunError::NotFound { path }),
            _ => {}
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Io { path, source }
        };
        std::fs::create_dir_all(&path).map_err(failed(&path))?;
        let lock = lock(&path)?;
        if existing == Existing::Overwrite {
            clear(&path, info.outputs).map_err(failed(&path))?;
        }
        let mut run = if existing == Existing::Resume {
            let file = path.join("run.json");
            let text = std::fs::read_to_string(&file).map_err(failed(&file))?;
            serde_json::from_str(&text)
                .map_err(|source| RunError::Damaged { path: file, source })?
        } else {
            write_json(&path.join("config.json"), &info.config)?;
            RunFile {
                name: name.to_owned(),
                seed: info.seed,
                outputs: Vec::new(),
                sessions: Vec::new(),
            }
        };
        run.outputs = info.outputs.iter().map(ToString::to_string).collect();
        run.sessions.push(Session::now(info));
        write_json(&path.join("run.json"), &run)?;
        let metrics = MetricsWriter::open(&path.join("metrics.jsonl"))?;
        Ok(Self {
            path,
            metrics,
            _lock: lock,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's `metrics.jsonl`, for [`read_metrics`](crate::read_metrics).
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The folder of a stage's checkpoints.
    pub fn checkpoints(&self, stage: &str) -> PathBuf {
        self.path.join("checkpoints").join(stage)
    }
}

impl Session {
    fn now(info: &RunInfo) -> Self {
        Self {
            started_unix_seconds: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            device: info.device.clone(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            commit: commit(),
            seed_version: env!("CARGO_PKG_VERSION").to_owned(),
            burn_version: BURN_VERSION.to_owned(),
            arguments: std::env::args().collect(),
        }
    }
}

/// The commit of the working directory, `-dirty` if it has changes; `None` outside of git.
fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=40"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn lock(path: &Path) -> Result<File, RunError> {
    let file = path.join("run.lock");
    let failed = |source| RunError::Io {
        path: file.clone(),
        source,
    };
    let lock = File::create(&file).map_err(failed)?;
    // A process that is just being started holds a copy of every open file for a moment, and with it
    // a lock that was let go: one more look tells it from a run.
    for patience in [Duration::from_millis(100), Duration::ZERO] {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => std::thread::sleep(patience),
            Err(TryLockError::Error(source)) => return Err(RunError::Io { path: file, source }),
        }
    }
    Err(RunError::Busy {
        path: path.to_owned(),
    })
}

/// Removes what the run in `path` wrote, and what one with `outputs` would have written; nothing else.
fn clear(path: &Path, outputs: &[&str]) -> std::io::Result<()> {
    let written = std::fs::read_to_string(path.join("run.json"))
        .ok()
        .and_then(|text| serde_json::from_str::<RunFile>(&text).ok())
        .map_or_else(Vec::new, |run| run.outputs);
    let names = ["checkpoints"].into_iter().chain(outputs.iter().copied());
    let names = names.chain(written.iter().map(String::as_str));
    // The record of the run goes last: until then it says what is still to be removed.
    for name in names.chain(OWN_FILES) {
        let below = |part: Component<'_>| matches!(part, Component::Normal(_));
        if name.is_empty() || !Path::new(name).components().all(below) {
            continue;
        }
        let place = path.join(name);
        let gone = match std::fs::symlink_metadata(&place) {
            Ok(found) if found.is_dir() => std::fs::remove_dir_all(place),
            Ok(_) => std::fs::remove_file(place),
            Err(error) => Err(error),
        };
        match gone {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let text = serde_json::to_string_pretty(value).expect("names and numbers have a JSON form");
    seed_files::write_file(path, text.as_bytes()).map_err(|source| RunError::Io {
        path: path.to_owned(),
        source,
    })
}

/// A run folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The name would leave the folder of runs, or is empty.
    #[error("{name:?} cannot name a run: use letters, digits, `-` and `_`")]
    Name {
        /// The name.
        name: String,
    },
    /// A run of that name exists.
    #[error(
        "the run {} exists: go on with --resume, replace it with --overwrite, or choose another name",
        path.display()
    )]
    Exists {
        /// Its folder.
        path: PathBuf,
    },
    /// No run of that name to resume.
    #[error("there is no run {} to resume: check the name, or start without --resume", path.display())]
    NotFound {
        /// The folder looked for.
        path: PathBuf,
    },
    /// Another process trains in the folder.
    #[error("another process is training in {}: wait for it, or stop it", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// `run.json` is not readable as such.
    #[error("{} is damaged ({source}): restore it, or begin anew with --overwrite", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Disk or permissions.
    #[error("cannot write the run's files at {}: {source}; is the disk full or read-only?", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The metrics file.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(root: &Path, name: &str, existing: Existing) -> Result<RunDir, RunError> {
        let info = RunInfo {
            config: serde_json::json!({ "a": 1 }),
            seed: 1,
            device: "flex".into(),
            outputs: &["tokenizer.safetensors", "adapter"],
        };
        RunDir::open(root, name, existing, &info)
    }

    #[test]
    fn an_existing_run_is_neither_mixed_nor_lost() {
        let root = tempfile::tempdir().unwrap();
        drop(open(root.path(), "a", Existing::Refuse).unwrap());
        let refused = open(root.path(), "a", Existing::Refuse).unwrap_err();
        assert!(matches!(refused, RunError::Exists { .. }));
        assert!(refused.to_string().contains("--resume"));

        drop(open(root.path(), "a", Existing::Resume).unwrap());
        let file = root.path().join("a/run.json");
        let run: RunFile = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(run.sessions.len(), 2);

        std::fs::write(root.path().join("a/notes.txt"), "mine").unwrap();
        // What an earlier run wrote, one of another kind included, is not left to be taken for the new one's.
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("\"adapter\"", "\"adapter\", \"language.json\", \"../b\"");
        std::fs::write(&file, text).unwrap();
        std::fs::create_dir_all(root.path().join("a/adapter")).unwrap();
        let stale = [
            "tokenizer.safetensors",
            "adapter/weights",
            "language.json",
            "../b",
        ];
        for name in stale {
            std::fs::write(root.path().join("a").join(name), "old").unwrap();
        }
        drop(open(root.path(), "a", Existing::Overwrite).unwrap());
        let run: RunFile = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(run.sessions.len(), 1);
        assert!(
            root.path().join("a/notes.txt").exists(),
            "files of the user stay"
        );
        for name in ["tokenizer.safetensors", "adapter", "language.json"] {
            assert!(!root.path().join("a").join(name).exists(), "{name}");
        }
        assert!(root.path().join("b").exists(), "not below the run");
    }

    #[test]
    fn impossible_runs_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for name in ["", "..", "a/b", ".hidden"] {
            let error = open(root.path(), name, Existing::Refuse).unwrap_err();
            assert!(matches!(error, RunError::Name { .. }), "{name:?}");
        }
        let missing = open(root.path(), "b", Existing::Resume).unwrap_err();
        assert!(matches!(missing, RunError::NotFound { .. }));
        let _held = open(root.path(), "c", Existing::Refuse).unwrap();
        let busy = open(root.path(), "c", Existing::Resume).unwrap_err();
        assert!(matches!(busy, RunError::Busy { .. }));
    }
}
