//! Colours by axes on which they differ equally.

use burn::tensor::{Device, Tensor};
use image::RgbImage;

/// Luma, red against green, blue against yellow.
const AXES: [[f64; 3]; 3] = [[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [-1.0, -1.0, 2.0]];

/// Brighter than this in all channels is paper, which says nothing of colours.
const PAPER: u8 = 253;

/// Opponent colours in units of their own deviation.
///
/// Red against green deviates a third as much as the other axes in drawings, so that a loss in RGB lets red become orange and
/// purple become grey.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpponentAxes([[f32; 3]; 3]);

impl OpponentAxes {
    /// The axes for these pictures: deviations are those of the pixels that are not paper. Multiplied by half of the largest
    /// deviation, so that a difference keeps its size on the axis that deviates most.
    ///
    /// Where all is paper or an axis does not deviate, the axes keep the size they have in RGB.
    pub fn of<'a>(pictures: impl IntoIterator<Item = &'a RgbImage>) -> Self {
        let (mut count, mut sums, mut squares) = (0.0, [0.0; 3], [0.0; 3]);
        for picture in pictures {
            for pixel in picture
                .pixels()
                .filter(|pixel| pixel.0.iter().any(|&value| value <= PAPER))
            {
                count += 1.0;
                let rgb = pixel.0.map(|value| f64::from(value) / 127.5 - 1.0);
                for (axis, (sum, square)) in AXES.iter().zip(sums.iter_mut().zip(&mut squares)) {
                    let along: f64 = axis.iter().zip(rgb).map(|(a, x)| a * x).sum();
                    let along = along / length(*axis);
                    *sum += along;
                    *square += along * along;
                }
            }
        }
        let deviations: [f64; 3] = std::array::from_fn(|axis| {
            let mean = sums[axis] / count;
            (squares[axis] / count - mean * mean).max(0.0).sqrt()
        });
        let largest = deviations.into_iter().fold(0.0, f64::max);
        let scale = |axis: usize| {
            let factor = largest / deviations[axis] / 2.0;
            let factor = if factor.is_finite() { factor } else { 1.0 };
            factor / length(AXES[axis])
        };
        Self(std::array::from_fn(|axis| {
            AXES[axis].map(|along| (along * scale(axis)) as f32)
        }))
    }

    /// As a matrix `[1, 3, 3]`, to be multiplied with `[batch, 3, pixels]`.
    pub fn matrix(&self, device: &Device) -> Tensor<3> {
        Tensor::from_floats([self.0], device)
    }
}

fn length(axis: [f64; 3]) -> f64 {
    axis.iter().map(|along| along * along).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn each_axis_deviates_equally() {
        // Much luma, a little red against green.
        let picture = RgbImage::from_fn(16, 16, |x, y| {
            let (luma, red) = (40 + 10 * x as u8, if y % 2 == 0 { 5 } else { 0 });
            Rgb([luma + red, luma - red, luma])
        });
        let OpponentAxes(axes) = OpponentAxes::of([&picture]);
        let length = |axis: [f32; 3]| axis.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((length(axes[0]) - 0.5).abs() < 1e-6, "{axes:?}");
        assert!(length(axes[1]) > 4.0, "{axes:?}");
    }

    #[test]
    fn paper_alone_leaves_finite_axes() {
        let paper = RgbImage::from_pixel(4, 4, Rgb([255; 3]));
        for axes in [OpponentAxes::of([&paper]), OpponentAxes::of([])] {
            assert!(axes.0.iter().flatten().all(|x| x.is_finite()));
        }
    }
}
