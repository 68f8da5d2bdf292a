//! A judge that had no part in the drawing.

use rayon::prelude::*;

use crate::{
    error::EvalError,
    features::Features,
    normal_equations::{gram, products, solve, transpose},
    retrieval::expect,
};

use super::recognition::Recognition;

/// A linear classifier from the features of a frozen encoder to what a picture shows: ridge regression onto one-hot
/// classes, in closed form and in 64 bits, so that the same pictures always give the same judge.
///
/// Fitted on real pictures, and given drawn ones, it says how many of them show what they should. It is only as good as
/// its scores on real pictures of the same set, which belong beside those of drawn ones.
///
/// ```
/// # use seed_eval::{Features, Share, pictures::RidgeJudge};
/// let real = Features::new(4, 2, vec![1.0, 0.1, 0.9, 0.0, 0.0, 1.1, 0.1, 0.8])?;
/// let judge = RidgeJudge::fit(&real, &[0, 0, 1, 1], 2, 1.0)?;
/// let drawn = Features::new(2, 2, vec![0.8, 0.2, 0.9, 0.1])?;
/// assert_eq!(judge.recognition(&drawn, &[0, 1])?.r1, Share::new(1, 2));
/// # Ok::<(), seed_eval::EvalError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RidgeJudge {
    /// Mean feature, `[dim]`.
    mean: Vec<f64>,
    /// Deviation of each feature, `[dim]`.
    deviation: Vec<f64>,
    /// `[classes, dim]`
    weights: Vec<f64>,
}

impl RidgeJudge {
    /// The penalty that suits 1,280 features of EfficientNet-Lite0 and the embedded corpus (tried: 30, 300, 3,000).
    pub const LAMBDA: f64 = 300.0;

    /// Added to each deviation, so that a feature that never varies does not count.
    const LEAST_DEVIATION: f64 = 1e-6;

    /// Fits real pictures' features `[pictures, dim]` to their classes, `labels[i]` of `0..classes`. A class that no picture
    /// is of has score 0 for all pictures.
    ///
    /// Features are standardised over the pictures. The targets are one-hot, less how often each class is seen.
    ///
    /// # Errors
    /// [`EvalError::Ridge`] unless the penalty is positive and finite, [`EvalError::Mismatch`] if pictures and labels differ
    /// in number or there is one picture only, [`EvalError::Label`] for a label outside the classes, [`EvalError::Singular`] if
    /// the penalty is too small for features that depend on each other.
    pub fn fit(
        features: &Features,
        labels: &[usize],
        classes: usize,
        lambda: f64,
    ) -> Result<Self, EvalError> {
        if !(lambda > 0.0 && lambda.is_finite()) {
            return Err(EvalError::Ridge(lambda));
        }
        let (rows, dim) = (features.rows(), features.dim());
        check_labels(features, labels, classes)?;
        if rows < 2 {
            return Err(EvalError::Mismatch {
                what: "pictures that a judge is fitted on",
                got: rows,
                wanted: 2,
            });
        }
        let (mean, deviation) = moments(features);
        let mut judge = Self {
            mean,
            deviation,
            weights: vec![0.0; classes * dim],
        };
        let inputs = judge.standardized(features);

        // FᵀY: the sum of each class's features, less its share of the sum of all.
        for (input, &label) in inputs.chunks_exact(dim).zip(labels) {
            let sums = &mut judge.weights[label * dim..][..dim];
            sums.iter_mut().zip(input).for_each(|(sum, v)| *sum += v);
        }
        let mut total = vec![0.0; dim];
        for input in inputs.chunks_exact(dim) {
            total.iter_mut().zip(input).for_each(|(sum, v)| *sum += v);
        }
        let mut counts = vec![0_usize; classes];
        for &label in labels {
            counts[label] += 1;
        }
        for (sums, count) in judge.weights.chunks_exact_mut(dim).zip(counts) {
            let share = count as f64 / rows as f64;
            sums.iter_mut()
                .zip(&total)
                .for_each(|(sum, total)| *sum -= share * total);
        }

        let mut matrix = gram(&transpose(&inputs, dim), rows);
        for diagonal in matrix.iter_mut().step_by(dim + 1) {
            *diagonal += lambda;
        }
        solve(&mut matrix, dim, &mut judge.weights).ok_or(EvalError::Singular(lambda))?;
        Ok(judge)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.weights.len() / self.mean.len()
    }

