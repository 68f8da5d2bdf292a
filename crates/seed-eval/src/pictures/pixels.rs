//! How true rebuilt pictures are, pixel by pixel.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{error::EvalError, retrieval::expect};

use super::{
    bootstrap::{Bootstrap, Estimate},
    picture::{CHANNELS, Picture, check_same_size},
    sharpness::sharpness,
    ssim::{check_window, ssim},
};

/// The mean squared error of pictures that agree: their PSNR is 100 dB, and not without end.
const LEAST_ERROR: f64 = 1e-10;

/// What pictures lose on the way through an autoencoder. The intervals are over pictures.
///
/// ```
/// # use seed_eval::pictures::{Bootstrap, Picture, PixelScores};
/// let [original, rebuilt] = [vec![0.4; 3 * 16 * 16], vec![0.5; 3 * 16 * 16]];
/// let original = Picture::batch(&original, 16, 16)?;
/// let rebuilt = Picture::batch(&rebuilt, 16, 16)?;
/// let scores = PixelScores::measure(&original, &rebuilt, Bootstrap::default())?;
/// assert_eq!(format!("{:.2}", scores.psnr.value), "20.00");
/// # Ok::<(), seed_eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelScores {
    /// How many pictures were measured.
    pub pictures: usize,
    /// Mean of the pictures' [`psnr`], dB.
    pub psnr: Estimate,
    /// How many of them are not white all over.
    pub drawn: usize,
    /// Mean of those pictures' [`psnr_drawn`], dB: over what is drawn, without the paper around it. NaN if there are none.
    pub psnr_drawn: Estimate,
    /// Mean of the pictures' [`ssim`], −1 to 1.
    pub ssim: Estimate,
    /// Mean [`sharpness`] of the rebuilt pictures as a share of the originals': below 1 if they are blurred. NaN if the
    /// originals have no edges.
    pub sharpness: Estimate,
}

