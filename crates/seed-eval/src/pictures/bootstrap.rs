//! How sure a figure is: the same figure of other samples, drawn from the one at hand.

use std::fmt;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    nan::null_as_nan,
    numbers::{ABSENT, number},
};

/// The ends of the interval that holds 95 % of the resamples.
const ENDS: [f64; 2] = [0.025, 0.975];

/// A figure, and the interval that holds it in 95 of 100 samples like this one. NaN where nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The figure of all that was measured.
    #[serde(deserialize_with = "null_as_nan")]
    pub value: f64,
    /// Lower end.
    #[serde(deserialize_with = "null_as_nan")]
    pub low: f64,
    /// Upper end.
    #[serde(deserialize_with = "null_as_nan")]
    pub high: f64,
}

impl Estimate {
    /// Whether there is a figure at all.
    pub fn is_measured(&self) -> bool {
        self.value.is_finite()
    }

    /// The mean of draws, and the interval that holds 95 % of them.
    pub(super) fn of_draws(draws: Vec<f64>) -> Self {
        let value = draws.iter().sum::<f64>() / draws.len() as f64;
        let [low, high] = percentiles(draws, ENDS);
        Self { value, low, high }
    }

    /// The figure and its interval, times a factor that is not negative.
    pub(super) fn times(self, factor: f64) -> Self {
        Self {
            value: factor * self.value,
            low: factor * self.low,
            high: factor * self.high,
        }
    }
}

/// `61.2 (60.1–62.4)`; a precision says how many digits.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        if !self.is_measured() {
            return f.write_str(ABSENT);
        }
        write!(f, "{}", number(self.value, digits))?;
        if self.low.is_finite() && self.high.is_finite() {
            let [low, high] = [self.low, self.high].map(|end| number(end, digits));
            write!(f, " ({low}–{high})")?;
        }
        Ok(())
    }
}

/// How intervals are drawn: the percentile bootstrap, the same for the same seed on every machine and for any number of
/// threads.
///
/// Source: B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// Number of resamples; 0 for no interval, whose ends are then NaN.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            resamples: 1000,
            seed: 0,
        }
    }
}

impl Bootstrap {
    /// A figure of `rows` things; `statistic` is given which of them to take, each of `0..rows` once for the figure
    /// itself, and as many drawn with replacement for each resample.
    pub fn estimate(&self, rows: usize, statistic: impl Fn(&[usize]) -> f64 + Sync) -> Estimate {
        let all: Vec<usize> = (0..rows).collect();
        let [low, high] = self.interval(|rng| {
            let drawn: Vec<usize> = all.iter().map(|_| below(rng, rows)).collect();
            statistic(&drawn)
        });
        Estimate {
            value: statistic(&all),
            low,
            high,
        }
    }

    /// The mean of some values; NaN of none.
    pub fn mean(&self, values: &[f64]) -> Estimate {
        self.estimate(values.len(), |rows| {
            rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64
        })
    }

    /// The ends of the interval of a statistic that draws its own sample.
    pub(super) fn interval(&self, draw: impl Fn(&mut ChaCha8Rng) -> f64 + Sync) -> [f64; 2] {
        percentiles(self.draws(draw), ENDS)
    }

    /// What `draw` gives in each resample, in their order.
    pub(super) fn draws(&self, draw: impl Fn(&mut ChaCha8Rng) -> f64 + Sync) -> Vec<f64> {
        let resample = |index| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            // A stream for each resample, whichever thread it runs on.
            rng.set_stream(index as u64);
            draw(&mut rng)
        };
        (0..self.resamples).into_par_iter().map(resample).collect()
    }
}

/// Uniform in `0..most`; 0 of none.
pub(super) fn below(rng: &mut impl Rng, most: usize) -> usize {
    // Written out, so that it can never change with a version of `rand`.
    ((u128::from(rng.next_u64()) * most as u128) >> 64) as usize
}

