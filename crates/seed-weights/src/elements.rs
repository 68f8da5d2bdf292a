//! Elements from bytes: read in their precision or converted, and matrices transposed.

use std::borrow::Cow;

use burn::tensor::{BoolStore, DType, Element, TensorData, bf16, f16};
use bytemuck::Pod;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use safetensors::Dtype;

use crate::{error::WeightsError, source::Stream};

/// Elements that are converted at a time: small enough to stay in the processor's cache.
const PIECE: usize = 1 << 16;

/// Burn's name for a stored element type; `None` for one that Burn does not have.
pub(crate) fn burn_type(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U64 => DType::U64,
        Dtype::U32 => DType::U32,
        Dtype::U16 => DType::U16,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool(BoolStore::Native),
        _ => return None,
    })
}

/// Whether this library reads and writes weights in a type.
pub(crate) fn is_weight_type(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

/// What stops a conversion.
pub(crate) enum Fault {
    Read(WeightsError),
    NotFinite,
    OutOfRange,
}

impl From<WeightsError> for Fault {
    fn from(error: WeightsError) -> Self {
        Self::Read(error)
    }
}

/// Reads elements as they are stored, unchecked.
pub(crate) fn stored(
    mut stream: Stream,
    shape: &[usize],
    dtype: DType,
) -> Result<TensorData, WeightsError> {
    let count = shape.iter().product();
    Ok(match dtype {
        DType::F64 => typed::<f64>(&mut stream, count, shape)?,
        DType::F32 => typed::<f32>(&mut stream, count, shape)?,
        DType::F16 => typed::<f16>(&mut stream, count, shape)?,
        DType::BF16 => typed::<bf16>(&mut stream, count, shape)?,
        DType::I64 => typed::<i64>(&mut stream, count, shape)?,
        DType::I32 => typed::<i32>(&mut stream, count, shape)?,
        DType::I16 => typed::<i16>(&mut stream, count, shape)?,
        DType::I8 => typed::<i8>(&mut stream, count, shape)?,
        DType::U64 => typed::<u64>(&mut stream, count, shape)?,
        DType::U32 => typed::<u32>(&mut stream, count, shape)?,
        DType::U16 => typed::<u16>(&mut stream, count, shape)?,
        DType::U8 => typed::<u8>(&mut stream, count, shape)?,
        other => {
            let mut bytes = vec![0_u8; count * other.size()];
            stream.fill(&mut bytes)?;
            TensorData::from_bytes_vec(bytes, shape.to_vec(), other)
        }
    })
}

fn typed<T: Pod + Element>(
    stream: &mut Stream,
    count: usize,
    shape: &[usize],
) -> Result<TensorData, WeightsError> {
    let mut values = vec![T::zeroed(); count];
    stream.fill(&mut values)?;
    Ok(TensorData::new(values, shape.to_vec()))
}

/// How floats are to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// The precision they are stored in; a weight type.
    pub(crate) from: DType,
    /// The precision they are wanted in; a weight type.
    pub(crate) to: DType,
    /// Whether infinite values and NaN are a fault.
    pub(crate) finite: bool,
    /// Whether a matrix is wanted with its axes swapped.
    pub(crate) transposed: bool,
}

/// Reads floats straight into their place. A finite value that the wanted precision cannot hold is a
/// fault.
pub(crate) fn floats(
    stream: Stream,
    shape: &[usize],
    reading: Reading,
) -> Result<TensorData, Fault> {
    match reading.to {
        DType::F16 => floats_as::<f16>(stream, shape, reading),
        DType::BF16 => floats_as::<bf16>(stream, shape, reading),
        _ => floats_as::<f32>(stream, shape, reading),
    }
}

fn floats_as<T: Weight>(
    stream: Stream,
    shape: &[usize],
    reading: Reading,
) -> Result<TensorData, Fault> {
    match reading.from {
        DType::F16 => placed::<f16, T>(stream, shape, reading),
        DType::BF16 => placed::<bf16, T>(stream, shape, reading),
        _ => placed::<f32, T>(stream, shape, reading),
    }
}

fn placed<S: Weight, T: Weight>(
    mut stream: Stream,
    shape: &[usize],
    reading: Reading,
) -> Result<TensorData, Fault> {
    let mut values = vec![T::zeroed(); shape.iter().product()];
    let shape = match shape {
        [rows, columns] if reading.transposed => {
            fill_transposed::<S, T>(&mut stream, &mut values, *rows, *columns, reading.finite)?;
            vec![*columns, *rows]
        }
        shape => {
            let mut buffer = Buffer::<S>::new(PIECE.min(values.len()));
            for values in values.chunks_mut(PIECE) {
                buffer.fill(&mut stream, values, reading.finite)?;
            }
            shape.to_vec()
        }
    };
    Ok(TensorData::new(values, shape))
}

/// Reads `[rows, columns]` as `[columns, rows]`, a band of rows at a time: memory that was never used
/// costs the system more than the reading, so no second matrix is made.
fn fill_transposed<S: Weight, T: Weight>(
    stream: &mut Stream,
    target: &mut [T],
    rows: usize,
    columns: usize,
    finite: bool,
) -> Result<(), Fault> {
    const BAND: usize = 64;
    const BLOCK: usize = 32;
    if target.is_empty() {
        return Ok(());
    }
    let most = BAND.min(rows) * columns;
    let (mut buffer, mut band) = (Buffer::<S>::new(most), vec![T::zeroed(); most]);
    for first in (0..rows).step_by(BAND) {
        let height = BAND.min(rows - first);
        let band = &mut band[..height * columns];
        buffer.fill(stream, band, finite)?;
        let blocks = target.par_chunks_mut(BLOCK * rows).enumerate();
        blocks.for_each(|(block, target)| {
            for (column, target) in target.chunks_mut(rows).enumerate() {
                let column = block * BLOCK + column;
                let places = target[first..first + height].iter_mut();
                for (row, place) in places.enumerate() {
                    *place = band[row * columns + column];
                }
            }
        });
    }
    Ok(())
}

