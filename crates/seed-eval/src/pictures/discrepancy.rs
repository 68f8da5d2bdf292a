//! How far drawn pictures as a whole are from real ones.
//!
//! Both measures are the squared maximum mean discrepancy of two sets of features, in its unbiased form: over pairs of
//! different pictures, the mean kernel within either set less twice that between them (A. Gretton et al., "A kernel
//! two-sample test", 2012, lemma 6). Unlike the Fréchet distance it needs no covariance, which 1,300 pictures cannot give
//! for 1,280 features.

use rand::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{error::EvalError, features::Features, normal_equations::products, retrieval::expect};

use super::bootstrap::{Bootstrap, Estimate, below};

/// Width of CMMD's kernel, for features of length 1.
pub const CMMD_SIGMA: f64 = 10.0;
/// What CMMD is multiplied by to be readable.
const CMMD_SCALE: f64 = 1000.0;

/// Pictures of a set that halves of two or more can be made of.
const LEAST: usize = 4;
/// Pictures of a set beyond which the three tables of kernels would need more than 1.6 GB.
const MOST: usize = 8192;

/// A discrepancy, and what it would be without any difference.
///
/// # Intervals
///
/// That of `distance` is of halves of either set, drawn without replacement: a half is as far from the whole as the whole
/// is from all there could be, and unlike a resample with replacement it has no picture twice, which would bias it. Drawn
/// and real pictures are drawn apart, also where they are of the same concepts, so that the interval is rather too wide.
///
/// `floor` is the discrepancy of one half of the real pictures from the other, over many ways to part them: about 0, and its
/// interval says how far from 0 chance alone gets, in sets of half the size. Real pictures of another origin, such as
/// another vendor's, give a floor of another kind: measure them as if they were drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discrepancy {
    /// Of the drawn pictures from the real ones. It may be below 0, being unbiased.
    pub distance: Estimate,
    /// Of real pictures from real ones.
    pub floor: Estimate,
}

impl Discrepancy {
    /// The kernel inception distance, with whatever features are given: kernel `(x·y / d + 1)³` of features as they are.
    ///
    /// - paper: <https://arxiv.org/abs/1801.01401>
    ///
    /// Published figures are the mean of subsets of 1,000 pictures, which is an estimate of the same number, and are often
    /// given × 1,000; this one is not.
    ///
    /// # Errors
    /// [`EvalError::Mismatch`] if widths disagree, [`EvalError::SetSize`] unless either set has 4 to 8,192 pictures.
    pub fn kid(drawn: &Features, real: &Features, bootstrap: Bootstrap) -> Result<Self, EvalError> {
        let dim = drawn.dim() as f64;
        Self::measure(drawn, real, bootstrap, |product, _| {
            (product / dim + 1.0).powi(3)
        })
    }

    /// The discrepancy of CMMD, with whatever features are given: kernel `exp(−|x − y|² / 2σ²)` of features of length 1
    /// with σ = [`CMMD_SIGMA`], × 1,000.
    ///
    /// - paper: <https://arxiv.org/abs/2401.09603>
    ///
    /// This is the paper's formula. The authors' program takes the biased form, in which each picture is paired with itself
    /// too: it is higher by up to 10/m + 10/n for sets of m and n pictures. For features of length 1 a σ of 10 is so wide that
    /// the kernel is nearly a straight line of |x − y|², and the figure is close to 10 · |mean x − mean y|².
    ///
    /// # Errors
    /// Those of [`Discrepancy::kid`], and [`EvalError::ZeroRow`].
    pub fn cmmd(
        drawn: &Features,
        real: &Features,
        bootstrap: Bootstrap,
    ) -> Result<Self, EvalError> {
        let (drawn, real) = (drawn.clone().normalize()?, real.clone().normalize()?);
        let kernel = |product: f64, squares: f64| {
            let distance = (squares - 2.0 * product).max(0.0);
            (-distance / (2.0 * CMMD_SIGMA * CMMD_SIGMA)).exp()
        };
        let found = Self::measure(&drawn, &real, bootstrap, kernel)?;
        Ok(Self {
            distance: found.distance.times(CMMD_SCALE),
            floor: found.floor.times(CMMD_SCALE),
        })
    }

