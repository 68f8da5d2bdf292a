//! What names an entry.

use std::path::Path;

/// Version of the file format, part of every key.
const FORMAT: u32 = 1;

/// All that an entry's content depends on, and the size of its rows.
#[derive(Clone, Debug)]
pub struct CacheKey {
    row_bytes: usize,
    parts: Vec<(String, String)>,
}

impl CacheKey {
    /// A key for rows of `row_bytes` bytes. `kind` says what the rows are, such as `rendered`.
    pub fn new(kind: &str, row_bytes: usize) -> Self {
        Self {
            row_bytes,
            parts: Vec::new(),
        }
        .part("format", FORMAT)
        .part("kind", kind)
        .part("row_bytes", row_bytes)
    }

    /// Adds something the content depends on: a fingerprint, a size, a version.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "keys read better without `&`"
    )]
    pub fn part(mut self, name: &str, value: impl ToString) -> Self {
        self.parts.push((name.to_owned(), value.to_string()));
        self
    }

    /// A hash of the parts: the entry's file name without ending, and a part of other keys whose
    /// content is computed from this entry's.
    pub fn name(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for text in self.parts.iter().flat_map(|(name, value)| [name, value]) {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    pub(super) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    pub(super) fn parts(&self) -> &[(String, String)] {
        &self.parts
    }
}

/// True if a file is named by a key, whatever its ending: nothing else in the folder is the cache's to
/// remove.
pub(super) fn is_named_by_key(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.is_some_and(|stem| blake3::Hash::from_hex(stem).is_ok())
}
