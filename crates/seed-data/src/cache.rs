//! Results that are computed once and kept on disk: rendered pictures, features of frozen encoders.
//!
//! An entry is one file of rows of one size, named by the hash of all that its content depends on:
//!
//! ```text
//! rows | footer, JSON | length of the footer, u32 little-endian | blake3 of all before
//! ```
//!
//! It is written beside its final name and renamed, so an entry is there whole or not at all; the
//! checksum is verified whenever an entry is opened, and a damaged one is made anew.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use half::f16;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::DataError;

/// Version of the file format, part of every key.
const FORMAT: u32 = 1;
/// Names the folder.
const DIR_VARIABLE: &str = "SEED_CACHE_DIR";
const ENTRY: &str = "rows";
const LOCK: &str = "lock";
const PARTIAL: &str = ".partial";
/// A file still partial after so long was left behind by a process that was killed.
const ABANDONED: Duration = Duration::from_hours(24);
/// Length of the footer's length and the checksum.
const TAIL: usize = 4 + blake3::OUT_LEN;

/// A folder of entries, bounded in size. Any number of processes may share one.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
    max_bytes: u64,
}

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
}

/// What stands behind the rows of an entry.
#[derive(Serialize, Deserialize)]
struct Footer {
    rows: usize,
    row_bytes: usize,
    /// The key in words, for people who look into the folder.
    key: Vec<(String, String)>,
}

impl Cache {
    /// A bound for [`Cache::open`] that suits the corpus and its features: 8 GiB.
    pub const DEFAULT_BYTES: u64 = 8 << 30;

    /// Opens the cache in `dir`, making the folder if need be. When a new entry would bring the
    /// entries together above `max_bytes`, those not used for longest are removed.
    ///
    /// # Errors
    /// [`DataError::Cache`] if the folder cannot be made.
    pub fn open(dir: impl Into<PathBuf>, max_bytes: u64) -> Result<Self, DataError> {
        let cache = Self {
            dir: dir.into(),
            max_bytes,
        };
        fs::create_dir_all(&cache.dir).map_err(|error| cache.error(error))?;
        Ok(cache)
    }

