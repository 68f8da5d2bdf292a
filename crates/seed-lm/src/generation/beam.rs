//! Beam search with the semantics of transformers 4.57 (`_beam_search`).
//!
//! Of each item the best `2 · beams` continuations are looked at: those among the first `beams` that end are
//! finished, and the best `beams` that do not end run on. A finished hypothesis scores its sum of
//! log-probabilities divided by the number of generated tokens to the power of the length penalty.

/// A hypothesis, finished or running.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Generated ids, the end included.
    pub ids: Vec<u32>,
    /// Its score: with a finished one, after the length penalty.
    pub score: f64,
}

/// The beams of one item.
#[derive(Debug)]
pub(super) struct Beams {
    count: usize,
    length_penalty: f64,
    early_stopping: bool,
    /// Running hypotheses, best first; the same number always, those of −∞ being no hypotheses.
    pub(super) running: Vec<Hypothesis>,
    finished: Vec<Hypothesis>,
    closed: bool,
}

impl Beams {
    pub(super) fn new(beams: usize, length_penalty: f64, early_stopping: bool) -> Self {
        let running = (0..beams).map(|beam| Hypothesis {
            ids: Vec::new(),
            // All start alike: only the first may be continued.
            score: if beam == 0 { 0.0 } else { f64::NEG_INFINITY },
        });
        Self {
            count: beams,
            length_penalty,
            early_stopping,
            running: running.collect(),
            finished: Vec::new(),
            closed: false,
        }
    }

    /// Whether nothing can improve the finished hypotheses any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Goes one token further. `scores` are log-probabilities `[beams][vocabulary]`; `last` is true if no
    /// further token may follow. Which beam each running hypothesis now continues.
    pub(super) fn advance(
        &mut self,
        scores: &[Vec<f32>],
        end: Option<u32>,
        last: bool,
    ) -> Vec<usize> {
        let mut candidates: Vec<(f64, usize, u32)> = Vec::new();
        for (beam, (hypothesis, row)) in self.running.iter().zip(scores).enumerate() {
            if hypothesis.score == f64::NEG_INFINITY {
                continue;
            }
            for (id, score) in best(row, 2 * self.count) {
                candidates.push((hypothesis.score + f64::from(score), beam, id));
            }
        }
        candidates.sort_by(|a, b| {
            b.0.total_cmp(&a.0)
                .then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
        });
        candidates.truncate(2 * self.count);
        let continued = |(score, beam, id): (f64, usize, u32)| {
            let mut ids = self.running[beam].ids.clone();
            ids.push(id);
            Hypothesis { ids, score }
        };
        let mut running = Vec::new();
        let mut parents = Vec::new();
        let mut finished = Vec::new();
        for (rank, candidate) in candidates.into_iter().enumerate() {
            if candidate.0 == f64::NEG_INFINITY {
                continue;
            }
            if last || Some(candidate.2) == end {
                if rank < self.count && !self.closed {
                    finished.push(continued(candidate));
                }
            } else if running.len() < self.count {
                parents.push(candidate.1);
                running.push(continued(candidate));
            }
        }
        for mut hypothesis in finished {
            hypothesis.score /= (hypothesis.ids.len() as f64).powf(self.length_penalty);
            self.finished.push(hypothesis);
        }
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(self.count);
        while running.len() < self.count {
            // No hypothesis: it copies the first row and is never continued.
            parents.push(0);
            let ids = running
                .first()
                .map_or(Vec::new(), |h: &Hypothesis| h.ids.clone());
            running.push(Hypothesis {
                ids,
                score: f64::NEG_INFINITY,
            });
        }
        self.running = running;
        self.close();
        parents
    }

    fn close(&mut self) {
        let Some(worst) = self.finished.get(self.count - 1).map(|h| h.score) else {
            // Without a continuation there is nothing to wait for.
            self.closed |= self.running[0].score == f64::NEG_INFINITY;
            return;
        };
        let length = self.running[0].ids.len() as f64;
        let best = self.running[0].score / length.powf(self.length_penalty);
        self.closed |= self.early_stopping || best <= worst;
    }

    /// The finished hypotheses, best first; running ones if none has finished.
    pub(super) fn into_hypotheses(self) -> Vec<Hypothesis> {
        if self.finished.is_empty() {
            return self.running;
        }
        self.finished
    }
}

/// The highest entries with their indices, highest first; the first of equal ones.
fn best(row: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut order: Vec<u32> = (0..row.len() as u32).collect();
    let by_score = |a: &u32, b: &u32| {
        row[*b as usize]
            .total_cmp(&row[*a as usize])
            .then_with(|| a.cmp(b))
    };
    if count < order.len() {
        order.select_nth_unstable_by(count, by_score);
        order.truncate(count);
    }
    order.sort_by(by_score);
    order.into_iter().map(|id| (id, row[id as usize])).collect()
}
