//! Entries that are being written.
//!
//! A partial file is locked for as long as it is written, and only who holds the lock of the file that
//! bears the name renames or removes it. So whoever gets the lock either holds the file of that name,
//! or one that another has put in its place or removed meanwhile, and has to look again. A file that
//! nobody holds was left by a process that was killed.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use same_file::Handle;

use super::key::is_named_by_key;

/// Ends the name of a partial file.
pub(super) const PARTIAL: &str = "partial";
/// Ends the names of the lock files, and [`EARLIER`] begins those of the partial files, of versions that
/// left them behind.
const LOCK: &str = "lock";
const EARLIER: &str = ".tmp";

/// The partial files of this process.
static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn open() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the cache entries that this process is writing, for a program that must end at once and
/// cannot wait until their builds stop. A build that goes on all the same fails at its end.
pub fn remove_partial_files() {
    for path in std::mem::take(&mut *open()) {
        fs::remove_file(path).ok();
    }
}

/// Removes what killed processes left in a folder. What cannot be removed is left.
pub(super) fn remove_abandoned(folder: &Path) {
    let Ok(files) = fs::read_dir(folder) else {
        return;
    };
    for path in files.flatten().map(|file| file.path()) {
        if !is_held_while_used(&path) {
            continue;
        }
        let file = File::options().read(true).write(true).open(&path);
        let removed = file.is_ok_and(|file| {
            // Removed while it is locked, so that nobody begins to write it in between.
            let removable = file.try_lock().is_ok() && bears_name(&file, &path).unwrap_or(false);
            removable && fs::remove_file(&path).is_ok()
        });
        if removed {
            tracing::debug!("removed {}, which a killed process left", path.display());
        }
    }
}

/// True for the files that mean nothing once nobody holds them.
fn is_held_while_used(path: &Path) -> bool {
    let ends_with = |ending: &str| path.extension().is_some_and(|own| own == ending);
    let is_earlier = || {
        path.file_stem()
            .is_some_and(|stem| stem.to_string_lossy().starts_with(EARLIER))
    };
    (ends_with(PARTIAL) && (is_named_by_key(path) || is_earlier()))
        || (ends_with(LOCK) && is_named_by_key(path))
}

/// An entry that is being written by this process alone. Dropped before
/// [`Partial::put_in_place`], it is gone.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    path: PathBuf,
}

impl Partial {
    /// Makes the file, waiting for whoever writes it now. `None` if there was somebody: the entry may
    /// be there now.
    pub(super) fn lock(path: &Path) -> io::Result<Option<Self>> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tracing::info!("waiting for another that writes {}", path.display());
                file.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if !bears_name(&file, path)? {
            return Ok(None);
        }
        open().insert(path.to_owned());
        let partial = Self {
            file,
            path: path.to_owned(),
        };
        // A killed process may have begun it.
        if partial.file.metadata()?.len() > 0 {
            partial.file.set_len(0)?;
        }
        Ok(Some(partial))
    }

    /// Gives the file its final name.
    pub(super) fn put_in_place(self, path: &Path) -> io::Result<()> {
        // Who takes the name off the list is the one to move or remove the file.
        if !open().remove(&self.path) {
            return Err(io::Error::other(
                "the file was removed while it was written",
            ));
        }
        fs::rename(&self.path, path).inspect_err(|_| {
            fs::remove_file(&self.path).ok();
        })
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if open().remove(&self.path) {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// True if the file at `path` is this one.
fn bears_name(file: &File, path: &Path) -> io::Result<bool> {
    let ours = Handle::from_file(file.try_clone()?)?;
    match Handle::from_path(path) {
        Ok(found) => Ok(found == ours),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