    /// How much each picture looks like each class, `[pictures, classes]`: the higher the more.
    ///
    /// # Errors
    /// [`EvalError::Mismatch`] if the features have another width than those of the fit, [`EvalError::NotFinite`] if they are
    /// so far from those that scores leave the range of 32 bits.
    pub fn scores(&self, features: &Features) -> Result<Features, EvalError> {
        expect("width of features", features.dim(), self.mean.len())?;
        let scores = products(&self.standardized(features), &self.weights, self.mean.len());
        let scores = scores.into_iter().map(|score| score as f32).collect();
        Features::new(features.rows(), self.classes(), scores)
    }

    /// How many pictures are taken for what they should show, among all classes.
    ///
    /// # Errors
    /// Those of [`RidgeJudge::scores`]; [`EvalError::Mismatch`] if pictures and labels differ in number,
    /// [`EvalError::Label`] for a label outside the classes.
    pub fn recognition(
        &self,
        features: &Features,
        labels: &[usize],
    ) -> Result<Recognition, EvalError> {
        check_labels(features, labels, self.classes())?;
        let scores = self.scores(features)?;
        let classes: Vec<usize> = (0..self.classes()).collect();
        Ok(Recognition::of(labels, &classes, |picture, class| {
            scores.row(picture)[class]
        }))
    }

    /// Features in units of their deviations from the mean, `[pictures, dim]`.
    fn standardized(&self, features: &Features) -> Vec<f64> {
        let moments = || self.mean.iter().zip(&self.deviation);
        let mut out: Vec<f64> = features.values().iter().map(|&v| f64::from(v)).collect();
        out.par_chunks_exact_mut(features.dim()).for_each(|row| {
            for (v, (mean, deviation)) in row.iter_mut().zip(moments()) {
                *v = (*v - mean) / deviation;
            }
        });
        out
    }
}

/// Mean and deviation (by n − 1) of each feature.
fn moments(features: &Features) -> (Vec<f64>, Vec<f64>) {
    let (rows, dim) = (features.rows() as f64, features.dim());
    let over_rows = |value: &dyn Fn(usize, f64) -> f64| {
        let mut sums = vec![0.0; dim];
        for row in features.values().chunks_exact(dim) {
            for (at, (sum, &v)) in sums.iter_mut().zip(row).enumerate() {
                *sum += value(at, f64::from(v));
            }
        }
        sums
    };
    let mut mean = over_rows(&|_, v| v);
    for sum in &mut mean {
        *sum /= rows;
    }
    let mut deviation = over_rows(&|at, v| (v - mean[at]).powi(2));
    for sum in &mut deviation {
        *sum = (*sum / (rows - 1.0)).sqrt() + RidgeJudge::LEAST_DEVIATION;
    }
    (mean, deviation)
}

