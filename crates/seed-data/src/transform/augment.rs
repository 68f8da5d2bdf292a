//! Augmentation beyond the reference's random crop, for pretraining on a small corpus. Every part
//! is off by default.

use image::{Rgb, RgbImage};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::random::{between, chance};

/// Weights of the luma that Pillow and torchvision use (ITU-R 601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// What lies outside a rotated picture: paper, as behind a transparent one.
const OUTSIDE: Rgb<u8> = Rgb([255; 3]);

/// Optional random changes of a picture. All default to none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Rotation and shear.
    pub affine: Affine,
    /// Changes of colour.
    pub jitter: ColorJitter,
    /// Probability that the picture loses its colours.
    pub grayscale: f32,
    /// Probability that a rectangle of 2 % to 20 % of the area becomes one random colour.
    pub erase: f32,
}

/// A small random rotation and horizontal shear about the centre, shrinking and shift; white comes in
/// from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Affine {
    /// Probability that it happens.
    pub probability: f32,
    /// Largest rotation to either side, in degrees.
    pub rotate: f32,
    /// Largest shear to either side, in degrees.
    pub shear: f32,
    /// Largest shrinking: sizes are divided by a factor between 1 and `1 + shrink`, as if the picture
    /// stood on a larger sheet.
    pub shrink: f32,
    /// Largest shift in each direction, as a share of the side.
    pub shift: f32,
}

/// Random changes of colour: factors are drawn from `1 ± strength`, the hue turns by up to
/// `± hue` of a full circle.
///
/// The meaning of the strengths is torchvision's, but the four changes are one affine map of RGB,
/// clamped once at the end (brightness, contrast, then saturation and a hue turn about the grey
/// axis), which costs a fraction of its four passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// Strength of the change of brightness.
    pub brightness: f32,
    /// Strength of the change of contrast.
    pub contrast: f32,
    /// Strength of the change of saturation.
    pub saturation: f32,
    /// Largest turn of the hue, as a share of the circle (0.5 reaches every hue).
    pub hue: f32,
}

impl Augment {
    /// The changed picture; all randomness comes from `rng`.
    pub fn apply(&self, mut picture: RgbImage, rng: &mut impl Rng) -> RgbImage {
        if chance(rng, self.affine.probability) {
            picture = self.affine.apply(&picture, rng);
        }
        if self.jitter != ColorJitter::default() {
            self.jitter.apply(&mut picture, rng);
        }
        if chance(rng, self.grayscale) {
            recolor(&mut picture, [LUMA; 3], 0.0);
        }
        if chance(rng, self.erase) {
            erase(&mut picture, rng);
        }
        picture
    }
}

impl Affine {
    fn apply(&self, picture: &RgbImage, rng: &mut impl Rng) -> RgbImage {
        let mut angle = |limit: f32| between(rng, -f64::from(limit), f64::from(limit)) as f32;
        let (sin, cos) = angle(self.rotate).to_radians().sin_cos();
        let shear = angle(self.shear).to_radians().tan();
        let (width, height) = picture.dimensions();
        let (cx, cy) = (width as f32 / 2.0, height as f32 / 2.0);
        let mut upto = |limit: f32| between(rng, 0.0, f64::from(limit)) as f32;
        let factor = if self.shrink > 0.0 {
            upto((1.0 + self.shrink).ln()).exp()
        } else {
            1.0
        };
        let (mut shift_x, mut shift_y) = (0.0, 0.0);
        if self.shift > 0.0 {
            shift_x = (2.0 * upto(self.shift) - self.shift) * width as f32;
            shift_y = (2.0 * upto(self.shift) - self.shift) * height as f32;
        }
        // For each output pixel, where it comes from.
        RgbImage::from_fn(width, height, |x, y| {
            let dx = (x as f32 + 0.5 - cx - shift_x) * factor;
            let dy = (y as f32 + 0.5 - cy - shift_y) * factor;
            let dx = dx + shear * dy;
            let source_x = cos * dx + sin * dy + cx - 0.5;
            let source_y = cos * dy - sin * dx + cy - 0.5;
            sample(picture, source_x, source_y)
        })
    }
}

