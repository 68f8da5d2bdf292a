//! Draws that transforms have in common.

use rand::{Rng, RngExt};

/// Uniform in `[low, high)`; bounds in either order, or equal, are fine.
pub(super) fn between(rng: &mut impl Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

/// True with the given probability. Draws nothing when the probability is 0.
pub(super) fn chance(rng: &mut impl Rng, probability: f32) -> bool {
    probability > 0.0 && rng.random::<f32>() < probability
}
