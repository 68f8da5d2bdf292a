//! Two results held against each other.

use serde::Serialize;

/// One result of a case beside what it must be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// File and tensor, `outputs/block_0`, or the place in `expected.json`.
    pub name: String,
    /// Which number is held against the tolerance.
    pub measure: Measure,
    /// That number; infinite (`null` in JSON) where the two cannot be compared.
    pub error: f64,
    /// The most it may be.
    pub tolerance: f64,
    /// Largest difference of two entries.
    pub max_error: f64,
    /// Mean difference of two entries.
    pub mean_error: f64,
    /// Number of entries.
    pub entries: usize,
    /// Where the largest difference is, if there is one.
    pub worst: Option<Vec<usize>>,
    /// Why the two cannot be compared at all: another shape, NaN.
    pub problem: Option<String>,
}

/// Which number of a comparison is held against its tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The largest difference.
    Max,
    /// The mean difference.
    Mean,
    /// The difference that 99 % of the entries keep to.
    MostEntries,
    /// The number of entries that differ at all: of codes, ids and strings.
    Differing,
}

impl Comparison {
    /// Whether the error is within the tolerance.
    pub fn passed(&self) -> bool {
        self.problem.is_none() && self.error <= self.tolerance
    }

    /// Error over tolerance: at most 1 if passed, infinite where nothing may differ and something does.
    pub fn ratio(&self) -> f64 {
        if self.problem.is_some() || self.error.is_nan() {
            f64::INFINITY
        } else if self.error <= 0.0 {
            0.0
        } else {
            self.error / self.tolerance
        }
    }
}

/// What a case computes or holds as golden.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    Numbers {
        shape: Vec<usize>,
        entries: Vec<f64>,
    },
    /// Texts, or rows of ids of different lengths.
    Rows(Vec<String>),
}

impl Values {
    pub(crate) fn scalar(value: f64) -> Self {
        Self::Numbers {
            shape: Vec::new(),
            entries: vec![value],
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Numbers { entries, .. } => entries.len(),
            Self::Rows(rows) => rows.len(),
        }
    }
}

/// How far two results may be apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rule {
    /// No two entries differ at all.
    Exact,
    /// No two entries are further apart than this.
    Within(f64),
    /// The same, as a share of the golden value; for scalars.
    Relative(f64),
    /// The mean difference is at most this.
    MeanWithin(f64),
    /// 99 % of the entries keep to `close` where there are many, and every one to `far`.
    Mostly { close: f64, far: f64 },
}

/// From this many entries on, a share of 99 % means something.
const MANY: usize = 50;

impl Rule {
    /// Holds `found` against `golden`: one comparison, two for [`Rule::Mostly`].
    pub(crate) fn compare(self, name: &str, found: &Values, golden: &Values) -> Vec<Comparison> {
        let differences = match differences(found, golden) {
            Ok(differences) => differences,
            Err(problem) => {
                return vec![Comparison {
                    name: name.to_owned(),
                    measure: Measure::Max,
                    error: f64::INFINITY,
                    tolerance: 0.0,
                    max_error: f64::INFINITY,
                    mean_error: f64::INFINITY,
                    entries: golden.len(),
                    worst: None,
                    problem: Some(problem),
                }];
            }
        };
        let entries = differences.len();
        let (worst, max_error) =
            differences
                .iter()
                .copied()
                .enumerate()
                .fold(
                    (0, 0.0),
                    |best, next| if next.1 > best.1 { next } else { best },
                );
        let mean_error = differences.iter().sum::<f64>() / entries.max(1) as f64;
        let comparison = |measure, error, tolerance| Comparison {
            name: name.to_owned(),
            measure,
            error,
            tolerance,
            max_error,
            mean_error,
            entries,
            worst: (max_error > 0.0).then(|| index(worst, golden)),
            problem: None,
        };
        match self {
            Self::Exact => {
                let differing = differences.iter().filter(|off| **off > 0.0).count();
                vec![comparison(Measure::Differing, differing as f64, 0.0)]
            }
            Self::Within(tolerance) => vec![comparison(Measure::Max, max_error, tolerance)],
            Self::Relative(share) => {
                let size = match golden {
                    Values::Numbers { entries, .. } => largest(entries),
                    Values::Rows(_) => 0.0,
                };
                vec![comparison(Measure::Max, max_error, share * size)]
            }
            Self::MeanWithin(tolerance) => vec![comparison(Measure::Mean, mean_error, tolerance)],
            Self::Mostly { close, far } => {
                let mut found = vec![comparison(Measure::Max, max_error, far)];
                if entries >= MANY {
                    let mut sorted = differences.clone();
                    sorted.sort_by(f64::total_cmp);
                    let most = sorted[(entries * 99).div_ceil(100) - 1];
                    found.push(comparison(Measure::MostEntries, most, close));
                }
                found
            }
        }
    }
}

/// The largest magnitude among some numbers.
pub(crate) fn largest(entries: &[f64]) -> f64 {
    entries
        .iter()
        .fold(0.0, |largest, entry| entry.abs().max(largest))
}

