//! Parts of a set, and a stable way to hold pairs out of a user's own pictures.

use std::sync::Arc;

use image::RgbImage;

use crate::error::DataError;
use crate::pair::PairSet;

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

    fn candidates(&self, index: usize) -> &[String] {
        self.set.candidates(self.indices[index])
    }

    fn references(&self, index: usize) -> &[String] {
        self.set.references(self.indices[index])
    }

    fn concept(&self, index: usize) -> usize {
        self.set.concept(self.indices[index])
    }

    fn picture(&self, index: usize) -> Result<RgbImage, DataError> {
        self.set.picture(self.indices[index])
    }

    fn content(&self, index: usize) -> [u8; 32] {
        self.set.content(self.indices[index])
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

/// Splits a set into training and held-out pairs, in this order; both keep the set's order.
///
/// A pair is held out if the hash of `split_seed` and of its picture ([`PairSet::content`]), as a share
/// of all hashes, is below `fraction`. That depends on no other pair: adding pictures, removing or
/// renaming them moves none to the other side, and the same picture twice lies on one side. The share
/// that is held out is near `fraction`, not equal to it. A set of a single picture is not split: it is
/// all for training.
///
/// # Errors
/// [`DataError::HeldOutShare`] unless `fraction` lies between 0 and 1;
/// [`DataError::NothingHeldOut`] if one side would be empty.
pub fn split_held_out(
    set: &Arc<dyn PairSet>,
    split_seed: u64,
    fraction: f64,
) -> Result<(PairSubset, PairSubset), DataError> {
    /// Seeds that are tried for the sake of the message.
    const TRIED: u64 = 1000;
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(DataError::HeldOutShare { fraction });
    }
    let contents: Vec<[u8; 32]> = (0..set.len()).map(|index| set.content(index)).collect();
    let held_out = |seed: u64| {
        let held_out = contents
            .iter()
            .map(|content| share(seed, content) < fraction);
        held_out.collect::<Vec<bool>>()
    };
    let part = |held: &[bool], side: bool| {
        let indices = (0..held.len()).filter(|&index| held[index] == side);
        PairSubset::new(Arc::clone(set), indices.collect())
    };
    if contents.iter().all(|content| *content == contents[0]) {
        let training = vec![false; contents.len()];
        return Ok((part(&training, false), part(&training, true)));
    }
    let count = |held: &[bool]| held.iter().filter(|&&held| held).count();
    let parts = |count: &usize| (1..contents.len()).contains(count);
    let chosen = held_out(split_seed);
    if !parts(&count(&chosen)) {
        let mut others = (0..TRIED).map(|seed| (seed, count(&held_out(seed))));
        return Err(DataError::NothingHeldOut {
            pictures: contents.len(),
            held_out: count(&chosen),
            split_seed,
            works: others.find(|(_, count)| parts(count)),
        });
    }
    Ok((part(&chosen, false), part(&chosen, true)))
}

/// The hash of a seed and a picture as a number in 0..1.
fn share(split_seed: u64, content: &[u8; 32]) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&split_seed.to_le_bytes());
    hasher.update(content);
    let mut start = [0; 8];
    hasher.finalize_xof().fill(&mut start);
    u64::from_le_bytes(start) as f64 / 2.0_f64.powi(64)
}