/// Bilinear interpolation at a point, [`OUTSIDE`] beyond the border.
fn sample(picture: &RgbImage, x: f32, y: f32) -> Rgb<u8> {
    let (x0, y0) = (x.floor(), y.floor());
    let (fx, fy) = (x - x0, y - y0);
    let at = |column: f32, row: f32| {
        let inside = column >= 0.0 && row >= 0.0;
        let pixel = picture.get_pixel_checked(column as u32, row as u32);
        pixel
            .filter(|_| inside)
            .unwrap_or(&OUTSIDE)
            .0
            .map(f32::from)
    };
    let upper = [at(x0, y0), at(x0 + 1.0, y0)];
    let lower = [at(x0, y0 + 1.0), at(x0 + 1.0, y0 + 1.0)];
    Rgb(std::array::from_fn(|i| {
        let top = upper[0][i] + (upper[1][i] - upper[0][i]) * fx;
        let bottom = lower[0][i] + (lower[1][i] - lower[0][i]) * fx;
        (top + (bottom - top) * fy).round() as u8
    }))
}

impl ColorJitter {
    fn apply(&self, picture: &mut RgbImage, rng: &mut impl Rng) {
        let mut factor = |strength: f32| {
            let low = (1.0 - f64::from(strength)).max(0.0);
            between(rng, low, 1.0 + f64::from(strength)) as f32
        };
        let (brightness, contrast) = (factor(self.brightness), factor(self.contrast));
        let saturation = factor(self.saturation);
        let turn = between(rng, -f64::from(self.hue), f64::from(self.hue)) as f32;

        // Contrast pulls towards the mean luma, which the colour matrix below leaves unchanged.
        let offset = brightness * (1.0 - contrast) * mean_luma(picture);
        let gain = brightness * contrast;
        let matrix = hue_and_saturation(turn, saturation).map(|row| row.map(|x| x * gain));
        recolor(picture, matrix, offset);
    }
}

/// Turns the colour about the grey axis by `turn` of a circle and scales its distance from that
/// axis by `saturation`; the luma stays: `luma + saturation · turned(colour − luma)`.
fn hue_and_saturation(turn: f32, saturation: f32) -> [[f32; 3]; 3] {
    // Rodrigues' rotation about (1, 1, 1) / √3.
    let (sin, cos) = (turn * std::f32::consts::TAU).sin_cos();
    let (same, cross) = ((1.0 - cos) / 3.0, sin / 3.0_f32.sqrt());
    let rotation = [
        [cos + same, same - cross, same + cross],
        [same + cross, cos + same, same - cross],
        [same - cross, same + cross, cos + same],
    ];
    // The rotation moves the luma; put it back along the grey axis.
    let moved: [f32; 3] = std::array::from_fn(|j| (0..3).map(|i| LUMA[i] * rotation[i][j]).sum());
    rotation.map(|row| std::array::from_fn(|j| LUMA[j] + saturation * (row[j] - moved[j])))
}

fn mean_luma(picture: &RgbImage) -> f32 {
    let mut sums = [0_u64; 3];
    for pixel in picture.pixels() {
        for (sum, &value) in sums.iter_mut().zip(&pixel.0) {
            *sum += u64::from(value);
        }
    }
    let count = picture.pixels().len().max(1) as f32;
    (0..3).map(|i| LUMA[i] * sums[i] as f32 / count).sum()
}

/// Maps every pixel to `matrix · pixel + offset`, rounded and clamped to 8 bit.
fn recolor(picture: &mut RgbImage, matrix: [[f32; 3]; 3], offset: f32) {
    for pixel in picture.pixels_mut() {
        let [r, g, b] = pixel.0.map(f32::from);
        // A float cast to an integer saturates, which is the clamp.
        pixel.0 = matrix.map(|row| (row[0] * r + row[1] * g + row[2] * b + offset + 0.5) as u8);
    }
}

/// Random erasing (Zhong et al., arXiv 1708.04896) with one colour.
fn erase(picture: &mut RgbImage, rng: &mut impl Rng) {
    let (width, height) = picture.dimensions();
    let area = between(rng, 0.02, 0.2) * f64::from(width) * f64::from(height);
    let aspect = between(rng, -1.2, 1.2).exp();
    let w = ((area * aspect).sqrt().round() as u32).clamp(1, width);
    let h = ((area / aspect).sqrt().round() as u32).clamp(1, height);
    let (left, top) = (
        rng.random_range(0..=width - w),
        rng.random_range(0..=height - h),
    );
    let color = Rgb(rng.random::<[u8; 3]>());
    for y in top..top + h {
        for x in left..left + w {
            picture.put_pixel(x, y, color);
        }
    }
}
