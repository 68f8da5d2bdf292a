//! Noise with the statistics of normalised pictures: nothing is easier about it.

/// The same values at each call.
pub(crate) fn uniform_rows(count: usize, length: usize) -> Vec<Vec<f32>> {
    let mut state = 42u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        4.0 * ((state >> 40) as f32 / (1 << 24) as f32) - 2.0
    };
    (0..count)
        .map(|_| (0..length).map(|_| uniform()).collect())
        .collect()
}
