//! Opening a checkpoint of any format.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{checkpoint::Checkpoint, error::WeightsError, format::Content, shards, source::Source};

impl Checkpoint {
    /// Opens a checkpoint of any format, known by its content, not by its name:
    ///
    /// - safetensors;
    /// - PyTorch's files (`.pth`, `.pt`, `.bin`, `.ckpt`), zip and older ones, the tensors below `model` or
    ///   `state_dict`, or at the root; whatever else is in them is ignored, and no code in them is run;
    /// - the index (`*.index.json`) of either in several shards;
    /// - a folder with exactly one index, or without an index and with one weights file.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Io`], [`WeightsError::NotACheckpoint`], [`WeightsError::Ambiguous`] for a
    /// folder with several candidates, [`WeightsError::Malformed`] and [`WeightsError::Torch`] for
    /// damaged files, [`WeightsError::Index`] for shards that do not fit their index.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let io_error = |source| WeightsError::Io {
            path: path.to_owned(),
            source,
        };
        if fs::metadata(path).map_err(io_error)?.is_dir() {
            return open_file(&only_checkpoint(path)?);
        }
        open_file(path)
    }
}

fn open_file(path: &Path) -> Result<Checkpoint, WeightsError> {
    let source = Source::open(path)?;
    match Content::read(&source)? {
        Content::Json => shards::open(path, &source),
        content => Checkpoint::from_file(path, source, &content),
    }
}

/// The one index of a folder, or else its one weights file.
fn only_checkpoint(folder: &Path) -> Result<PathBuf, WeightsError> {
    let io_error = |source| WeightsError::Io {
        path: folder.to_owned(),
        source,
    };
    let mut files = fs::read_dir(folder)
        .map_err(io_error)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, io::Error>>()
        .map_err(io_error)?;
    files.retain(|path| path.is_file());
    files.sort();
    let is_index = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".index.json")
    };
    let is_weights = |path: &&PathBuf| {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        ["safetensors", "pth", "pt", "bin", "ckpt"].contains(&extension.as_ref())
    };
    let mut candidates: Vec<_> = files.iter().filter(is_index).cloned().collect();
    if candidates.is_empty() {
        candidates = files.iter().filter(is_weights).cloned().collect();
    }
    match candidates.len() {
        0 => Err(WeightsError::NotACheckpoint {
            path: folder.to_owned(),
            found: "a folder without an index or a weights file",
        }),
        1 => Ok(candidates.remove(0)),
        _ => Err(WeightsError::Ambiguous {
            folder: folder.to_owned(),
            candidates,
        }),
    }
}
