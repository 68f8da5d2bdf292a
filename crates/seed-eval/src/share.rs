//! A share that was counted: how many of how many, and how sure that is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::numbers::thousands;

/// How many of how many. Written as `26.0 % (345 of 1,327)`; a precision says how many digits the percentage has.
///
/// A bare percentage hides both how many were judged and on which side of a rounded figure the count lies. A share of
/// none, which is the default, stands for what was not measured.
///
/// ```
/// use seed_eval::Share;
/// let exact = Share::count(["cat", "dog", "sun"].map(|caption| caption == "cat"));
/// assert_eq!(exact, Share::new(1, 3));
/// assert_eq!(exact.to_string(), "33.3 % (1 of 3)");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Counts")]
pub struct Share {
    /// Those that are as they should be, at most `of`.
    pub hits: u64,
    /// All that were judged.
    pub of: u64,
}

/// More hits than were judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a share of {hits} hits of {of} is none: `hits` must be at most `of`")]
pub struct TooManyHits {
    /// The hits given.
    pub hits: u64,
    /// How many were judged.
    pub of: u64,
}

impl Share {
    /// `hits` of `of`.
    pub fn new(hits: usize, of: usize) -> Self {
        let (hits, of) = (hits as u64, of as u64);
        Self { hits, of }
    }

    /// Counts those that are true.
    pub fn count(outcomes: impl IntoIterator<Item = bool>) -> Self {
        let mut share = Self::default();
        for hit in outcomes {
            share.hits += u64::from(hit);
            share.of += 1;
        }
        share
    }

    /// Whether anything was judged.
    pub fn is_measured(self) -> bool {
        self.of > 0
    }

    /// In percent, 0–100; NaN of none.
    pub fn percent(self) -> f64 {
        100.0 * self.hits as f64 / self.of as f64
    }

    /// Wilson's score interval in percent, `z` standard deviations to either side: 1.96 for 95 %. Unlike the normal
    /// approximation it is never empty and stays within 0–100, also for none or all of a few. Of a share of none it is
    /// all of 0–100.
    ///
    /// Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    pub fn wilson(self, z: f64) -> (f64, f64) {
        let (centre, half) = self.wilson_centre(z);
        ((centre - half).max(0.0), (centre + half).min(100.0))
    }

    /// The standard error in points: half the width of Wilson's interval at `z = 1`. For many judged it is the usual
    /// `√(p(1−p)/n)`; where none or all of them are hits, that would be 0, and this is not. NaN of none.
    pub fn standard_error(self) -> f64 {
        if self.is_measured() {
            self.wilson_centre(1.0).1
        } else {
            f64::NAN
        }
    }

    /// `345 of 1,327`.
    pub fn counts(self) -> String {
        format!("{} of {}", thousands(self.hits), thousands(self.of))
    }

    /// Centre and half width of Wilson's interval, in percent.
    fn wilson_centre(self, z: f64) -> (f64, f64) {
        let (hits, n, z2) = (self.hits as f64, self.of as f64, z * z);
        let spread = hits * (n - hits) / n.max(1.0);
        let half = z * (spread + z2 / 4.0).sqrt();
        (
            100.0 * (hits + z2 / 2.0) / (n + z2),
            100.0 * half / (n + z2),
        )
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_measured() {
            let digits = f.precision().unwrap_or(1);
            write!(f, "{:.digits$} % ({})", self.percent(), self.counts())
        } else {
            write!(f, "– ({})", self.counts())
        }
    }
}

/// A share as it is written, before it is known to be one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    hits: u64,
    of: u64,
}

impl TryFrom<Counts> for Share {
    type Error = TooManyHits;

    fn try_from(Counts { hits, of }: Counts) -> Result<Self, TooManyHits> {
        if hits > of {
            return Err(TooManyHits { hits, of });
        }
        Ok(Self { hits, of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two-sided 95 % quantile of the normal distribution.
    const Z95: f64 = 1.959_963_984_540_054;

    #[track_caller]
    fn close(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-6, "{found} is not {wanted}");
    }

    #[test]
    fn wilson_is_the_published_formula() {
        // By the formula in rational arithmetic with 50 digits.
        for (share, low, high) in [
            (Share::new(345, 1327), 23.710_190_441, 28.425_355_399),
            (Share::new(0, 149), 0.0, 2.513_361_787),
            (Share::new(149, 149), 97.486_638_213, 100.0),
        ] {
            let (found_low, found_high) = share.wilson(Z95);
            close(found_low, low);
            close(found_high, high);
        }
        assert_eq!(Share::default().wilson(Z95), (0.0, 100.0));
    }

    #[test]
    fn wilson_covers_as_often_as_it_says() {
        // Exact coverage over all outcomes of 40 trials.
        for p in [0.02_f64, 0.1, 0.26, 0.5, 0.9] {
            let n = 40;
            let mut probability = (1.0 - p).powi(n as i32);
            let mut covered = 0.0;
            for hits in 0..=n {
                let (low, high) = Share::new(hits, n).wilson(Z95);
                if (low..=high).contains(&(100.0 * p)) {
                    covered += probability;
                }
                probability *= (n - hits) as f64 / (hits + 1) as f64 * p / (1.0 - p);
            }
            assert!((0.90..=0.99).contains(&covered), "{p}: {covered}");
        }
    }

    #[test]
    fn standard_error_is_half_of_wilson_at_one() {
        let share = Share::new(345, 1327);
        let (low, high) = share.wilson(1.0);
        close(share.standard_error(), (high - low) / 2.0);
        // Nearly √(p(1−p)/n), which says 0 of what is never or always so.
        assert!((share.standard_error() - 1.2041).abs() < 1e-3);
        assert!(Share::new(0, 149).standard_error() > 0.3);
        let (none, all) = (Share::new(0, 149), Share::new(149, 149));
        close(none.standard_error(), all.standard_error());
        assert!(Share::default().standard_error().is_nan());
    }

    #[test]
    fn is_written_with_its_counts() {
        assert_eq!(Share::new(345, 1327).to_string(), "26.0 % (345 of 1,327)");
        assert_eq!(
            format!("{:.2}", Share::new(345, 1327)),
            "26.00 % (345 of 1,327)"
        );
        assert_eq!(Share::default().to_string(), "– (0 of 0)");
        assert!(Share::default().percent().is_nan());
    }

    #[test]
    fn survives_json_and_refuses_what_is_no_share() {
        let share = Share::count([true, false, true, true]);
        let json = serde_json::to_string(&share).unwrap();
        assert_eq!(json, r#"{"hits":3,"of":4}"#);
        assert_eq!(serde_json::from_str::<Share>(&json).unwrap(), share);
        for (wrong, part) in [
            (r#"{"hits":5,"of":4}"#, "5 hits of 4"),
            (r#"{"hits":1,"of":4,"n":4}"#, "unknown field `n`"),
            (r#"{"hits":1}"#, "missing field `of`"),
            ("26.0", "invalid type"),
        ] {
            let error = serde_json::from_str::<Share>(wrong).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
