//! What a run of a kit found.

use serde::Serialize;

use crate::comparison::Comparison;

/// A whole kit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KitResult {
    /// Its cases, in the order of their names.
    pub cases: Vec<CaseResult>,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseResult {
    /// Name of its folder.
    pub name: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It ran; each comparison may have passed or not.
    Compared {
        /// At least one.
        comparisons: Vec<Comparison>,
        /// Golden values of the case that were not compared.
        left_out: Vec<LeftOut>,
    },
    /// Its model is not built here.
    Skipped {
        /// Which.
        reason: String,
    },
    /// It could not be run.
    Failed {
        /// Why, and where.
        reason: String,
    },
}

/// Golden values of a case that nothing was compared with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeftOut {
    /// File and tensor, or a pattern such as `a_vision/*`.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// How many cases ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Cases of which every comparison passed.
    pub passed: usize,
    /// Cases that could not be run, or of which a comparison did not pass.
    pub failed: usize,
    /// Cases whose model is not built here.
    pub skipped: usize,
    /// Comparisons of all cases.
    pub comparisons: usize,
}

impl CaseResult {
    /// Whether it ran and every comparison passed.
    pub fn passed(&self) -> bool {
        let comparisons = self.comparisons();
        !comparisons.is_empty() && comparisons.iter().all(Comparison::passed)
    }

    /// Whether its model is not built here.
    pub fn skipped(&self) -> bool {
        matches!(self.outcome, Outcome::Skipped { .. })
    }

    /// Its comparisons; none if it was skipped or could not be run.
    pub fn comparisons(&self) -> &[Comparison] {
        match &self.outcome {
            Outcome::Compared { comparisons, .. } => comparisons,
            Outcome::Skipped { .. } | Outcome::Failed { .. } => &[],
        }
    }

    /// The comparison nearest to its tolerance, or furthest beyond.
    pub fn worst(&self) -> Option<&Comparison> {
        let by_ratio = |a: &&Comparison, b: &&Comparison| a.ratio().total_cmp(&b.ratio());
        self.comparisons().iter().max_by(by_ratio)
    }
}

impl KitResult {
    /// Whether something passed and nothing failed.
    pub fn passed(&self) -> bool {
        let counts = self.counts();
        counts.passed > 0 && counts.failed == 0
    }

    /// How many cases ended how.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for case in &self.cases {
            counts.comparisons += case.comparisons().len();
            if case.passed() {
                counts.passed += 1;
            } else if case.skipped() {
                counts.skipped += 1;
            } else {
                counts.failed += 1;
            }
        }
        counts
    }
}