impl PixelScores {
    /// Compares each picture with the original in the same place. Pictures run on rayon's threads.
    ///
    /// # Errors
    /// [`EvalError::Empty`], [`EvalError::Mismatch`] if they differ in number, [`EvalError::PictureSizes`] if two differ in
    /// size, [`EvalError::PictureTooSmall`] below 11 pixels a side.
    pub fn measure(
        originals: &[Picture<'_>],
        rebuilt: &[Picture<'_>],
        bootstrap: Bootstrap,
    ) -> Result<Self, EvalError> {
        if originals.is_empty() {
            return Err(EvalError::Empty("pictures"));
        }
        expect("rebuilt pictures", rebuilt.len(), originals.len())?;
        let measured: Vec<Measured> = originals
            .par_iter()
            .zip(rebuilt)
            .map(|(&original, &rebuilt)| Measured::new(original, rebuilt))
            .collect::<Result<_, _>>()?;
        let each =
            |value: fn(&Measured) -> f64| -> Vec<f64> { measured.iter().map(value).collect() };
        let drawn: Vec<f64> = measured.iter().filter_map(|one| one.psnr_drawn).collect();
        let [before, after] = [each(|one| one.sharpness[0]), each(|one| one.sharpness[1])];
        let sum = |values: &[f64], rows: &[usize]| rows.iter().map(|&row| values[row]).sum::<f64>();
        Ok(Self {
            pictures: measured.len(),
            psnr: bootstrap.mean(&each(|one| one.psnr)),
            drawn: drawn.len(),
            psnr_drawn: bootstrap.mean(&drawn),
            ssim: bootstrap.mean(&each(|one| one.ssim)),
            sharpness: bootstrap.estimate(measured.len(), |rows| {
                let [before, after] = [&before, &after].map(|values| sum(values, rows));
                if before > 0.0 {
                    after / before
                } else {
                    f64::NAN
                }
            }),
        })
    }
}

/// The measures of one picture.
struct Measured {
    psnr: f64,
    psnr_drawn: Option<f64>,
    ssim: f64,
    /// Of the original and of the rebuilt picture.
    sharpness: [f64; 2],
}

impl Measured {
    fn new(original: Picture<'_>, rebuilt: Picture<'_>) -> Result<Self, EvalError> {
        check_same_size(original, rebuilt)?;
        check_window(original)?;
        Ok(Self {
            psnr: psnr(original, rebuilt)?,
            psnr_drawn: psnr_drawn(original, rebuilt)?,
            ssim: ssim(original, rebuilt)?,
            sharpness: [original, rebuilt].map(sharpness),
        })
    }
}

/// Peak signal-to-noise ratio in dB: `−10 log₁₀` of the mean squared error, at most 100.
///
/// # Errors
/// [`EvalError::PictureSizes`] if they differ in size.
pub fn psnr(original: Picture<'_>, other: Picture<'_>) -> Result<f64, EvalError> {
    check_same_size(original, other)?;
    let pairs = original.values().iter().zip(other.values());
    let error: f64 = pairs.map(|(&a, &b)| squared_error(a, b)).sum();
    Ok(decibels(error / original.values().len() as f64))
}

/// [`psnr`] over the pixels that are not white in the original; `None` if all are.
///
/// Drawings stand on white, which any autoencoder learns first: over all pixels the paper counts as much as what is drawn
/// on it. A pixel is white if its three values are 1.
///
/// # Errors
/// [`EvalError::PictureSizes`] if they differ in size.
pub fn psnr_drawn(original: Picture<'_>, other: Picture<'_>) -> Result<Option<f64>, EvalError> {
    check_same_size(original, other)?;
    let pixels = original.height() * original.width();
    let is_drawn = |at: usize| original.planes().any(|plane| plane[at] < 1.0);
    let drawn: Vec<usize> = (0..pixels).filter(|&at| is_drawn(at)).collect();
    if drawn.is_empty() {
        return Ok(None);
    }
    let planes = original.planes().zip(other.planes());
    let error: f64 = planes
        .map(|(a, b)| {
            drawn
                .iter()
                .map(|&at| squared_error(a[at], b[at]))
                .sum::<f64>()
        })
        .sum();
    Ok(Some(decibels(error / (CHANNELS * drawn.len()) as f64)))
}

fn squared_error(a: f32, b: f32) -> f64 {
    (f64::from(a) - f64::from(b)).powi(2)
}

fn decibels(error: f64) -> f64 {
    -10.0 * error.max(LEAST_ERROR).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 12;
    const COUNT: usize = 3 * SIDE * SIDE;

    fn picture(values: &[f32]) -> Picture<'_> {
        Picture::new(values, SIDE, SIDE).unwrap()
    }

    #[test]
    fn white_paper_does_not_count_as_drawn() {
        // One pixel is drawn, and off by 0.1 in each colour; the paper is off by 0.01.
        let mut original = [1.0_f32; COUNT];
        let mut rebuilt = [0.99_f32; COUNT];
        for plane in 0..3 {
            original[plane * SIDE * SIDE + 40] = 0.5;
            rebuilt[plane * SIDE * SIDE + 40] = 0.6;
        }
        let [original, rebuilt] = [picture(&original), picture(&rebuilt)];
        let drawn = psnr_drawn(original, rebuilt).unwrap().unwrap();
        assert!((drawn - 20.0).abs() < 1e-4, "{drawn}");
        let all = psnr(original, rebuilt).unwrap();
        let wanted = -10.0 * ((0.01 + 143.0 * 0.0001) / 144.0_f64).log10();
        assert!((all - wanted).abs() < 1e-3, "{all} is not {wanted}");
        // A coloured pixel is drawn even where two of its colours are full.
        let mut yellow = [1.0_f32; COUNT];
        yellow[2 * SIDE * SIDE] = 0.9;
        assert!(psnr_drawn(picture(&yellow), rebuilt).unwrap().is_some());
    }

    #[test]
    fn the_same_pictures_lose_nothing() {
        let values: Vec<f32> = (0..COUNT).map(|i| (i * 31 % 97) as f32 / 97.0).collect();
        let blank = [1.0; COUNT];
        let pictures = [picture(&values), picture(&blank)];
        let scores = PixelScores::measure(&pictures, &pictures, Bootstrap::default()).unwrap();
        assert_eq!((scores.pictures, scores.drawn), (2, 1));
        for (found, wanted) in [
            (scores.psnr, 100.0),
            (scores.psnr_drawn, 100.0),
            (scores.ssim, 1.0),
        ] {
            for value in [found.value, found.low, found.high] {
                assert!((value - wanted).abs() < 1e-9, "{found:?}");
            }
        }
        assert!((scores.sharpness.value - 1.0).abs() < 1e-12);
    }

    #[test]
    fn blank_originals_have_neither_drawing_nor_edges() {
        let blank = [1.0; COUNT];
        let scores =
            PixelScores::measure(&[picture(&blank)], &[picture(&blank)], Bootstrap::default());
        let scores = scores.unwrap();
        assert!(!scores.psnr_drawn.is_measured() && !scores.sharpness.is_measured());
        let json = serde_json::to_string(&scores).unwrap();
        let back: PixelScores = serde_json::from_str(&json).unwrap();
        assert!(back.sharpness.value.is_nan() && back.psnr == scores.psnr);
    }

    #[test]
    fn refuses_what_it_cannot_compare() {
        let values = [0.5; COUNT];
        let one = [picture(&values)];
        let measure = |a: &[Picture<'_>], b: &[Picture<'_>]| {
            PixelScores::measure(a, b, Bootstrap::default()).unwrap_err()
        };
        assert!(matches!(measure(&[], &[]), EvalError::Empty(_)));
        assert!(matches!(
            measure(&one, &[]),
            EvalError::Mismatch {
                got: 0,
                wanted: 1,
                ..
            }
        ));
        let wide = [Picture::new(&values, 8, 18).unwrap()];
        assert!(matches!(
            measure(&one, &wide),
            EvalError::PictureSizes { .. }
        ));
        assert!(matches!(
            measure(&wide, &wide),
            EvalError::PictureTooSmall { .. }
        ));
        assert!(psnr(one[0], wide[0]).is_err() && psnr_drawn(one[0], wide[0]).is_err());
    }
}