/// Room for elements as they are stored, and in f32.
struct Buffer<S> {
    stored: Vec<S>,
    wide: Vec<f32>,
}

impl<S: Weight> Buffer<S> {
    /// Room for pieces of at most that many elements; it is taken when a piece needs it.
    fn new(elements: usize) -> Self {
        Self {
            stored: Vec::with_capacity(elements),
            wide: Vec::with_capacity(elements),
        }
    }

    /// Reads the next elements into `values`.
    fn fill<T: Weight>(
        &mut self,
        stream: &mut Stream,
        values: &mut [T],
        finite: bool,
    ) -> Result<(), Fault> {
        if S::dtype() == T::dtype() {
            stream.fill(values)?;
            return if finite && T::not_finite(values) > 0 {
                Err(Fault::NotFinite)
            } else {
                Ok(())
            };
        }
        self.stored.resize(values.len(), S::zeroed());
        self.wide.resize(values.len(), 0.0);
        stream.fill(&mut self.stored)?;
        S::widen(&self.stored, &mut self.wide);
        let not_finite = f32::not_finite(&self.wide);
        if finite && not_finite > 0 {
            return Err(Fault::NotFinite);
        }
        T::narrow(&self.wide, values);
        if T::not_finite(values) != not_finite {
            return Err(Fault::OutOfRange);
        }
        Ok(())
    }
}

/// The float types of weights, converted through f32 in whole slices.
trait Weight: Pod + Element {
    fn widen(stored: &[Self], wide: &mut [f32]);
    fn narrow(wide: &[f32], values: &mut [Self]);
    /// How many are infinite or NaN; counted without an early end, so in vectors.
    fn not_finite(values: &[Self]) -> usize;
}

impl Weight for f32 {
    fn widen(stored: &[Self], wide: &mut [f32]) {
        wide.copy_from_slice(stored);
    }

    fn narrow(wide: &[f32], values: &mut [Self]) {
        values.copy_from_slice(wide);
    }

    fn not_finite(values: &[Self]) -> usize {
        values.iter().filter(|value| !value.is_finite()).count()
    }
}

macro_rules! half_weight {
    ($half:ty) => {
        impl Weight for $half {
            fn widen(stored: &[Self], wide: &mut [f32]) {
                stored.convert_to_f32_slice(wide);
            }

            fn narrow(wide: &[f32], values: &mut [Self]) {
                values.convert_from_f32_slice(wide);
            }

            fn not_finite(values: &[Self]) -> usize {
                values.iter().filter(|value| !value.is_finite()).count()
            }
        }
    };
}
half_weight!(f16);
half_weight!(bf16);

/// Swaps the two axes of a matrix of weights in memory, so that the result is contiguous.
pub(crate) fn transpose(data: &TensorData) -> TensorData {
    match data.dtype() {
        DType::F16 => transpose_as::<f16>(data),
        DType::BF16 => transpose_as::<bf16>(data),
        _ => transpose_as::<f32>(data),
    }
}

fn transpose_as<T: Pod + Element>(data: &TensorData) -> TensorData {
    let [rows, columns] = [data.shape()[0], data.shape()[1]];
    let source = data
        .as_slice::<T>()
        .map_or_else(|_| Cow::Owned(data.iter::<T>().collect()), Cow::Borrowed);
    TensorData::new(transposed(&source, rows, columns), [columns, rows])
}

/// `[rows, columns]` to `[columns, rows]`, in blocks of which both sides stay in the cache.
fn transposed<T: Pod + Send + Sync>(source: &[T], rows: usize, columns: usize) -> Vec<T> {
    const BLOCK: usize = 32;
    let mut target = vec![T::zeroed(); source.len()];
    if target.is_empty() {
        return target;
    }
    target
        .par_chunks_mut(BLOCK * rows)
        .enumerate()
        .for_each(|(band, target)| {
            let first = band * BLOCK;
            for start in (0..rows).step_by(BLOCK) {
                let end = rows.min(start + BLOCK);
                for (column, target) in target.chunks_mut(rows).enumerate() {
                    for (row, value) in target[start..end].iter_mut().enumerate() {
                        *value = source[(start + row) * columns + first + column];
                    }
                }
            }
        });
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_swaps_indices_for_every_size_and_type() {
        for (rows, columns) in [
            (1, 1),
            (3, 5),
            (32, 32),
            (33, 65),
            (100, 7),
            (1, 200),
            (0, 4),
        ] {
            let values: Vec<f32> = (0..rows * columns).map(|value| value as f32).collect();
            let data = TensorData::new(values, [rows, columns]);
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                let data = data.clone().convert_dtype(dtype);
                let found = transpose(&data);
                assert_eq!(found.dtype(), dtype);
                assert_eq!(found.shape().to_vec(), [columns, rows]);
                let (data, found): (Vec<f32>, Vec<f32>) =
                    (data.iter().collect(), found.iter().collect());
                for row in 0..rows {
                    for column in 0..columns {
                        let (from, to) = (row * columns + column, column * rows + row);
                        assert_eq!(data[from].to_bits(), found[to].to_bits());
                    }
                }
            }
        }
    }
}