    /// The folder to use by default: `$SEED_CACHE_DIR`, else `seed` in the user's cache folder.
    ///
    /// # Errors
    /// [`DataError::NoCacheDir`] if the system has no such folder.
    pub fn default_dir() -> Result<PathBuf, DataError> {
        match std::env::var_os(DIR_VARIABLE).filter(|dir| !dir.is_empty()) {
            Some(dir) => Ok(dir.into()),
            None => dirs::cache_dir()
                .map(|dir| dir.join("seed"))
                .ok_or(DataError::NoCacheDir),
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The entry of `key`, built by `build` unless it is there already.
    ///
    /// Of several threads and processes that ask for the same entry at once, one builds it and the
    /// others wait. If `build` fails, nothing is kept.
    ///
    /// # Errors
    /// What `build` returns; [`DataError::Cache`] if the folder cannot be written to or is full;
    /// [`DataError::CacheBound`] if the entry alone exceeds the bound.
    pub fn get_or_build<E: From<DataError>>(
        &self,
        key: &CacheKey,
        build: impl FnOnce(&mut RowWriter<'_>) -> Result<(), E>,
    ) -> Result<Rows, E> {
        let name = key.name();
        let path = self.dir.join(&name).with_extension(ENTRY);
        if let Some(rows) = self.find(&path, key)? {
            return Ok(rows);
        }
        let lock_path = path.with_extension(LOCK);
        let lock = File::create(&lock_path).map_err(|error| self.error(error))?;
        lock.lock().map_err(|error| self.error(error))?;
        // Another process may have built it while this one waited.
        if let Some(rows) = self.find(&path, key)? {
            return Ok(rows);
        }

        let file = tempfile::Builder::new()
            .suffix(PARTIAL)
            .tempfile_in(&self.dir)
            .map_err(|error| self.error(error))?;
        let mut writer = RowWriter::new(self, key, file);
        build(&mut writer)?;
        let (file, bytes) = writer.finish()?;
        self.make_room(bytes);
        file.persist(&path)
            .map_err(|error| self.error(error.error))?;
        let rows = self.find(&path, key)?;
        // Whoever waits finds the entry now, so the lock has done its work.
        fs::remove_file(&lock_path).ok();
        rows.ok_or_else(|| {
            self.error(io::Error::other("a new entry was damaged"))
                .into()
        })
    }

    /// Opens an entry, `None` if it is missing or damaged.
    fn find(&self, path: &Path, key: &CacheKey) -> Result<Option<Rows>, DataError> {
        match Rows::open(path, key.row_bytes) {
            Ok(rows) => Ok(Some(rows)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                tracing::warn!(
                    "{} is damaged and will be made anew: {error}",
                    path.display()
                );
                Ok(None)
            }
            Err(error) => Err(self.error(error)),
        }
    }

    /// Removes abandoned files, and entries not in use, least recently used first, until `bytes`
    /// more fit. What cannot be removed is left: a full cache is a nuisance, not a failure.
    fn make_room(&self, bytes: u64) {
        let Ok(folder) = fs::read_dir(&self.dir) else {
            return;
        };
        let mut entries = Vec::new();
        for file in folder.flatten() {
            let (path, Ok(metadata)) = (file.path(), file.metadata()) else {
                continue;
            };
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if path.extension().is_some_and(|extension| extension == ENTRY) {
                entries.push((modified, metadata.len(), path));
            } else if path.to_string_lossy().ends_with(PARTIAL)
                && modified.elapsed().is_ok_and(|age| age > ABANDONED)
            {
                fs::remove_file(path).ok();
            }
        }
        entries.sort();
        let mut total = bytes + entries.iter().map(|(_, length, _)| length).sum::<u64>();
        for (_, length, path) in entries {
            if total <= self.max_bytes {
                return;
            }
            // Readers hold a shared lock on what they read.
            let unused = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            if unused && fs::remove_file(&path).is_ok() {
                total -= length;
            }
        }
        if total > self.max_bytes {
            let dir = self.dir.display();
            tracing::warn!("the cache in {dir} exceeds its bound: all its entries are in use");
        }
    }

    fn error(&self, source: io::Error) -> DataError {
        DataError::Cache {
            dir: self.dir.clone(),
            source,
        }
    }
}

/// Writes the rows of a new entry in order.
pub struct RowWriter<'a> {
    cache: &'a Cache,
    key: &'a CacheKey,
    file: BufWriter<NamedTempFile>,
    hasher: blake3::Hasher,
    rows: usize,
    bytes: u64,
}

impl<'a> RowWriter<'a> {
    fn new(cache: &'a Cache, key: &'a CacheKey, file: NamedTempFile) -> Self {
        let file = BufWriter::with_capacity(1 << 20, file);
        Self {
            cache,
            key,
            file,
            hasher: blake3::Hasher::new(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`DataError::RowSize`] if the row has another length than the key says;
    /// [`DataError::Cache`] and [`DataError::CacheBound`] as [`Cache::get_or_build`].
    pub fn push(&mut self, row: &[u8]) -> Result<(), DataError> {
        if row.len() != self.key.row_bytes {
            return Err(DataError::RowSize {
                expected: self.key.row_bytes,
                found: row.len(),
            });
        }
        self.write(row)?;
        self.rows += 1;
        Ok(())
    }

    /// Adds a row of half-precision numbers; values beyond their range become infinite.
    ///
    /// # Errors
    /// As [`RowWriter::push`].
    pub fn push_f16(&mut self, row: &[f32]) -> Result<(), DataError> {
        let bytes: Vec<u8> = row
            .iter()
            .flat_map(|&x| f16::from_f32(x).to_le_bytes())
            .collect();
        self.push(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.bytes += bytes.len() as u64;
        let Cache { dir, max_bytes } = self.cache;
        if self.bytes > *max_bytes {
            return Err(DataError::CacheBound {
                dir: dir.clone(),
                bound: *max_bytes,
            });
        }
        self.hasher.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(|error| self.cache.error(error))
    }

    /// Ends the file; returns it with its length.
    fn finish(mut self) -> Result<(NamedTempFile, u64), DataError> {
        let footer = Footer {
            rows: self.rows,
            row_bytes: self.key.row_bytes,
            key: self.key.parts.clone(),
        };
        let footer = serde_json::to_vec(&footer).map_err(|error| self.cache.error(error.into()))?;
        self.write(&footer)?;
        self.write(&(footer.len() as u32).to_le_bytes())?;
        let checksum = self.hasher.finalize();
        self.write(checksum.as_bytes())?;
        let file = self
            .file
            .into_inner()
            .map_err(|error| self.cache.error(error.into_error()))?;
        Ok((file, self.bytes))
    }
}

/// The rows of an entry, read from its file by any number of threads. Clones share the file.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Open with a shared lock, which keeps the entry from being removed.
    file: Arc<Mutex<File>>,
    path: Arc<Path>,
    count: usize,
    row_bytes: usize,
}

impl Rows {
    /// Opens and verifies an entry and marks it as used now.
    fn open(path: &Path, row_bytes: usize) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.lock_shared()?;
        let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);

        let length = file.metadata()?.len();
        let body = length
            .checked_sub(blake3::OUT_LEN as u64)
            .ok_or_else(|| damaged("too short"))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader((&mut file).take(body))?;
        let mut checksum = [0; blake3::OUT_LEN];
        file.read_exact(&mut checksum)?;
        if hasher.finalize() != blake3::Hash::from_bytes(checksum) {
            return Err(damaged("its checksum differs"));
        }

        let tail = length
            .checked_sub(TAIL as u64)
            .ok_or_else(|| damaged("too short"))?;
        file.seek(SeekFrom::Start(tail))?;
        let mut footer_length = [0; 4];
        file.read_exact(&mut footer_length)?;
        let footer_length = u64::from(u32::from_le_bytes(footer_length));
        let rows_end = tail
            .checked_sub(footer_length)
            .ok_or_else(|| damaged("no footer"))?;
        file.seek(SeekFrom::Start(rows_end))?;
        let footer: Footer = serde_json::from_reader((&mut file).take(footer_length))?;
        if footer.row_bytes != row_bytes || rows_end != (footer.rows * row_bytes) as u64 {
            return Err(damaged("its rows have another size"));
        }

        // The time of last use; a folder that cannot be written to is not evicted from either.
        file.set_modified(SystemTime::now()).ok();
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
            path: path.into(),
            count: footer.rows,
            row_bytes,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True if there is no row.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Length of each row in bytes.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Row `index`.
    ///
    /// # Errors
    /// As [`Rows::read_into`].
    pub fn row(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let mut row = vec![0; self.row_bytes];
        self.read_into(index, &mut row)?;
        Ok(row)
    }

    /// Reads row `index` into `row`.
    ///
    /// # Errors
    /// [`DataError::RowIndex`] beyond the last row, [`DataError::RowSize`] if `row` has another
    /// length than the rows, [`DataError::Io`] if the file cannot be read.
    pub fn read_into(&self, index: usize, row: &mut [u8]) -> Result<(), DataError> {
        if index >= self.count {
            return Err(DataError::RowIndex {
                index,
                rows: self.count,
            });
        }
        if row.len() != self.row_bytes {
            return Err(DataError::RowSize {
                expected: self.row_bytes,
                found: row.len(),
            });
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start((index * self.row_bytes) as u64))
            .and_then(|_| file.read_exact(row))
            .map_err(DataError::io(&*self.path))
    }

    /// Appends row `index`, half-precision numbers, to `values`.
    ///
    /// # Errors
    /// As [`Rows::read_into`].
    pub fn read_f16_into(&self, index: usize, values: &mut Vec<f32>) -> Result<(), DataError> {
        let row = self.row(index)?;
        let pairs = row
            .chunks_exact(2)
            .map(|pair| f16::from_le_bytes([pair[0], pair[1]]));
        values.extend(pairs.map(f16::to_f32));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/dev/full` fails every write as a full disk does.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(dir.path(), u64::MAX).expect("a cache");
        let key = CacheKey::new("test", 1 << 20);
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("the device");
        let file = NamedTempFile::from_parts(
            full,
            tempfile::TempPath::try_from_path(dir.path().join("entry.partial")).expect("a path"),
        );
        let mut writer = RowWriter::new(&cache, &key, file);
        let error = writer
            .push(&vec![0; 1 << 20])
            .expect_err("the disk is full");
        let message = error.to_string();
        assert!(matches!(error, DataError::Cache { .. }), "{message}");
        assert!(
            message.contains(&dir.path().display().to_string()),
            "{message}"
        );
        assert!(message.contains("SEED_CACHE_DIR"), "{message}");
    }
}
