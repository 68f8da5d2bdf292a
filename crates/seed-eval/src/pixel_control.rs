//! The pixel control: how far do raw pixels get?
//!
//! Vendors copy from each other, so a drawing of a concept may be found simply because it looks like
//! another vendor's. The control answers with no model at all: each picture becomes 16×16 RGB pixels, and
//! a ridge regression, fitted on the training pictures, maps them to the features of their captions. What
//! a model scores above it, it has learned beyond pixel similarity.

use image::{RgbImage, imageops};
use rayon::prelude::*;

use crate::{
    EvalError, Features,
    normal_equations::{gram, products, solve, transpose},
    retrieval::expect,
};

/// Side of the shrunken picture.
const SIDE: u32 = 16;
/// Pixels × channels, the regression's inputs.
const INPUTS: usize = (SIDE * SIDE * 3) as usize;

/// A ridge regression from 16×16 RGB pixels to text features, in f64 and closed form: the same pictures
/// always give the same control.
#[derive(Debug, Clone)]
pub struct PixelControl {
    /// Mean input, `[INPUTS]`.
    mean: Vec<f64>,
    /// `[INPUTS, dim]`, row-major.
    weights: Vec<f64>,
    /// Mean target, `[dim]`: the unpenalised bias at the mean input.
    bias: Vec<f64>,
}

impl PixelControl {
    /// A penalty that suits thousands of training pictures; see [`PixelControl::fit`].
    pub const RIDGE: f64 = 0.1;

    /// Fits training pictures to the text features of their captions, row `i` of `texts` for picture `i`.
    ///
    /// `ridge` is the penalty on the weights as a multiple of the pixels' mean variance, so that one
    /// value suits any number and brightness of pictures; the bias is free.
    ///
    /// # Errors
    /// [`EvalError::Ridge`] unless the penalty is positive and finite, [`EvalError::Mismatch`] if pictures
    /// and texts differ in number, [`EvalError::EmptyImage`], [`EvalError::Singular`] if the penalty is too small for
    /// pixels that depend on each other.
    pub fn fit(images: &[RgbImage], texts: &Features, ridge: f64) -> Result<Self, EvalError> {
        if !(ridge > 0.0 && ridge.is_finite()) {
            return Err(EvalError::Ridge(ridge));
        }
        expect("training pictures", images.len(), texts.rows())?;
        let (rows, dim) = (texts.rows(), texts.dim());
        let mut inputs = transpose(&pixels(images)?, INPUTS);
        let targets: Vec<f64> = texts.values().iter().map(|&v| f64::from(v)).collect();
        let mut targets = transpose(&targets, dim);
        let mean = centre(&mut inputs, rows);
        let bias = centre(&mut targets, rows);

        // (XᵀX + λI) W = XᵀY
        let mut matrix = gram(&inputs, rows);
        let trace: f64 = matrix.iter().step_by(INPUTS + 1).sum();
        // Pictures without any variance leave nothing to regress on; the weights are then zero.
        let penalty = if trace > 0.0 {
            ridge * trace / INPUTS as f64
        } else {
            1.0
        };
        matrix
            .iter_mut()
            .step_by(INPUTS + 1)
            .for_each(|diagonal| *diagonal += penalty);
        let mut weights = products(&targets, &inputs, rows);
        solve(&mut matrix, INPUTS, &mut weights).ok_or(EvalError::Singular(ridge))?;
        Ok(Self {
            mean,
            weights: transpose(&weights, INPUTS),
            bias,
        })
    }

    /// The text features the pictures' pixels suggest, `[images, dim]`.
    ///
    /// # Errors
    /// [`EvalError::EmptyImage`], or [`EvalError::Shape`] if there is no picture.
    pub fn predict(&self, images: &[RgbImage]) -> Result<Features, EvalError> {
        let predict = |pixels: &[f64]| {
            let mut out = self.bias.clone();
            let weights = self.weights.chunks_exact(self.bias.len());
            for ((pixel, mean), weights) in pixels.iter().zip(&self.mean).zip(weights) {
                for (out, weight) in out.iter_mut().zip(weights) {
                    *out += (pixel - mean) * weight;
                }
            }
            out.into_iter().map(|v| v as f32).collect::<Vec<_>>()
        };
        let values = pixels(images)?
            .par_chunks_exact(INPUTS)
            .flat_map_iter(predict)
            .collect();
        Features::new(images.len(), self.bias.len(), values)
    }
}

/// Area-averaged pixels in 0–1, `[images, INPUTS]`.
fn pixels(images: &[RgbImage]) -> Result<Vec<f64>, EvalError> {
    if let Some(empty) = images.iter().position(|image| image.is_empty()) {
        return Err(EvalError::EmptyImage(empty));
    }
    let shrink = |image| imageops::thumbnail(image, SIDE, SIDE).into_raw();
    Ok(images
        .par_iter()
        .flat_map_iter(shrink)
        .map(|value| f64::from(value) / 255.0)
        .collect())
}