fn check_labels(features: &Features, labels: &[usize], classes: usize) -> Result<(), EvalError> {
    expect("labels", labels.len(), features.rows())?;
    match labels.iter().position(|&label| label >= classes) {
        None => Ok(()),
        Some(picture) => Err(EvalError::Label {
            picture,
            label: labels[picture],
            classes,
        }),
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::share::Share;

    /// Pictures of classes in turn: each class has a place, and pictures lie around it.
    fn pictures(rows: usize, classes: usize, dim: usize, seed: u64) -> (Features, Vec<usize>) {
        let mut places = ChaCha8Rng::seed_from_u64(0);
        let places: Vec<f32> = (0..classes * dim)
            .map(|_| places.random_range(-1.0..1.0))
            .collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let labels: Vec<usize> = (0..rows).map(|row| row % classes).collect();
        let values = labels
            .iter()
            .flat_map(|&label| &places[label * dim..][..dim]);
        let values = values.map(|place| 3.0 + place + rng.random_range(-0.6_f32..0.6));
        (Features::new(rows, dim, values.collect()).unwrap(), labels)
    }

    #[test]
    fn names_what_it_has_learned() {
        let (train, labels) = pictures(600, 30, 100, 1);
        let judge = RidgeJudge::fit(&train, &labels, 31, 10.0).unwrap();
        let (held_out, labels) = pictures(90, 30, 100, 2);
        let found = judge.recognition(&held_out, &labels).unwrap();
        assert!(
            found.r1.hits >= 85 && found.r10 == Share::new(90, 90),
            "{found:?}"
        );
        // Wrong labels are found by chance alone.
        let wrong: Vec<usize> = labels.iter().map(|label| (label + 11) % 30).collect();
        let found = judge.recognition(&held_out, &wrong).unwrap();
        assert!(found.r1.hits <= 3, "{found:?}");
        // The last class was never seen.
        let scores = judge.scores(&held_out).unwrap();
        assert!((0..90).all(|row| scores.row(row)[30] == 0.0));
    }

    #[test]
    fn satisfies_the_normal_equations() {
        // The gradient of the penalised loss is zero at the solution, which no solver is needed to see.
        let (train, labels) = pictures(80, 7, 90, 3);
        let lambda = 2.5;
        let judge = RidgeJudge::fit(&train, &labels, 7, lambda).unwrap();
        let inputs = judge.standardized(&train);
        let scores = products(&inputs, &judge.weights, 90);
        for class in 0..7 {
            let share = labels.iter().filter(|&&label| label == class).count() as f64 / 80.0;
            for at in [0, 41, 89] {
                let pull: f64 = (0..80)
                    .map(|row| {
                        let target = f64::from(u8::from(labels[row] == class)) - share;
                        inputs[row * 90 + at] * (target - scores[row * 7 + class])
                    })
                    .sum();
                let penalty = lambda * judge.weights[class * 90 + at];
                assert!((pull - penalty).abs() < 1e-9, "{pull} is not {penalty}");
            }
        }
    }

    #[test]
    fn a_feature_that_never_varies_does_not_count() {
        let (train, labels) = pictures(60, 5, 8, 4);
        let with_constant = |features: &Features, constant: f32| {
            let rows = features.values().chunks_exact(8);
            let values = rows.flat_map(|row| row.iter().copied().chain([constant]));
            Features::new(features.rows(), 9, values.collect()).unwrap()
        };
        let plain = RidgeJudge::fit(&train, &labels, 5, 1.0).unwrap();
        let other = RidgeJudge::fit(&with_constant(&train, 0.1), &labels, 5, 1.0).unwrap();
        let wanted = plain.scores(&train).unwrap();
        let found = other.scores(&with_constant(&train, 0.1)).unwrap();
        for (found, wanted) in found.values().iter().zip(wanted.values()) {
            assert!((found - wanted).abs() < 1e-6, "{found} is not {wanted}");
        }
    }

    #[test]
    fn refuses_bad_input() {
        let (train, labels) = pictures(20, 4, 6, 5);
        let fit = |features: &Features, labels: &[usize], lambda| {
            RidgeJudge::fit(features, labels, 4, lambda).unwrap_err()
        };
        for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(fit(&train, &labels, lambda), EvalError::Ridge(_)));
        }
        let error = fit(&train, &labels[..19], 1.0);
        assert!(matches!(error, EvalError::Mismatch { .. }), "{error}");
        let one = train.select(&[0]).unwrap();
        let error = fit(&one, &labels[..1], 1.0);
        assert!(
            matches!(error, EvalError::Mismatch { got: 1, .. }),
            "{error}"
        );
        let error = fit(&train, &[4; 20], 1.0);
        assert!(
            matches!(
                error,
                EvalError::Label {
                    label: 4,
                    classes: 4,
                    ..
                }
            ),
            "{error}"
        );
        // Each feature twice: without a penalty to speak of there is no single answer.
        let twice = train.values().chunks_exact(6);
        let twice = twice.flat_map(|row| [row, row].concat()).collect();
        let error = fit(&Features::new(20, 12, twice).unwrap(), &labels, 1e-300);
        assert!(matches!(error, EvalError::Singular(_)), "{error}");

        let judge = RidgeJudge::fit(&train, &labels, 4, 1.0).unwrap();
        let narrow = Features::new(20, 3, vec![0.0; 60]).unwrap();
        for error in [
            judge.scores(&narrow).unwrap_err(),
            judge.recognition(&train, &labels[..5]).unwrap_err(),
        ] {
            assert!(matches!(error, EvalError::Mismatch { .. }), "{error}");
        }
        let error = judge.recognition(&train, &[9; 20]).unwrap_err();
        assert!(matches!(error, EvalError::Label { .. }), "{error}");
    }
}
