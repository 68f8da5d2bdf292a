//! First the answer: competitors must compute the same numbers before their times mean anything.

use super::works::{Answer, Work};

/// What is compared of a training step; accuracies and the like jump where rounding decides.
const TERMS: [&str; 7] = [
    "itc",
    "contrast",
    "prototype",
    "quantization",
    "reconstruction",
    "text",
    "gradient_norm",
];
/// Steps that are compared. From the second on, backward pass, clipping and AdamW are seen, too.
pub(crate) const STEPS: u64 = 3;
/// Largest relative difference in the first step, the forward pass.
const FIRST: f64 = 1e-4;
/// Largest relative difference in later steps and of the gradients' norm.
const LATER: f64 = 1e-3;
/// Least share of equal codes.
const CODES: f64 = 0.99;

/// Says how well two answers agree, or where they do not.
pub(crate) fn compare(work: Work, expected: &Answer, found: &Answer) -> Result<String, String> {
    if work == Work::Encode {
        return compare_codes(&expected.codes, &found.codes);
    }
    let mut worst = 0.0f64;
    let mut compared = 0;
    for term in TERMS {
        let (Some(expected), Some(found)) = (expected.values.get(term), found.values.get(term))
        else {
            continue;
        };
        if expected.len() != found.len() {
            return Err(format!(
                "{term}: {} steps against {}",
                expected.len(),
                found.len()
            ));
        }
        for (step, (expected, found)) in expected.iter().zip(found).enumerate() {
            let off = (found - expected).abs() / expected.abs().max(f64::MIN_POSITIVE);
            let forward = step == 0 && term != "gradient_norm";
            let allowed = if forward { FIRST } else { LATER };
            if off.is_nan() || off > allowed {
                return Err(format!(
                    "{term} of step {}: {found} where {expected} is expected \
                     (relative difference {off:.1e}, allowed {allowed:.0e})",
                    step + 1
                ));
            }
            worst = worst.max(off);
            compared += 1;
        }
    }
    if compared < 2 * STEPS {
        return Err(format!("only {compared} numbers to compare"));
    }
    Ok(format!(
        "{compared} loss terms and gradient norms of {STEPS} steps within {worst:.0e} \
         (allowed {FIRST:.0e}, after an update {LATER:.0e})"
    ))
}

fn compare_codes(expected: &[i64], found: &[i64]) -> Result<String, String> {
    if expected.is_empty() || expected.len() != found.len() {
        return Err(format!("{} codes against {}", expected.len(), found.len()));
    }
    let equal = expected.iter().zip(found).filter(|(a, b)| a == b).count();
    let share = equal as f64 / expected.len() as f64;
    let distinct = expected
        .iter()
        .collect::<std::collections::HashSet<_>>()
        .len();
    let text = format!(
        "{equal} of {} codes equal, {distinct} distinct (needed {:.0} %)",
        expected.len(),
        100.0 * CODES
    );
    if share >= CODES { Ok(text) } else { Err(text) }
}
