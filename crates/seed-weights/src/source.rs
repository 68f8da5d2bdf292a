//! Where a checkpoint's bytes are: in a file that is read at positions, or in memory.
//!
//! There is no memory map: it needs `unsafe`, and a file that is cut short meanwhile ends the
//! process instead of giving an error.

use std::{
    borrow::Cow,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use bytemuck::Pod;

use crate::error::WeightsError;

/// Bytes that can be read at any position.
#[derive(Debug)]
pub(crate) enum Source {
    Memory {
        name: String,
        bytes: Cow<'static, [u8]>,
    },
    File {
        path: PathBuf,
        file: File,
        len: u64,
    },
}

impl Source {
    /// Opens a regular file; a pipe or a device is refused, since its length means nothing.
    pub(crate) fn open(path: &Path) -> Result<Self, WeightsError> {
        let io_error = |source| WeightsError::Io {
            path: path.to_owned(),
            source,
        };
        if !fs::metadata(path).map_err(io_error)?.is_file() {
            return Err(WeightsError::NotACheckpoint {
                path: path.to_owned(),
                found: "not a regular file",
            });
        }
        let file = File::open(path).map_err(io_error)?;
        let len = file.metadata().map_err(io_error)?.len();
        Ok(Self::File {
            path: path.to_owned(),
            file,
            len,
        })
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Memory { name, .. } => name.clone(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory { bytes, .. } => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// Fills `target` from `position` on.
    pub(crate) fn read(&self, position: u64, target: &mut [u8]) -> Result<(), WeightsError> {
        let io_error = |path: &Path, source| WeightsError::Io {
            path: path.to_owned(),
            source,
        };
        match self {
            Self::File { path, file, .. } => {
                read_exact_at(file, target, position).map_err(|source| io_error(path, source))
            }
            Self::Memory { name, bytes } => usize::try_from(position)
                .ok()
                .and_then(|start| bytes.get(start..start.checked_add(target.len())?))
                .map(|found| target.copy_from_slice(found))
                .ok_or_else(|| io_error(Path::new(name), io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, target: &mut [u8], position: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, target, position)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut target: &mut [u8], mut position: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !target.is_empty() {
        match file.seek_read(target, position) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                target = &mut target[read..];
                position += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The bytes of one tensor, handed out in order.
pub(crate) enum Stream<'a> {
    /// Still where they are stored, from a position on.
    Stored(&'a Source, u64),
    /// In memory, from an offset on.
    Held(Cow<'a, [u8]>, usize),
}

impl Stream<'_> {
    /// Fills `target` with the next elements.
    pub(crate) fn fill<T: Pod>(&mut self, target: &mut [T]) -> Result<(), WeightsError> {
        let target: &mut [u8] = bytemuck::cast_slice_mut(target);
        match self {
            Self::Stored(source, position) => {
                source.read(*position, target)?;
                *position += target.len() as u64;
            }
            Self::Held(bytes, offset) => {
                let end = *offset + target.len();
                target.copy_from_slice(&bytes[*offset..end]);
                *offset = end;
            }
        }
        Ok(())
    }
}
