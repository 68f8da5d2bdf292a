//! Parts of a set, and a stable way to hold pairs out of a user's own pictures.

use std::sync::Arc;

use image::RgbImage;

use crate::{DataError, PairSet};

/// Some pairs of a set, as a set of their own.
#[derive(Clone)]
pub struct PairSubset {
    set: Arc<dyn PairSet>,
    indices: Vec<usize>,
}

impl PairSubset {
    /// The pairs at these indices, in this order. Indices beyond the set are left out.
    pub fn new(set: Arc<dyn PairSet>, mut indices: Vec<usize>) -> Self {
        indices.retain(|&index| index < set.len());
        Self { set, indices }
    }

    /// The index that each pair has in the whole set.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl PairSet for PairSubset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn id(&self, index: usize) -> &str {
        self.set.id(self.indices[index])
    }

    fn captions(&self, index: usize) -> &[String] {
        self.set.captions(self.indices[index])
    }

    fn concept(&self, index: usize) -> usize {
        self.set.concept(self.indices[index])
    }

    fn picture(&self, index: usize) -> Result<RgbImage, DataError> {
        self.set.picture(self.indices[index])
    }

    fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.set.fingerprint());
        for &index in &self.indices {
            hasher.update(&(index as u64).to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Splits a set into training and validation: the `fraction` of the pairs (rounded) whose ids hash
/// lowest under the seed is held out, at least one of either side where the set has two pairs.
///
/// It depends on the ids, not on their order, so adding pictures to a folder moves few others to
/// the other side. Both parts keep the set's order.
pub fn split_fraction(
    set: &Arc<dyn PairSet>,
    seed: u64,
    fraction: f64,
) -> (PairSubset, PairSubset) {
    let len = set.len();
    let mut ranked: Vec<_> = (0..len).map(|i| (hash(seed, set.id(i)), i)).collect();
    ranked.sort_unstable();
    let held_out = (len as f64 * fraction.clamp(0.0, 1.0)).round() as usize;
    let held_out = if len >= 2 {
        held_out.clamp(1, len - 1)
    } else {
        0
    };
    let mut validation: Vec<_> = ranked[..held_out].iter().map(|&(_, i)| i).collect();
    let mut training: Vec<_> = ranked[held_out..].iter().map(|&(_, i)| i).collect();
    validation.sort_unstable();
    training.sort_unstable();
    (
        PairSubset::new(Arc::clone(set), training),
        PairSubset::new(Arc::clone(set), validation),
    )
}

fn hash(seed: u64, id: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(id.as_bytes());
    *hasher.finalize().as_bytes()
}
