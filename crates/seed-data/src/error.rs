//! The errors of this crate: each says what was wrong, where, and what to do about it.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use crate::render::SvgError;

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
    /// What is to be cached is larger than the whole cache may be.
    #[error(
        "{:.2} are to be kept in the cache in {}, which is bounded at {:.2}; raise the bound with \
         --cache-limit or SEED_CACHE_LIMIT, such as {}GB",
        ByteSize(*needed), dir.display(), ByteSize(*bound), needed.div_ceil(1_000_000_000)
    )]
    CacheBound {
        /// The folder.
        dir: PathBuf,
        /// The bound in bytes.
        bound: u64,
        /// What is to be kept, in bytes.
        needed: u64,
    },
    /// What is to be cached does not fit on the disk.
    #[error(
        "{:.2} are to be kept in the cache folder {}, and its disk has room for {:.2}; free some \
         space there or name another folder with SEED_CACHE_DIR",
        ByteSize(*needed), dir.display(), ByteSize(*free)
    )]
    CacheSpace {
        /// The folder.
        dir: PathBuf,
        /// Free bytes, with what can be removed from the cache.
        free: u64,
        /// What is to be kept, in bytes.
        needed: u64,
    },
    /// The environment's bound of the cache is no size.
    #[error("SEED_CACHE_LIMIT: {reason}")]
    CacheLimit {
        /// What is wrong with it.
        reason: String,
    },
    /// A cache entry came out with another number of rows than its builder announced.
    #[error("{found} rows were made for a cache entry of {expected}")]
    RowCount {
        /// The number announced.
        expected: usize,
        /// The number made, or one more than announced if there were more to come.
        found: usize,
    },
    /// A share of pictures to hold out that leaves nothing on one side, whatever the pictures are.
    #[error("the held-out share is {fraction}; it must be above 0 and below 1")]
    HeldOutShare {
        /// The share given.
        fraction: f64,
    },
    /// A split left one side empty.
    #[error("{}", nothing_held_out(*pictures, *held_out, *split_seed, *works))]
    NothingHeldOut {
        /// Number of pictures.
        pictures: usize,
        /// How many of them the split holds out: none or all.
        held_out: usize,
        /// The seed of the split.
        split_seed: u64,
        /// A seed that leaves pictures on both sides, with the number that it holds out.
        works: Option<(u64, usize)>,
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
    /// Wraps an [`std::io::Error`] that concerns the cache folder.
    pub(crate) fn cache(dir: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let dir = dir.to_owned();
        move |source| Self::Cache { dir, source }
    }

    /// Wraps an [`std::io::Error`] with the path it concerns: `.map_err(DataError::io(path))`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

fn nothing_held_out(
    pictures: usize,
    held_out: usize,
    split_seed: u64,
    works: Option<(u64, usize)>,
) -> String {
    let which = if held_out == 0 { "none" } else { "all" };
    let wrong =
        format!("{which} of the {pictures} pictures are held out with split_seed {split_seed}");
    match works {
        Some((seed, count)) => format!("{wrong}; split_seed {seed} holds out {count}"),
        None => format!("{wrong}, nor do others part them; choose a share nearer to one half"),
    }
}

/// Why bytes are no usable picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// The content is of no known picture format.
    #[error("not a picture, or of another format than PNG, JPEG, WebP, GIF and BMP")]
    UnknownFormat,
    /// The file is larger than accepted.
    #[error("the file has {bytes} bytes, more than the accepted {max} (`max_file_bytes`)")]
    FileTooLarge {
        /// Size of the file.
        bytes: u64,
        /// What is accepted.
        max: u64,
    },
    /// The header promises more pixels than accepted (a decompression bomb, or a huge picture).
    #[error(
        "the picture has {width} × {height} pixels, more than the accepted {max} (`max_pixels`)"
    )]
    TooManyPixels {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// Accepted number of pixels.
        max: u64,
    },
    /// The header promises no pixel at all.
    #[error("the picture has {width} × {height} pixels")]
    NoPixels {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
    },
    /// The file ends in the middle of the picture.
    #[error("the picture is truncated: its end marker is missing")]
    Truncated,
    /// The content is damaged or of an unsupported kind.
    #[error("the picture cannot be decoded: {0}")]
    Decode(#[from] image::ImageError),
}
