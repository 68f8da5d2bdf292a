//! A table of feature vectors.

use std::{
    iter::Sum,
    ops::{Add, AddAssign, Mul},
};

use crate::EvalError;

/// Feature vectors of one kind, `[rows, dim]`, row-major: one row an image or a text. Every value is finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    rows: usize,
    dim: usize,
    values: Vec<f32>,
}

impl Features {
    /// Takes `rows × dim` values, row-major.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if the count is wrong, [`EvalError::NotFinite`] naming the first bad value.
    pub fn new(rows: usize, dim: usize, values: Vec<f32>) -> Result<Self, EvalError> {
        if rows == 0 || dim == 0 || rows.checked_mul(dim) != Some(values.len()) {
            return Err(EvalError::Shape {
                rows,
                dim,
                values: values.len(),
            });
        }
        check_finite("features", &values, dim)?;
        Ok(Self { rows, dim, values })
    }

    /// Number of vectors.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// One vector.
    ///
    /// # Panics
    /// If there is no such row, as a slice would.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..][..self.dim]
    }

    /// The given rows in the given order; a row may come more than once.
    ///
    /// # Errors
    /// [`EvalError::NoSuchRow`], or [`EvalError::Shape`] if no row is asked for.
    pub fn select(&self, rows: &[usize]) -> Result<Self, EvalError> {
        let mut values = Vec::with_capacity(rows.len() * self.dim);
        for &row in rows {
            if row >= self.rows {
                return Err(EvalError::NoSuchRow {
                    row,
                    rows: self.rows,
                });
            }
            values.extend_from_slice(self.row(row));
        }
        Self::new(rows.len(), self.dim, values)
    }

    /// The same directions at length 1, so that a dot product is a cosine.
    ///
    /// # Errors
    /// [`EvalError::ZeroRow`] naming the first row without a direction.
    pub fn normalize(mut self) -> Result<Self, EvalError> {
        for (row, vector) in self.values.chunks_exact_mut(self.dim).enumerate() {
            // In f64, so that no finite f32 vector over- or underflows.
            let norm = vector
                .iter()
                .map(|&v| f64::from(v).powi(2))
                .sum::<f64>()
                .sqrt();
            if norm == 0.0 {
                return Err(EvalError::ZeroRow { row });
            }
            for v in vector {
                *v = (f64::from(*v) / norm) as f32;
            }
        }
        Ok(self)
    }
}

/// Refuses NaN and infinity in a row-major table `dim` wide.
pub(crate) fn check_finite(
    what: &'static str,
    values: &[f32],
    dim: usize,
) -> Result<(), EvalError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => Err(EvalError::NotFinite {
            what,
            row: at / dim,
            column: at % dim,
            value: values[at],
        }),
    }
}

/// Dot product. Sixteen running sums, combined in a fixed order: fast, and the same on every thread.
pub(crate) fn dot<T>(a: &[T], b: &[T]) -> T
where
    T: Copy + Default + Add<Output = T> + AddAssign + Mul<Output = T> + Sum,
{
    let mut lanes = [T::default(); 16];
    let (a_chunks, b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    let tail: T = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(x, y)| *x * *y)
        .sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for (lane, (x, y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += *x * *y;
        }
    }
    lanes.into_iter().sum::<T>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_bad_value() {
        let error = Features::new(2, 3, vec![0.0, 1.0, 2.0, 3.0, f32::NAN, 5.0]).unwrap_err();
        assert!(
            matches!(
                error,
                EvalError::NotFinite {
                    row: 1,
                    column: 1,
                    ..
                }
            ),
            "{error}"
        );
        let error = Features::new(2, 3, vec![0.0; 5]).unwrap_err();
        assert!(
            matches!(
                error,
                EvalError::Shape {
                    rows: 2,
                    dim: 3,
                    values: 5
                }
            ),
            "{error}"
        );
        assert!(Features::new(usize::MAX, 2, vec![]).is_err());
    }

    #[test]
    fn normalises_any_finite_length() {
        let features = Features::new(2, 2, vec![3e30, 4e30, -3e-30, 4e-30]).unwrap();
        let unit = features.normalize().unwrap();
        for (got, wanted) in unit.values().iter().zip([0.6, 0.8, -0.6, 0.8]) {
            assert!((got - wanted).abs() < 1e-6, "{got} {wanted}");
        }
        let zero = Features::new(2, 2, vec![1.0, 0.0, 0.0, 0.0]).unwrap();
        assert!(matches!(
            zero.normalize(),
            Err(EvalError::ZeroRow { row: 1 })
        ));
    }

    #[test]
    fn selects_rows() {
        let features = Features::new(3, 1, vec![10.0, 11.0, 12.0]).unwrap();
        assert_eq!(
            features.select(&[2, 0, 2]).unwrap().values(),
            [12.0, 10.0, 12.0]
        );
        let error = features.select(&[3]).unwrap_err();
        assert!(
            matches!(error, EvalError::NoSuchRow { row: 3, rows: 3 }),
            "{error}"
        );
    }

    #[test]
    fn dot_takes_every_element() {
        let a: Vec<f32> = (0_u8..37).map(f32::from).collect();
        assert!((dot(&a, &a) - 16_206.0).abs() < f32::EPSILON);
    }
}