/// The difference of each pair of entries; of strings 1 where they differ.
fn differences(found: &Values, golden: &Values) -> Result<Vec<f64>, String> {
    if golden.len() == 0 {
        return Err("the golden value is empty".to_owned());
    }
    match (found, golden) {
        (
            Values::Numbers { shape, entries },
            Values::Numbers {
                shape: golden_shape,
                entries: golden,
            },
        ) => {
            if shape != golden_shape {
                return Err(format!(
                    "shape {shape:?} where {golden_shape:?} is expected"
                ));
            }
            for (side, entries) in [("", entries), (" of the other", golden)] {
                if let Some(place) = entries.iter().position(|entry| !entry.is_finite()) {
                    return Err(format!("entry {place}{side} is {}", entries[place]));
                }
            }
            let pairs = entries.iter().zip(golden);
            Ok(pairs
                .map(|(found, golden)| (found - golden).abs())
                .collect())
        }
        (Values::Rows(rows), Values::Rows(golden)) => {
            if rows.len() != golden.len() {
                return Err(format!(
                    "{} rows where {} are expected",
                    rows.len(),
                    golden.len()
                ));
            }
            let pairs = rows.iter().zip(golden);
            Ok(pairs
                .map(|(found, golden)| f64::from(u8::from(found != golden)))
                .collect())
        }
        _ => Err("numbers on one side, strings on the other".to_owned()),
    }
}

/// A flat position as one index a dimension.
fn index(mut flat: usize, values: &Values) -> Vec<usize> {
    let shape = match values {
        Values::Numbers { shape, .. } => shape.as_slice(),
        Values::Rows(_) => return vec![flat],
    };
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let here = flat % size;
            flat /= size;
            here
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(shape: &[usize], entries: &[f64]) -> Values {
        Values::Numbers {
            shape: shape.to_vec(),
            entries: entries.to_vec(),
        }
    }

    #[test]
    fn the_largest_difference_counts_and_is_located() {
        let golden = numbers(&[2, 3], &[0.0; 6]);
        let found = numbers(&[2, 3], &[0.0, 0.1, 0.0, 0.0, 0.0, -0.3]);
        let [comparison] = &Rule::Within(0.2).compare("x", &found, &golden)[..] else {
            panic!("one comparison")
        };
        assert!(!comparison.passed());
        assert_eq!(comparison.worst, Some(vec![1, 2]));
        assert!((comparison.mean_error - 0.4 / 6.0).abs() < 1e-12);
        assert!((comparison.ratio() - 1.5).abs() < 1e-12);
        assert!(Rule::Within(0.4).compare("x", &found, &golden)[0].passed());
        assert!(Rule::MeanWithin(0.1).compare("x", &found, &golden)[0].passed());
    }

    #[test]
    fn codes_and_strings_are_counted_not_measured() {
        let found = numbers(&[3], &[1.0, 2.0, 9.0]);
        let comparison = &Rule::Exact.compare("ids", &found, &numbers(&[3], &[1.0, 2.0, 3.0]))[0];
        assert_eq!(
            (comparison.measure, comparison.error),
            (Measure::Differing, 1.0)
        );
        assert!(!comparison.passed() && comparison.ratio().is_infinite());
        let rows = |rows: [&str; 2]| Values::Rows(rows.map(str::to_owned).to_vec());
        assert!(Rule::Exact.compare("text", &rows(["a", "b"]), &rows(["a", "b"]))[0].passed());
        assert!(!Rule::Exact.compare("text", &rows(["a", "b"]), &rows(["a", "c"]))[0].passed());
    }

    #[test]
    fn most_entries_must_be_close_and_all_must_not_be_far() {
        let golden = numbers(&[200], &[0.0; 200]);
        let rule = Rule::Mostly {
            close: 1e-5,
            far: 1e-3,
        };
        let with = |count: usize, off: f64| {
            let mut entries = [0.0; 200];
            entries[..count].fill(off);
            let compared = rule.compare("x", &numbers(&[200], &entries), &golden);
            compared.iter().map(Comparison::passed).collect::<Vec<_>>()
        };
        assert_eq!(with(2, 5e-4), [true, true], "99 % are close");
        assert_eq!(with(3, 5e-4), [true, false], "98.5 % are close");
        assert_eq!(with(1, 2e-3), [false, true], "one is far");
    }

    #[test]
    fn what_cannot_be_compared_fails() {
        let golden = numbers(&[2], &[0.0, 1.0]);
        let lax = Rule::Within(1e9);
        for found in [
            numbers(&[1, 2], &[0.0, 1.0]),
            numbers(&[2], &[0.0, f64::NAN]),
            Values::Rows(vec!["0".to_owned()]),
        ] {
            let comparison = &lax.compare("x", &found, &golden)[0];
            assert!(!comparison.passed() && comparison.problem.is_some());
        }
        let nan = numbers(&[2], &[0.0, f64::NAN]);
        assert!(!lax.compare("x", &golden, &nan)[0].passed());
        let empty = numbers(&[0], &[]);
        assert!(!lax.compare("x", &empty, &empty)[0].passed());
        let scalar = Rule::Relative(0.1).compare("x", &Values::scalar(1.2), &Values::scalar(1.0));
        assert!(!scalar[0].passed());
    }
}
