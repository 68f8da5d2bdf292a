//! The folder of entries: found or built, and bounded in size.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::key::{CacheKey, is_named_by_key};
use super::partial::{PARTIAL, Partial, remove_abandoned};
use super::rows::{Plan, RowWriter, Rows};
use crate::error::DataError;

/// Names the folder.
const DIR_VARIABLE: &str = "SEED_CACHE_DIR";
/// Ends the name of an entry.
const ENTRY: &str = "rows";

/// A folder of entries, bounded in size. Any number of processes may share one.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
    max_bytes: u64,
}

/// The file of an entry.
struct Entry {
    last_use: SystemTime,
    bytes: u64,
    path: PathBuf,
}

impl Entry {
    /// True if nobody reads it now: readers hold a shared lock.
    fn is_unused(&self) -> bool {
        File::open(&self.path).is_ok_and(|file| file.try_lock().is_ok())
    }

    fn remove(&self) -> bool {
        self.is_unused() && fs::remove_file(&self.path).is_ok()
    }
}

impl Cache {
    /// Opens the cache in `dir`, making the folder if need be, and removes what processes that were
    /// killed left there. When a new entry would bring the entries together above `max_bytes`, those
    /// not used for longest are removed.
    ///
    /// # Errors
    /// [`DataError::Cache`] if the folder cannot be made.
    pub fn open(dir: impl Into<PathBuf>, max_bytes: u64) -> Result<Self, DataError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(DataError::cache(&dir))?;
        remove_abandoned(&dir);
        Ok(Self { dir, max_bytes })
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

    /// Refuses what cannot be kept: `bytes`, which all entries of a run have together, must stay
    /// below the bound and find room on the disk. What the cache holds already counts as room, for it
    /// is either among those entries or can be removed.
    ///
    /// # Errors
    /// [`DataError::CacheBound`], [`DataError::CacheSpace`].
    pub fn check_fits(&self, bytes: u64) -> Result<(), DataError> {
        self.check_bound(bytes)?;
        let kept: u64 = self.entries().iter().map(|entry| entry.bytes).sum();
        self.check_space(bytes, kept)
    }

    /// The entry of `key`, `rows` rows, built by `build` unless it is there already.
    ///
    /// Of several threads and processes that ask for the same entry at once, one builds it and the
    /// others wait. If `build` fails, nothing is kept.
    ///
    /// # Errors
    /// Before any work, [`DataError::CacheBound`] if the entry alone exceeds the bound and
    /// [`DataError::CacheSpace`] if the disk has no room for it; what `build` returns;
    /// [`DataError::RowCount`] if it makes another number of rows; [`DataError::Cache`] if the folder
    /// cannot be written to.
    pub fn get_or_build<E: From<DataError>>(
        &self,
        key: &CacheKey,
        rows: usize,
        build: impl FnOnce(&mut RowWriter<'_>) -> Result<(), E>,
    ) -> Result<Rows, E> {
        let plan = Plan::new(key, rows).map_err(DataError::cache(&self.dir))?;
        let path = self.dir.join(key.name()).with_extension(ENTRY);
        let partial = loop {
            if let Some(rows) = self.find(&path, &plan)? {
                return Ok(rows);
            }
            self.check_bound(plan.bytes())?;
            let partial = Partial::lock(&path.with_extension(PARTIAL));
            if let Some(partial) = partial.map_err(DataError::cache(&self.dir))? {
                break partial;
            }
        };
        // Another may have ended it just before this one began.
        if let Some(rows) = self.find(&path, &plan)? {
            return Ok(rows);
        }
        self.make_space(plan.bytes())?;
        let mut writer = RowWriter::new(&self.dir, &plan, partial);
        build(&mut writer)?;
        let partial = writer.finish()?;
        self.keep_bound(plan.bytes());
        let placed = partial.put_in_place(&path);
        placed.map_err(DataError::cache(&self.dir))?;
        let damaged = || DataError::cache(&self.dir)(io::Error::other("a new entry was damaged"));
        Ok(self.find(&path, &plan)?.ok_or_else(damaged)?)
    }

    /// Opens an entry, `None` if it is missing or damaged.
    fn find(&self, path: &Path, plan: &Plan) -> Result<Option<Rows>, DataError> {
        match Rows::open(path, plan) {
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
            Err(error) => Err(DataError::cache(&self.dir)(error)),
        }
    }

    /// The entries, least recently used first.
    fn entries(&self) -> Vec<Entry> {
        let Ok(folder) = fs::read_dir(&self.dir) else {
            return Vec::new();
        };
        let mut entries: Vec<Entry> = folder
            .flatten()
            .filter_map(|file| {
                let (path, metadata) = (file.path(), file.metadata().ok()?);
                let is_entry = path.extension().is_some_and(|ending| ending == ENTRY);
                (is_entry && is_named_by_key(&path)).then(|| Entry {
                    last_use: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                    bytes: metadata.len(),
                    path,
                })
            })
            .collect();
        entries.sort_by(|a, b| (a.last_use, &a.path).cmp(&(b.last_use, &b.path)));
        entries
    }

    fn check_bound(&self, needed: u64) -> Result<(), DataError> {
        if needed <= self.max_bytes {
            return Ok(());
        }
        Err(DataError::CacheBound {
            dir: self.dir.clone(),
            bound: self.max_bytes,
            needed,
        })
    }

    /// Refuses what does not fit on the disk with `removable` bytes of entries removed.
    fn check_space(&self, needed: u64, removable: u64) -> Result<(), DataError> {
        let free = free_bytes(&self.dir).saturating_add(removable);
        if needed <= free {
            return Ok(());
        }
        Err(DataError::CacheSpace {
            dir: self.dir.clone(),
            free,
            needed,
        })
    }

    /// Removes entries not in use, least recently used first, until the disk has room for `needed`
    /// bytes; none if that cannot be reached.
    fn make_space(&self, needed: u64) -> Result<(), DataError> {
        if needed <= free_bytes(&self.dir) {
            return Ok(());
        }
        let mut unused = self.entries();
        unused.retain(Entry::is_unused);
        self.check_space(needed, unused.iter().map(|entry| entry.bytes).sum())?;
        for entry in unused {
            if needed <= free_bytes(&self.dir) {
                break;
            }
            entry.remove();
        }
        Ok(())
    }

    /// Removes entries not in use, least recently used first, until `bytes` more stay below the
    /// bound. What cannot be removed is left: a full cache is a nuisance, not a failure.
    fn keep_bound(&self, bytes: u64) {
        let entries = self.entries();
        let mut total = bytes + entries.iter().map(|entry| entry.bytes).sum::<u64>();
        for entry in entries {
            if total <= self.max_bytes {
                return;
            }
            if entry.remove() {
                total -= entry.bytes;
            }
        }
        if total > self.max_bytes {
            let dir = self.dir.display();
            tracing::warn!("the cache in {dir} exceeds its bound: all its entries are in use");
        }
    }
}

/// Free bytes of the file system of a folder; without end where the system does not tell.
#[cfg(unix)]
fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(u64::MAX, |about| {
        about.f_bavail.saturating_mul(about.f_frsize)
    })
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> u64 {
    u64::MAX
}