/// Percentiles with linear interpolation between neighbours, as numpy's default; NaN of none, or of any NaN.
fn percentiles<const N: usize>(mut values: Vec<f64>, at: [f64; N]) -> [f64; N] {
    if values.is_empty() || values.iter().any(|value| value.is_nan()) {
        return [f64::NAN; N];
    }
    values.sort_unstable_by(f64::total_cmp);
    at.map(|share| {
        let place = share * (values.len() - 1) as f64;
        let [low, high] = [place.floor(), place.ceil()].map(|place| values[place as usize]);
        low + (high - low) * place.fract()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_numpy() {
        // numpy.percentile([3, 1, 4, 1, 5, 9, 2, 6], [0, 2.5, 50, 97.5, 100])
        let values = vec![3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0];
        let found = percentiles(values, [0.0, 0.025, 0.5, 0.975, 1.0]);
        for (found, wanted) in found.iter().zip([1.0, 1.0, 3.5, 8.475, 9.0]) {
            assert!((found - wanted).abs() < 1e-12, "{found} is not {wanted}");
        }
        assert!(percentiles(vec![], [0.5])[0].is_nan());
        assert!(percentiles(vec![1.0, f64::NAN], [0.5])[0].is_nan());
    }

    #[test]
    fn a_mean_is_as_sure_as_the_central_limit_says() {
        // Evenly spread in 0..1: the deviation is √(1/12).
        let values: Vec<f64> = (0..400).map(|i| (f64::from(i) + 0.5) / 400.0).collect();
        let bootstrap = Bootstrap {
            resamples: 20_000,
            ..Bootstrap::default()
        };
        let found = bootstrap.mean(&values);
        let half = 1.96 * (1.0 / 12.0_f64).sqrt() / 20.0;
        assert!((found.value - 0.5).abs() < 1e-12);
        assert!((found.low - (0.5 - half)).abs() < 0.05 * half, "{found:?}");
        assert!((found.high - (0.5 + half)).abs() < 0.05 * half, "{found:?}");
    }

    #[test]
    fn draws_depend_on_the_seed_alone() {
        let values: Vec<f64> = (0..30).map(|i| f64::from(i * i % 17)).collect();
        let draw = |seed, threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let bootstrap = Bootstrap {
                resamples: 50,
                seed,
            };
            let pool = pool.build().unwrap();
            pool.install(|| bootstrap.mean(&values))
        };
        assert_eq!(draw(1, 1), draw(1, 3));
        assert_ne!(draw(1, 1), draw(2, 1));
    }

    #[test]
    fn every_row_is_drawn_as_often() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[below(&mut rng, 7)] += 1;
        }
        for count in counts {
            // Six standard deviations.
            assert!(count.abs_diff(10_000) < 560, "{counts:?}");
        }
    }

    #[test]
    fn without_resamples_or_values_there_is_no_interval() {
        let none = Bootstrap {
            resamples: 0,
            seed: 0,
        };
        let found = none.mean(&[1.0, 2.0]);
        assert_eq!(found.to_string(), "1.5");
        assert!(found.low.is_nan() && found.high.is_nan());
        let empty = Bootstrap::default().mean(&[]);
        assert!(!empty.is_measured());
        assert_eq!(empty.to_string(), "–");
    }

    #[test]
    fn is_written_with_its_interval_and_survives_json() {
        let found = Estimate {
            value: 61.24,
            low: 60.06,
            high: f64::NAN,
        };
        let json = serde_json::to_string(&found).unwrap();
        let back: Estimate = serde_json::from_str(&json).unwrap();
        assert!(back.high.is_nan() && back.value.to_bits() == found.value.to_bits());
        let found = Estimate {
            high: 62.5,
            ..found
        };
        assert_eq!(found.to_string(), "61.2 (60.1–62.5)");
        assert_eq!(format!("{found:.2}"), "61.24 (60.06–62.50)");
        assert_eq!(
            serde_json::from_str::<Estimate>(&serde_json::to_string(&found).unwrap()).unwrap(),
            found
        );
    }
}
