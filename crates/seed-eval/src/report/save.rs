//! Reports on disk.

use std::{fs, path::Path};

use serde::de::DeserializeOwned;

use super::Report;
use crate::EvalError;

impl Report {
    /// Writes `report.json` and `report.html` into `folder`, which is made if need be.
    ///
    /// # Errors
    /// [`EvalError::Io`] naming the file; what was there before is then untouched.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), EvalError> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(io(folder))?;
        self.save_json(folder.join("report.json"))?;
        self.save_html(folder.join("report.html"))
    }

    /// Writes the page.
    ///
    /// # Errors
    /// [`EvalError::Io`].
    pub fn save_html(&self, path: impl AsRef<Path>) -> Result<(), EvalError> {
        write(path.as_ref(), self.html().as_bytes())
    }

    /// Writes the report as JSON, from which the page can be made again.
    ///
    /// # Errors
    /// [`EvalError::Io`], [`EvalError::Json`].
    pub fn save_json(&self, path: impl AsRef<Path>) -> Result<(), EvalError> {
        let path = path.as_ref();
        write(path, &serde_json::to_vec(self).map_err(json(path))?)
    }

    /// Reads what [`Report::save_json`] wrote.
    ///
    /// # Errors
    /// [`EvalError::Io`], [`EvalError::Json`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, EvalError> {
        read_json(path.as_ref())
    }
}

/// Reads a report that was written as JSON.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, EvalError> {
    let text = fs::read(path).map_err(io(path))?;
    serde_json::from_slice(&text).map_err(json(path))
}

/// Writes a file whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), EvalError> {
    seed_files::write_file(path, bytes).map_err(io(path))
}

pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> EvalError {
    let path = path.to_path_buf();
    move |source| EvalError::Io { path, source }
}

pub(crate) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> EvalError {
    let path = path.to_path_buf();
    move |source| EvalError::Json { path, source }
}
