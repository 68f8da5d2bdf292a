//! Functions of numbers, and sums of them, that are compiled for the widest vectors of the processor where they are used.

// What runs inside `Arch::dispatch` must be inlined there to be compiled for its vectors.
#![expect(clippy::inline_always)]

/// Partial sums kept side by side, so that additions fill a vector register.
const LANES: usize = 16;

/// Sum of `term(i)` for `i` below `count`.
#[inline(always)]
pub(super) fn sum_of(count: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = count / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += term(start + lane);
        }
    }
    let rest: f32 = (whole..count).map(&term).sum();
    lanes.iter().sum::<f32>() + rest
}

/// `exp(x)` for `x ≤ 0`, within 2e-7 of it.
#[inline(always)]
pub(super) fn exp_negative(x: f32) -> f32 {
    // x = n·ln 2 + rest; adding and taking away 1.5·2²³ rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let rest = n.mul_add(-0.693_359_4, x);
    let rest = n.mul_add(2.121_944_4e-4, rest);
    let series = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    let value = polynomial(&series, rest).mul_add(rest * rest, rest + 1.0);
    f32::from_bits((value.to_bits() as i32 + ((n as i32) << 23)) as u32)
}

/// Horner's rule, the highest power first.
#[inline(always)]
pub(super) fn polynomial<const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    coefficients
        .iter()
        .skip(1)
        .fold(coefficients[0], |sum, &c| sum.mul_add(x, c))
}
