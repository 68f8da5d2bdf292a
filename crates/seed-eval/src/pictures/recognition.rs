//! How many pictures are taken for what they should show.

use serde::{Deserialize, Serialize};

use crate::{
    error::EvalError,
    features::{Features, dot},
    retrieval::{expect, ranks},
    share::Share,
};

/// Pictures for which what they should show comes first, and among the first ten. [`Share::wilson`] says how sure that is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recognition {
    /// R@1.
    pub r1: Share,
    /// R@10.
    pub r10: Share,
}

impl Recognition {
    /// How many of the queries find a candidate of their concept, by the cosine of their features: drawn pictures among
    /// captions, or among real pictures. Ties count against the queries, as everywhere in retrieval; a query whose concept
    /// no candidate has is not found.
    ///
    /// # Errors
    /// [`EvalError::Mismatch`] if rows and concepts or the widths disagree, [`EvalError::ZeroRow`].
    pub fn by_cosine(
        queries: &Features,
        query_concepts: &[usize],
        candidates: &Features,
        candidate_concepts: &[usize],
    ) -> Result<Self, EvalError> {
        expect("concepts of queries", query_concepts.len(), queries.rows())?;
        expect(
            "concepts of candidates",
            candidate_concepts.len(),
            candidates.rows(),
        )?;
        expect(
            "width of candidate features",
            candidates.dim(),
            queries.dim(),
        )?;
        let (queries, candidates) = (
            queries.clone().normalize()?,
            candidates.clone().normalize()?,
        );
        Ok(Self::of(
            query_concepts,
            candidate_concepts,
            |query, candidate| dot(queries.row(query), candidates.row(candidate)),
        ))
    }

    /// From the score of each query with each candidate, the higher the better.
    pub(super) fn of(
        queries: &[usize],
        candidates: &[usize],
        score: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        let ranks = ranks(queries, candidates, score);
        // Where no candidate is right, each wrong one comes before it, however few they are.
        let found = |query: usize, k| ranks[query] < k && candidates.contains(&queries[query]);
        let within = |k| Share::count((0..ranks.len()).map(|query| found(query, k)));
        Self {
            r1: within(1),
            r10: within(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_found() {
        let queries = Features::new(4, 2, vec![1.0, 0.1, 0.1, 1.0, 1.0, 0.0, 0.0, 2.0]).unwrap();
        let candidates = Features::new(2, 2, vec![5.0, 0.0, 0.0, 0.5]).unwrap();
        let found = Recognition::by_cosine(&queries, &[7, 8, 8, 9], &candidates, &[7, 8]).unwrap();
        // The third finds 7 first, and what the fourth shows nothing else does.
        assert_eq!(found.r1, Share::new(2, 4));
        assert_eq!(found.r10, Share::new(3, 4));
    }

    #[test]
    fn a_model_that_gives_one_vector_finds_nothing() {
        let same = Features::new(3, 2, vec![0.6, 0.8, 0.6, 0.8, 0.6, 0.8]).unwrap();
        let found = Recognition::by_cosine(&same, &[0, 1, 2], &same, &[0, 1, 2]).unwrap();
        assert_eq!(found.r1, Share::new(0, 3));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let features = |rows, dim| Features::new(rows, dim, vec![1.0; rows * dim]).unwrap();
        let find = |queries, concepts: &[usize]| {
            Recognition::by_cosine(&queries, concepts, &features(2, 2), &[0, 1]).unwrap_err()
        };
        for error in [find(features(2, 2), &[0]), find(features(1, 3), &[0])] {
            assert!(matches!(error, EvalError::Mismatch { .. }), "{error}");
        }
    }
}