    /// With a kernel of `x·y` and `|x|² + |y|²`.
    fn measure(
        drawn: &Features,
        real: &Features,
        bootstrap: Bootstrap,
        kernel: impl Fn(f64, f64) -> f64 + Sync,
    ) -> Result<Self, EvalError> {
        expect("width of real features", real.dim(), drawn.dim())?;
        for (set, pictures) in [("drawn", drawn.rows()), ("real", real.rows())] {
            if !(LEAST..=MOST).contains(&pictures) {
                return Err(EvalError::SetSize {
                    set,
                    pictures,
                    least: LEAST,
                    most: MOST,
                });
            }
        }
        let [x, y] = [drawn, real].map(Vectors::new);
        let within_x = x.kernels(&x, &kernel);
        let within_y = y.kernels(&y, &kernel);
        let between = x.kernels(&y, &kernel);
        let [all_x, all_y]: [Vec<usize>; 2] = [drawn.rows(), real.rows()].map(|n| (0..n).collect());

        let distance = |rows_x: &[usize], rows_y: &[usize]| {
            within_x.within(rows_x) + within_y.within(rows_y) - 2.0 * between.mean(rows_x, rows_y)
        };
        let half = |rng: &mut _, all: &[usize]| {
            let mut rows = all.to_vec();
            let half = rows.len() / 2;
            shuffle(rng, &mut rows, half);
            rows.truncate(half);
            // In the order in which they lie.
            rows.sort_unstable();
            rows
        };
        let [low, high] = bootstrap.interval(|rng| {
            let x = half(rng, &all_x);
            distance(&x, &half(rng, &all_y))
        });
        let halves = Halves::new(&within_y);
        let parted = bootstrap.draws(|rng| halves.distance(&half(rng, &all_y)));
        Ok(Self {
            distance: Estimate {
                value: distance(&all_x, &all_y),
                low,
                high,
            },
            floor: Estimate::of_draws(parted),
        })
    }
}

/// Features in 64 bits, and their squared lengths.
struct Vectors {
    values: Vec<f64>,
    squares: Vec<f64>,
    dim: usize,
}

impl Vectors {
    fn new(features: &Features) -> Self {
        let values: Vec<f64> = features.values().iter().map(|&v| f64::from(v)).collect();
        let dim = features.dim();
        let square = |row: &[f64]| row.iter().map(|v| v * v).sum();
        Self {
            squares: values.chunks_exact(dim).map(square).collect(),
            values,
            dim,
        }
    }

    fn kernels(&self, other: &Self, kernel: impl Fn(f64, f64) -> f64 + Sync) -> Kernels {
        let width = other.squares.len();
        let mut values = products(&self.values, &other.values, self.dim);
        values
            .par_chunks_exact_mut(width)
            .zip(&self.squares)
            .for_each(|(row, x)| {
                for (value, y) in row.iter_mut().zip(&other.squares) {
                    *value = kernel(*value, x + y);
                }
            });
        Kernels { values, width }
    }
}

/// The kernel of each of one set with each of another, `[_, width]`.
struct Kernels {
    values: Vec<f64>,
    width: usize,
}

impl Kernels {
    /// The mean over some rows and columns.
    fn mean(&self, rows: &[usize], columns: &[usize]) -> f64 {
        self.sum(rows, columns) / (rows.len() * columns.len()) as f64
    }

    /// The mean over pairs of different things of one set.
    fn within(&self, rows: &[usize]) -> f64 {
        let own: f64 = rows.iter().map(|&row| self.row(row)[row]).sum();
        (self.sum(rows, rows) - own) / (rows.len() * (rows.len() - 1)) as f64
    }

    fn sum(&self, rows: &[usize], columns: &[usize]) -> f64 {
        rows.iter()
            .map(|&row| {
                let row = self.row(row);
                columns.iter().map(|&column| row[column]).sum::<f64>()
            })
            .sum()
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.width..][..self.width]
    }
}

/// A set whose halves are compared: what its rows sum to is the same however it is parted.
struct Halves<'a> {
    kernels: &'a Kernels,
    /// The kernels of each with itself, and of each with all.
    own: Vec<f64>,
    with_all: Vec<f64>,
}

impl<'a> Halves<'a> {
    fn new(kernels: &'a Kernels) -> Self {
        let rows = kernels.values.par_chunks_exact(kernels.width);
        Self {
            kernels,
            own: (0..kernels.width)
                .map(|row| kernels.row(row)[row])
                .collect(),
            with_all: rows.map(|row| row.iter().sum()).collect(),
        }
    }

    /// The discrepancy of some rows from all others.
    fn distance(&self, rows: &[usize]) -> f64 {
        let of_rows = |values: &[f64]| rows.iter().map(|&row| values[row]).sum::<f64>();
        let of_all = |values: &[f64]| values.iter().sum::<f64>();
        let (m, n) = (rows.len() as f64, (self.own.len() - rows.len()) as f64);
        let within = self.kernels.sum(rows, rows);
        let between = of_rows(&self.with_all) - within;
        let within_others = of_all(&self.with_all) - within - 2.0 * between;
        let (own, own_others) = (of_rows(&self.own), of_all(&self.own) - of_rows(&self.own));
        (within - own) / (m * (m - 1.0)) + (within_others - own_others) / (n * (n - 1.0))
            - 2.0 * between / (m * n)
    }
}

