//! Files that appear whole or not at all.
//!
//! A file is written beside its place, brought to the disk, and renamed. What was there before stays
//! until then, and a reader finds the old file or the new one, never half of one. Whatever goes wrong
//! before the rename, nothing is left behind.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file that is being written and has not taken its place yet. Dropped without
/// [`AtomicFile::commit`], it is gone.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    file: NamedTempFile,
}

impl AtomicFile {
    /// Begins a file that will take the place `path`. The folder must be there; the permissions are
    /// those of any file that is made in it.
    ///
    /// # Errors
    /// If no file can be made in the folder.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let mut builder = tempfile::Builder::new();
        // The process's umask takes from these what it takes from any new file's.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder_of(&path))?;
        Ok(Self { path, file })
    }

    /// The file as it is so far.
    pub fn as_file(&self) -> &File {
        self.file.as_file()
    }

    /// Puts the file in its place, on the disk when this returns.
    ///
    /// # Errors
    /// If the bytes or the name cannot be brought to the disk, or `path` is a folder.
    pub fn commit(self) -> io::Result<()> {
        let Self { path, file } = self;
        // Before the rename, or a crash of the machine could leave the name without the bytes.
        file.as_file().sync_all()?;
        file.persist(&path)?;
        sync_folder(folder_of(&path))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::commit`], or if there is no room for the bytes.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Brings the names in a folder to the disk, where the system can.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some network file systems know no such thing, and a folder may be one to write to only.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput
                    | io::ErrorKind::Unsupported
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}
