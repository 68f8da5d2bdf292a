//! The errors of this crate: each says what was wrong, where, and what to do about it.

use std::path::PathBuf;

use crate::{PictureError, SvgError};

/// What can go wrong while reading image-text pairs.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A picture file is damaged, of an unknown format, or larger than accepted.
    #[error("{}: {source}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<PictureError>,
    },
    /// A folder holds no pictures with captions.
    #[error(
        "{} holds no captioned picture; put pictures (png, jpg, webp, gif, bmp) there, with a \
         `captions.jsonl` or a `.txt` beside each", path.display()
    )]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Captions name pictures that do not exist.
    #[error(
        "{}: {count} captions name pictures that are missing, such as {}", path.display(),
        examples.join(", ")
    )]
    MissingPictures {
        /// The file of captions.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// The first few names.
        examples: Vec<String>,
    },
    /// Pictures have no caption.
    #[error(
        "{}: {count} pictures have no `.txt` beside them, such as {}", path.display(),
        examples.join(", ")
    )]
    MissingCaptions {
        /// The folder.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// The first few names.
        examples: Vec<String>,
    },
    /// A file of captions is malformed.
    #[error("{}:{line}: {reason}", path.display())]
    Caption {
        /// The file of captions.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A text tokenizer could not be read, trained or used.
    #[error("tokenizer: {source}")]
    Tokenizer {
        /// What is wrong.
        source: tokenizers::Error,
    },
    /// A file of the embedded corpus is damaged.
    #[error(
        "the embedded corpus is damaged: {file}: {reason}; rebuild it as corpus/README.md says"
    )]
    Corpus {
        /// The part of the corpus.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A drawing cannot be rendered.
    #[error("{id}: {source}")]
    Svg {
        /// The drawing.
        id: String,
        /// What is wrong with it.
        source: SvgError,
    },
    /// The cache folder cannot be used: it is read-only, full or no folder.
    #[error(
        "cannot use the cache folder {}: {source}; free some space there or name another folder \
         with SEED_CACHE_DIR", dir.display()
    )]
    Cache {
        /// The folder.
        dir: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A cache entry is larger than the whole cache may be.
    #[error("an entry exceeds the bound of {bound} bytes of the cache in {}; raise it", dir.display())]
    CacheBound {
        /// The folder.
        dir: PathBuf,
        /// The bound in bytes.
        bound: u64,
    },
    /// There is no default cache folder.
    #[error("this system names no folder for caches; name one with SEED_CACHE_DIR")]
    NoCacheDir,
    /// A row of a cache entry has another length than its key says.
    #[error("a row has {found} bytes where {expected} are expected")]
    RowSize {
        /// The length of every row of the entry.
        expected: usize,
        /// The length given.
        found: usize,
    },
    /// A row beyond the last one was asked for.
    #[error("there is no row {index}: the entry has {rows}")]
    RowIndex {
        /// The row asked for.
        index: usize,
        /// How many there are.
        rows: usize,
    },
}

impl DataError {
    /// Wraps an [`std::io::Error`] with the path it concerns: `.map_err(DataError::io(path))`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
