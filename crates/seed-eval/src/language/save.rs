//! Reports of language models on disk.

use std::{fs, path::Path};

use super::contents::LanguageReport;
use crate::{
    error::EvalError,
    report::save::{io, json, read_json, write},
};

impl LanguageReport {
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
