//! Structural similarity.

use crate::error::EvalError;

use super::picture::{CHANNELS, Picture, check_same_size};

/// Side of the window, in pixels.
pub(super) const WINDOW: usize = 11;
/// Deviation of the Gaussian in it.
const SIGMA: f64 = 1.5;
// (0.01 · 1)² and (0.03 · 1)², for values from 0 to 1.
const C1: f64 = 1e-4;
const C2: f64 = 9e-4;

/// SSIM of two pictures, −1 to 1: mean, contrast and structure compared within each window of 11×11 pixels with Gaussian
/// weights, averaged over the windows that lie wholly in the picture, and over the colours.
///
/// - paper: Z. Wang, A. Bovik, H. Sheikh, E. Simoncelli, "Image quality assessment", 2004
///
/// The same number as scikit-image's `structural_similarity` with `gaussian_weights`, `use_sample_covariance` off and
/// `data_range` 1.
///
/// # Errors
/// [`EvalError::PictureSizes`] if they differ in size, [`EvalError::PictureTooSmall`] below 11 pixels a side.
pub fn ssim(original: Picture<'_>, other: Picture<'_>) -> Result<f64, EvalError> {
    check_same_size(original, other)?;
    check_window(original)?;
    let size = [original.height(), original.width()];
    let weights = gaussian();
    let blur = |values: Vec<f64>| blurred(&values, size, &weights);
    let planes = original.planes().zip(other.planes());
    let sum: f64 = planes
        .map(|(a, b)| {
            let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
            let mean_a = blur(pairs().map(|(a, _)| a).collect());
            let mean_b = blur(pairs().map(|(_, b)| b).collect());
            let square_a = blur(pairs().map(|(a, _)| a * a).collect());
            let square_b = blur(pairs().map(|(_, b)| b * b).collect());
            let product = blur(pairs().map(|(a, b)| a * b).collect());
            let windows = (0..product.len()).map(|at| {
                let (a, b) = (mean_a[at], mean_b[at]);
                let covariance = product[at] - a * b;
                let variances = square_a[at] - a * a + square_b[at] - b * b;
                (2.0 * a * b + C1) * (2.0 * covariance + C2)
                    / ((a * a + b * b + C1) * (variances + C2))
            });
            windows.sum::<f64>() / product.len() as f64
        })
        .sum();
    Ok(sum / CHANNELS as f64)
}

/// Refuses a picture that no window lies in.
pub(super) fn check_window(picture: Picture<'_>) -> Result<(), EvalError> {
    let [height, width] = [picture.height(), picture.width()];
    if height.min(width) >= WINDOW {
        return Ok(());
    }
    Err(EvalError::PictureTooSmall {
        height,
        width,
        least: WINDOW,
    })
}

/// The weights along one axis; their sum is 1.
fn gaussian() -> [f64; WINDOW] {
    let weights: [f64; WINDOW] = std::array::from_fn(|at| {
        let off = at as f64 - (WINDOW / 2) as f64;
        (-off * off / (2.0 * SIGMA * SIGMA)).exp()
    });
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

/// The weighted mean of each window: `[height, width]` to `[height − 10, width − 10]`, first along the rows.
fn blurred(values: &[f64], [height, width]: [usize; 2], weights: &[f64; WINDOW]) -> Vec<f64> {
    let columns = width - (WINDOW - 1);
    let mean = |window: &[f64]| -> f64 { window.iter().zip(weights).map(|(v, w)| v * w).sum() };
    let rows: Vec<f64> = values
        .chunks_exact(width)
        .flat_map(|row| row.windows(WINDOW).map(mean))
        .collect();
    let mut out = vec![0.0; (height - (WINDOW - 1)) * columns];
    for (row, out) in out.chunks_exact_mut(columns).enumerate() {
        for (offset, weight) in weights.iter().enumerate() {
            let values = &rows[(row + offset) * columns..][..columns];
            for (out, value) in out.iter_mut().zip(values) {
                *out += weight * value;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_picture_with_itself_is_1_and_of_its_negative_below_0() {
        let values: Vec<f32> = (0..3 * 12 * 13)
            .map(|i| (i * 37 % 101) as f32 / 101.0)
            .collect();
        let negative: Vec<f32> = values.iter().map(|v| 1.0 - v).collect();
        let [a, b] = [&values, &negative].map(|values| Picture::new(values, 12, 13).unwrap());
        assert!((ssim(a, a).unwrap() - 1.0).abs() < 1e-12);
        assert!(ssim(a, b).unwrap() < -0.5);
    }

    #[test]
    fn flat_pictures_are_compared_by_their_levels() {
        // Without variance: (2ab + C1) / (a² + b² + C1).
        let [dark, light] = [[0.2_f32; 3 * 11 * 11], [0.6; 3 * 11 * 11]];
        let [a, b] = [&dark, &light].map(|values| Picture::new(values, 11, 11).unwrap());
        let wanted = (2.0 * 0.12 + C1) / (0.04 + 0.36 + C1);
        let found = ssim(a, b).unwrap();
        assert!((found - wanted).abs() < 1e-6, "{found} is not {wanted}");
    }

    #[test]
    fn refuses_what_it_cannot_compare() {
        let values = [0.5_f32; 3 * 11 * 12];
        let picture =
            |height, width| Picture::new(&values[..3 * height * width], height, width).unwrap();
        let error = ssim(picture(11, 12), picture(12, 11)).unwrap_err();
        assert!(matches!(error, EvalError::PictureSizes { .. }), "{error}");
        let error = ssim(picture(10, 12), picture(10, 12)).unwrap_err();
        assert!(
            matches!(error, EvalError::PictureTooSmall { height: 10, .. }),
            "{error}"
        );
    }
}
