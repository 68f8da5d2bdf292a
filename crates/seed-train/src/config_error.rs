//! How settings are read, and refused.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Reads a TOML file into a config; unknown keys are errors where `T` denies them.
pub fn load_config<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| ConfigError::Parse {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// A config that cannot be read or cannot be trained with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read the config {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, a value of the wrong kind, or an unknown key; the message has line and key.
    #[error("the config {} is not valid:\n{source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column, key and what was expected.
        source: Box<toml::de::Error>,
    },
    /// A value with which no training is possible.
    #[error("config: {key} = {value} is impossible, it must be {expected}")]
    Invalid {
        /// Dotted name of the key.
        key: String,
        /// The value found.
        value: String,
        /// What it must be.
        expected: String,
    },
}

impl ConfigError {
    /// `Ok` if `holds`, else [`ConfigError::Invalid`].
    pub fn require(
        holds: bool,
        key: &str,
        value: impl Display,
        expected: &str,
    ) -> Result<(), Self> {
        if holds {
            return Ok(());
        }
        Err(Self::Invalid {
            key: key.to_owned(),
            value: value.to_string(),
            expected: expected.to_owned(),
        })
    }
}
