//! Linear algebra of a ridge regression, in 64 bits: `(XᵀX + λI) W = XᵀY` by Cholesky's factors.

use rayon::prelude::*;

use crate::features::dot;

/// Rows of a product that stay in the cache.
const ROWS: usize = 8;
/// Columns that are factored at a time.
const BLOCK: usize = 64;

/// `[rows, width]` to `[width, rows]`.
pub(crate) fn transpose(table: &[f64], width: usize) -> Vec<f64> {
    (0..width)
        .flat_map(|column| table.iter().skip(column).step_by(width).copied())
        .collect()
}

/// `A Bᵀ` of `[m, width]` and `[n, width]`: `[m, n]`.
pub(crate) fn products(a: &[f64], b: &[f64], width: usize) -> Vec<f64> {
    let n = b.len() / width;
    let mut out = vec![0.0; a.len() / width * n];
    out.par_chunks_mut(ROWS * n)
        .zip(a.par_chunks(ROWS * width))
        .for_each(|(out, a)| {
            for (j, b) in b.chunks_exact(width).enumerate() {
                for (i, a) in a.chunks_exact(width).enumerate() {
                    out[i * n + j] = dot(a, b);
                }
            }
        });
    out
}

/// The lower triangle of `A Aᵀ` of `[n, width]`, in `[n, n]`; above it values are not to be used.
pub(crate) fn gram(a: &[f64], width: usize) -> Vec<f64> {
    let n = a.len() / width;
    let mut out = vec![0.0; n * n];
    out.par_chunks_mut(ROWS * n)
        .zip(a.par_chunks(ROWS * width))
        .enumerate()
        .for_each(|(block, (out, rows))| {
            let last = (ROWS * (block + 1)).min(n);
            for (j, b) in a.chunks_exact(width).take(last).enumerate() {
                for (i, a) in rows.chunks_exact(width).enumerate() {
                    out[i * n + j] = dot(a, b);
                }
            }
        });
    out
}

/// Solves `M x = b` for each `b` of `[_, n]`, in place. Of the symmetric `M`, `[n, n]`, the lower triangle is read, and
/// replaced by its factor.
///
/// Gives `None`, with `b` in no state to use, unless `M` is positive definite in 64 bits.
pub(crate) fn solve(matrix: &mut [f64], n: usize, b: &mut [f64]) -> Option<()> {
    cholesky(matrix, n)?;
    let factor = &*matrix;
    b.par_chunks_exact_mut(n)
        .for_each(|column| substitute(factor, column));
    Some(())
}

/// Replaces the lower triangle of a symmetric positive definite `[n, n]` by its Cholesky factor `L`: a block of columns at
/// a time, whose product is then taken from all that is right of it.
fn cholesky(matrix: &mut [f64], n: usize) -> Option<()> {
    for first in (0..n).step_by(BLOCK) {
        let size = BLOCK.min(n - first);
        let (above, below) = matrix.split_at_mut((first + size) * n);
        let corner = &mut above[first * n..];
        factor_corner(corner, n, first, size)?;

        // The rows below, L₂₁ = M₂₁ L₁₁⁻ᵀ.
        let mut panel = vec![0.0; below.len() / n.max(1) * size];
        below
            .par_chunks_exact_mut(n)
            .zip(panel.par_chunks_exact_mut(size))
            .for_each(|(row, packed)| {
                let row = &mut row[first..first + size];
                for j in 0..size {
                    let other = &corner[j * n + first..][..size];
                    row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
                }
                packed.copy_from_slice(row);
            });

        // What is left, M₂₂ − L₂₁ L₂₁ᵀ.
        below
            .par_chunks_exact_mut(n)
            .enumerate()
            .for_each(|(i, row)| {
                let own = &panel[i * size..][..size];
                let rest = &mut row[first + size..][..=i];
                for (value, other) in rest.iter_mut().zip(panel.chunks_exact(size)) {
                    *value -= dot(own, other);
                }
            });
    }
    Some(())
}

/// The factor of the square at `first` on the diagonal, whose rows `corner` are.
fn factor_corner(corner: &mut [f64], n: usize, first: usize, size: usize) -> Option<()> {
    for i in 0..size {
        let (done, rest) = corner.split_at_mut(i * n);
        let row = &mut rest[first..first + size];
        for j in 0..i {
            let other = &done[j * n + first..][..size];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let square = row[i] - dot(&row[..i], &row[..i]);
        if !(square > 0.0 && square.is_finite()) {
            return None;
        }
        row[i] = square.sqrt();
    }
    Some(())
}

/// Solves `L Lᵀ x = b` in place, `L` in the lower triangle of `factor`.
fn substitute(factor: &[f64], x: &mut [f64]) {
    let n = x.len();
    for i in 0..n {
        let row = &factor[i * n..][..n];
        x[i] = (x[i] - dot(&row[..i], &x[..i])) / row[i];
    }
    for i in (0..n).rev() {
        let row = &factor[i * n..][..n];
        x[i] /= row[i];
        let known = x[i];
        x[..i]
            .iter_mut()
            .zip(row)
            .for_each(|(x, l)| *x -= l * known);
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn noise(count: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    #[test]
    fn a_product_is_what_it_says() {
        let (a, b) = (noise(11 * 5, 1), noise(3 * 5, 2));
        let found = products(&a, &b, 5);
        let triangle = gram(&a, 5);
        for i in 0..11 {
            let sum = |other: &[f64]| -> f64 { (0..5).map(|k| a[i * 5 + k] * other[k]).sum() };
            for j in 0..3 {
                assert!((found[i * 3 + j] - sum(&b[j * 5..])).abs() < 1e-12);
            }
            for j in 0..=i {
                assert!((triangle[i * 11 + j] - sum(&a[j * 5..])).abs() < 1e-12);
            }
        }
        let turned = transpose(&a, 5);
        assert_eq!(turned[2 * 11 + 7].to_bits(), a[7 * 5 + 2].to_bits());
    }

    #[test]
    fn solutions_satisfy_their_equations() {
        // Below, at and beyond the size of a block.
        for n in [1, 5, BLOCK, BLOCK + 1, 3 * BLOCK + 17] {
            let a = noise(n * 2 * n, n as u64);
            let mut matrix = gram(&a, 2 * n);
            for i in 0..n {
                matrix[i * n + i] += 0.1;
            }
            let whole: Vec<f64> = (0..n * n)
                .map(|at| {
                    let (i, j) = (at / n, at % n);
                    matrix[i.max(j) * n + i.min(j)]
                })
                .collect();
            let b = noise(3 * n, 9);
            let mut x = b.clone();
            solve(&mut matrix, n, &mut x).unwrap();
            for (x, b) in x.chunks_exact(n).zip(b.chunks_exact(n)) {
                for (row, wanted) in whole.chunks_exact(n).zip(b) {
                    let found = dot(row, x);
                    assert!(
                        (found - wanted).abs() < 1e-9,
                        "{n}: {found} is not {wanted}"
                    );
                }
            }
        }
    }

    #[test]
    fn refuses_what_is_not_positive_definite() {
        let mut x = [1.0, 1.0];
        assert!(solve(&mut [1.0, 0.0, 2.0, 1.0], 2, &mut x).is_none());
        assert!(solve(&mut [0.0], 1, &mut x[..1]).is_none());
        assert!(solve(&mut [f64::NAN], 1, &mut x[..1]).is_none());
        // A block whose last row is a multiple of its first.
        let n = BLOCK + 4;
        let mut flat = vec![1.0; n * n];
        assert!(solve(&mut flat, n, &mut vec![1.0; n]).is_none());
    }
}