/// Puts `count` of the rows, drawn without replacement, first.
fn shuffle(rng: &mut impl Rng, rows: &mut [usize], count: usize) {
    for at in 0..count {
        let left = rows.len() - at;
        rows.swap(at, at + below(rng, left));
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Features spread evenly over a cube of side 2 around `centre`.
    fn cube(rows: usize, centre: f32, rng: &mut ChaCha8Rng) -> Features {
        let values = (0..rows * 3).map(|_| centre + rng.random_range(-1.0_f32..1.0));
        Features::new(rows, 3, values.collect()).unwrap()
    }

    fn few() -> Bootstrap {
        Bootstrap {
            resamples: 200,
            seed: 5,
        }
    }

    #[test]
    fn intervals_cover_as_often_as_they_say() {
        // The estimate is unbiased, so that its mean over many samples is the truth.
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let found: Vec<Discrepancy> = (0..300)
            .map(|_| {
                let (drawn, real) = (cube(40, 0.6, &mut rng), cube(60, 0.2, &mut rng));
                Discrepancy::kid(&drawn, &real, few()).unwrap()
            })
            .collect();
        let truth = found.iter().map(|one| one.distance.value).sum::<f64>() / 300.0;
        let covers = |one: &&Discrepancy| (one.distance.low..=one.distance.high).contains(&truth);
        let covered = found.iter().filter(covers).count();
        assert!((270..=297).contains(&covered), "{covered} of 300");
    }

    #[test]
    fn halves_are_compared_as_two_sets_are() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let x = Vectors::new(&cube(11, 0.3, &mut rng));
        let kernels = x.kernels(&x, |product, _| product * product);
        let (one, other) = ([1, 4, 5, 7, 9], [0, 2, 3, 6, 8, 10]);
        let between = kernels.mean(&one, &other);
        let wanted = kernels.within(&one) + kernels.within(&other) - 2.0 * between;
        let found = Halves::new(&kernels).distance(&one);
        assert!((found - wanted).abs() < 1e-12, "{found} is not {wanted}");
    }

    #[test]
    fn sets_of_one_kind_are_no_further_than_the_floor() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for measure in [Discrepancy::kid, Discrepancy::cmmd] {
            let (mut inside, mut sum, mut spread) = (0, 0.0, 0.0);
            for _ in 0..100 {
                let (drawn, real) = (cube(50, 0.3, &mut rng), cube(50, 0.3, &mut rng));
                let found = measure(&drawn, &real, few()).unwrap();
                assert!(found.floor.low < 0.0 && found.floor.high > 0.0, "{found:?}");
                inside += usize::from(found.distance.value <= found.floor.high);
                sum += found.distance.value;
                spread += found.floor.high - found.floor.low;
            }
            assert!(inside >= 95, "{inside} of 100");
            // Unbiased: 0 on average.
            assert!(
                (sum / 100.0).abs() < 0.1 * spread / 100.0,
                "{sum} of {spread}"
            );
            let far = measure(&cube(50, 0.3, &mut rng), &cube(50, -0.3, &mut rng), few()).unwrap();
            assert!(far.distance.low > far.floor.high, "{far:?}");
        }
    }

    #[test]
    fn cmmd_of_unit_vectors_is_nearly_the_distance_of_their_means() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (drawn, real) = (cube(80, 0.6, &mut rng), cube(80, 0.0, &mut rng));
        let found = Discrepancy::cmmd(&drawn, &real, few())
            .unwrap()
            .distance
            .value;
        let mean = |features: &Features| -> [f64; 3] {
            let unit = features.clone().normalize().unwrap();
            let column = |at| {
                unit.values()
                    .iter()
                    .skip(at)
                    .step_by(3)
                    .map(|&v| f64::from(v))
            };
            std::array::from_fn(|at| column(at).sum::<f64>() / 80.0)
        };
        let (x, y) = (mean(&drawn), mean(&real));
        let square: f64 = x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum();
        // Less what the means of finite samples differ by.
        let own = |mean: [f64; 3]| (1.0 - mean.iter().map(|v| v * v).sum::<f64>()) / 79.0;
        let wanted = 10.0 * (square - own(x) - own(y));
        assert!(
            (found / wanted - 1.0).abs() < 0.02,
            "{found} is not {wanted}"
        );
    }

    #[test]
    fn refuses_sets_that_are_too_small_or_too_large() {
        let features = |rows, dim| Features::new(rows, dim, vec![1.0; rows * dim]).unwrap();
        let error = Discrepancy::kid(&features(4, 2), &features(4, 3), few()).unwrap_err();
        assert!(matches!(error, EvalError::Mismatch { .. }), "{error}");
        for (drawn, real, wrong) in [(3, 4, "drawn"), (4, 3, "real"), (MOST + 1, 4, "drawn")] {
            let error =
                Discrepancy::kid(&features(drawn, 1), &features(real, 1), few()).unwrap_err();
            assert!(
                matches!(error, EvalError::SetSize { set, .. } if set == wrong),
                "{error}"
            );
        }
    }
}
