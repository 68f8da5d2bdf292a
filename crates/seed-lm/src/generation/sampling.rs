//! One token out of a row of scores.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// The index of the highest score; the first of several.
pub(super) fn argmax(scores: &[f32]) -> u32 {
    let mut best = 0;
    for (index, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = index;
        }
    }
    best as u32
}

/// Draws an index by its probability, among the `top_k` most probable that together have the share `top_p`,
/// in the order of transformers: temperature, top-k, top-p.
pub(super) fn sample(
    scores: &[f32],
    temperature: f64,
    top_k: usize,
    top_p: f64,
    rng: &mut ChaCha8Rng,
) -> u32 {
    let scaled: Vec<f64> = scores
        .iter()
        .map(|score| f64::from(*score) / temperature)
        .collect();
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_by(|a, b| scaled[*b as usize].total_cmp(&scaled[*a as usize]));
    if top_k > 0 {
        order.truncate(top_k);
    }
    let highest = order.first().map_or(0.0, |id| scaled[*id as usize]);
    let mut weights: Vec<f64> = order
        .iter()
        .map(|id| (scaled[*id as usize] - highest).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    // The token that crosses the share is kept.
    let mut before = 0.0;
    let kept = weights
        .iter()
        .position(|weight| {
            before += weight / total;
            before >= top_p
        })
        .map_or(weights.len(), |last| last + 1);
    weights.truncate(kept);
    let mut left = rng.random_range(0.0..weights.iter().sum::<f64>());
    for (id, weight) in order.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return *id;
        }
    }
    // Rounding alone leads here.
    order[kept - 1]
}

/// Natural logarithms of the shares that the scores give.
pub(super) fn log_softmax(scores: &mut [f32]) {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores
        .iter()
        .map(|score| f64::from(score - highest).exp())
        .sum();
    let shift = highest + sum.ln() as f32;
    for score in scores {
        *score -= shift;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn only_the_most_probable_are_drawn() {
        let scores = [0.0, 3.0, 1.0, 2.0, f32::NEG_INFINITY];
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut drawn = [0; 5];
        for _ in 0..400 {
            drawn[sample(&scores, 1.0, 2, 1.0, &mut rng) as usize] += 1;
        }
        assert_eq!((drawn[0], drawn[2], drawn[4]), (0, 0, 0));
        // exp(3) to exp(2): 73 % to 27 %.
        assert!((250..340).contains(&drawn[1]), "{drawn:?}");
        for _ in 0..50 {
            assert_eq!(sample(&scores, 1.0, 0, 0.5, &mut rng), 1);
            assert_eq!(sample(&scores, 0.01, 0, 1.0, &mut rng), 1);
        }
    }

    #[test]
    fn shares_add_up_to_one() {
        let mut scores = [1.0, -2.0, f32::NEG_INFINITY, 30.0];
        log_softmax(&mut scores);
        let sum: f32 = scores.iter().map(|score| score.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert_eq!(argmax(&scores), 3);
    }
}