/// Takes from each row of `[_, width]` its mean, and returns the means.
fn centre(table: &mut [f64], width: usize) -> Vec<f64> {
    table
        .chunks_exact_mut(width)
        .map(|row| {
            let mean = row.iter().sum::<f64>() / width as f64;
            for v in row {
                *v -= mean;
            }
            mean
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::GroundTruth;

    /// Pictures of independent noise, 16×16, so that shrinking leaves them as they are.
    fn noise(count: usize, seed: u64) -> Vec<RgbImage> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let picture = |_| RgbImage::from_fn(SIDE, SIDE, |_, _| image::Rgb(rng.random()));
        (0..count).map(picture).collect()
    }

    /// Targets that are a linear function of the pixels.
    fn linear(images: &[RgbImage], dim: usize) -> Features {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let weights: Vec<f64> = (0..dim * INPUTS)
            .map(|_| rng.random_range(-1.0..1.0))
            .collect();
        let values = products(&pixels(images).unwrap(), &weights, INPUTS);
        let values = values.into_iter().map(|v| v as f32 + 3.0).collect();
        Features::new(images.len(), dim, values).unwrap()
    }

    #[test]
    fn recovers_a_linear_map_and_its_bias() {
        let train = noise(1000, 1);
        let control = PixelControl::fit(&train, &linear(&train, 4), 1e-7).unwrap();
        let held_out = noise(20, 2);
        let (got, wanted) = (control.predict(&held_out).unwrap(), linear(&held_out, 4));
        for (got, wanted) in got.values().iter().zip(wanted.values()) {
            assert!((got - wanted).abs() < 1e-2, "{got} {wanted}");
        }
        let again = PixelControl::fit(&train, &linear(&train, 4), 1e-7).unwrap();
        assert_eq!(got, again.predict(&held_out).unwrap());
    }

    #[test]
    fn fewer_pictures_than_pixels_still_fit() {
        let train = noise(30, 3);
        let texts = linear(&train, 8);
        let control = PixelControl::fit(&train, &texts, 1e-3).unwrap();
        let ids: Vec<_> = (0..30).collect();
        let truth = GroundTruth::new(&ids, &ids).unwrap();
        let scores = truth
            .cosine(&control.predict(&train).unwrap(), &texts)
            .unwrap();
        assert!(scores.image_to_text.r1 > 99.0, "{scores:?}");
    }

    #[test]
    fn satisfies_the_normal_equations() {
        // Against a different solver: gradient of the penalised loss is zero at the solution.
        let train = noise(50, 4);
        let texts = linear(&train, 2);
        let control = PixelControl::fit(&train, &texts, 0.5).unwrap();
        let rows = train.len();
        let mut inputs = transpose(&pixels(&train).unwrap(), INPUTS);
        centre(&mut inputs, rows);
        let variance = inputs.iter().map(|v| v * v).sum::<f64>() / INPUTS as f64;
        let predicted = control.predict(&train).unwrap();
        for pixel in [0, 100, INPUTS - 1] {
            for column in 0..2 {
                let residual = |row: usize| {
                    f64::from(texts.row(row)[column]) - f64::from(predicted.row(row)[column])
                };
                let pull: f64 = (0..rows)
                    .map(|row| inputs[pixel * rows + row] * residual(row))
                    .sum();
                let weight = 0.5 * variance * control.weights[pixel * 2 + column];
                assert!((pull - weight).abs() < 1e-4, "{pull} {weight}");
            }
        }
    }

    #[test]
    fn averages_areas() {
        // Each 2×2 block of the 32×32 picture has mean 100.
        let picture = RgbImage::from_fn(32, 32, |x, y| {
            image::Rgb([if (x + y) % 2 == 0 { 0 } else { 200 }; 3])
        });
        for value in pixels(&[picture]).unwrap() {
            assert!((value - 100.0 / 255.0).abs() < 1e-9);
        }
    }

    #[test]
    fn blank_pictures_predict_the_mean() {
        let blank = vec![RgbImage::new(20, 20); 2];
        let texts = Features::new(2, 1, vec![1.0, 3.0]).unwrap();
        let control = PixelControl::fit(&blank, &texts, PixelControl::RIDGE).unwrap();
        assert_eq!(control.predict(&noise(1, 5)).unwrap().values(), [2.0]);
    }

    #[test]
    fn refuses_bad_input() {
        let texts = Features::new(2, 1, vec![1.0, 3.0]).unwrap();
        let two = noise(2, 6);
        for ridge in [0.0, -1.0, f64::NAN] {
            assert!(matches!(
                PixelControl::fit(&two, &texts, ridge),
                Err(EvalError::Ridge(_))
            ));
        }
        assert!(matches!(
            PixelControl::fit(&two[..1], &texts, 1.0),
            Err(EvalError::Mismatch {
                got: 1,
                wanted: 2,
                ..
            })
        ));
        let empty = [two[0].clone(), RgbImage::new(0, 4)];
        assert!(matches!(
            PixelControl::fit(&empty, &texts, 1.0),
            Err(EvalError::EmptyImage(1))
        ));
    }
}
