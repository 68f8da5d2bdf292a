//! The rows of an entry, in and out.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use half::f16;
use serde::{Deserialize, Serialize};

use super::key::CacheKey;
use super::partial::Partial;
use crate::error::DataError;

/// Length of the footer's length and the checksum.
const TAIL: usize = 4 + blake3::OUT_LEN;

/// What stands behind the rows of an entry.
#[derive(Serialize, Deserialize)]
struct Footer {
    rows: usize,
    row_bytes: usize,
    /// The key in words, for people who look into the folder.
    key: Vec<(String, String)>,
}

/// What an entry will hold, known before the first row is made.
pub(super) struct Plan {
    rows: usize,
    row_bytes: usize,
    /// The footer as it will be written.
    footer: Vec<u8>,
}

impl Plan {
    pub(super) fn new(key: &CacheKey, rows: usize) -> io::Result<Self> {
        let footer = Footer {
            rows,
            row_bytes: key.row_bytes(),
            key: key.parts().to_vec(),
        };
        Ok(Self {
            rows,
            row_bytes: key.row_bytes(),
            footer: serde_json::to_vec(&footer)?,
        })
    }

    /// Length of the entry's file.
    pub(super) fn bytes(&self) -> u64 {
        let rest = (self.footer.len() + TAIL) as u64;
        self.rows_bytes().saturating_add(rest)
    }

    fn rows_bytes(&self) -> u64 {
        (self.rows as u64).saturating_mul(self.row_bytes as u64)
    }
}

/// Writes the rows of a new entry in order.
pub struct RowWriter<'a> {
    folder: &'a Path,
    plan: &'a Plan,
    file: BufWriter<Partial>,
    hasher: blake3::Hasher,
    rows: usize,
}

impl<'a> RowWriter<'a> {
    pub(super) fn new(folder: &'a Path, plan: &'a Plan, file: Partial) -> Self {
        Self {
            folder,
            plan,
            file: BufWriter::with_capacity(1 << 20, file),
            hasher: blake3::Hasher::new(),
            rows: 0,
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`DataError::RowSize`] if the row has another length than the key says,
    /// [`DataError::RowCount`] if all rows that were announced are there;
    /// [`DataError::Cache`] if it cannot be written.
    pub fn push(&mut self, row: &[u8]) -> Result<(), DataError> {
        let Plan {
            rows, row_bytes, ..
        } = *self.plan;
        if row.len() != row_bytes {
            return Err(DataError::RowSize {
                expected: row_bytes,
                found: row.len(),
            });
        }
        if self.rows == rows {
            return Err(self.miscounted(rows + 1));
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
        self.hasher.update(bytes);
        let written = self.file.write_all(bytes);
        written.map_err(DataError::cache(self.folder))
    }

    fn miscounted(&self, found: usize) -> DataError {
        DataError::RowCount {
            expected: self.plan.rows,
            found,
        }
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> Result<Partial, DataError> {
        if self.rows != self.plan.rows {
            return Err(self.miscounted(self.rows));
        }
        let footer = &self.plan.footer;
        self.write(footer)?;
        self.write(&(footer.len() as u32).to_le_bytes())?;
        let checksum = self.hasher.finalize();
        self.write(checksum.as_bytes())?;
        let file = self.file.into_inner();
        file.map_err(|error| DataError::cache(self.folder)(error.into_error()))
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
    /// Opens and verifies the entry that was planned and marks it as used now.
    pub(super) fn open(path: &Path, plan: &Plan) -> io::Result<Self> {
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
        if (footer.rows, footer.row_bytes) != (plan.rows, plan.row_bytes)
            || rows_end != plan.rows_bytes()
        {
            return Err(damaged("its rows have another number or size"));
        }

        // The time of last use; a folder that cannot be written to is not evicted from either.
        file.set_modified(SystemTime::now()).ok();
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
            path: path.into(),
            count: footer.rows,
            row_bytes: footer.row_bytes,
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
