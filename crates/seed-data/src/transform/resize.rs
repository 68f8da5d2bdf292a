//! Resampling exactly as Pillow does it (`Resample.c`): the filter's support widens when
//! shrinking, one pass per axis, in fixed point, and each pass rounds to 8 bit.
//!
//! This is written out because crates agree with it to a level only: their weights are shorter and
//! their order of the passes is another.

use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

/// A resampling filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Cubic convolution with a = −0.5 (`PIL.Image.BICUBIC`): the reference's choice in training
    /// and evaluation.
    #[default]
    Bicubic,
    /// Triangle filter (`PIL.Image.BILINEAR`): torchvision's default, which the reference's
    /// inference scripts fall back to.
    Bilinear,
}

/// A rectangle inside a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Rows above it.
    pub top: u32,
    /// Columns left of it.
    pub left: u32,
    /// Its width.
    pub width: u32,
    /// Its height.
    pub height: u32,
}

impl Region {
    /// All of a picture.
    pub fn whole(picture: &RgbImage) -> Self {
        Self {
            top: 0,
            left: 0,
            width: picture.width(),
            height: picture.height(),
        }
    }
}

/// Resizes a picture to exactly `width × height`; the aspect ratio is not kept.
///
/// # Panics
/// If the picture or the wanted size is empty.
pub fn squash(picture: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    squash_region(picture, Region::whole(picture), width, height, filter)
}

/// Resizes one region of a picture to exactly `width × height`, as if it had been cut out first:
/// nothing outside the region has an influence.
///
/// # Panics
/// If the region is empty or not inside the picture, or the wanted size is empty.
pub fn squash_region(
    picture: &RgbImage,
    region: Region,
    width: u32,
    height: u32,
    filter: Filter,
) -> RgbImage {
    assert!(width > 0 && height > 0, "an empty picture was asked for");
    assert!(
        region.width > 0 && region.height > 0,
        "the region to resize is empty"
    );
    let Region { top, left, .. } = region;
    if region == Region::whole(picture) {
        return resize(picture, width, height, filter);
    }
    let inside = u64::from(left) + u64::from(region.width) <= u64::from(picture.width())
        && u64::from(top) + u64::from(region.height) <= u64::from(picture.height());
    assert!(inside, "the region to resize is not inside the picture");
    let cut = imageops::crop_imm(picture, left, top, region.width, region.height).to_image();
    resize(&cut, width, height, filter)
}

fn resize(picture: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    // Pillow 13 runs the vertical pass first where it takes away more than twice as many rows as
    // the horizontal one takes columns; the rounding in between makes the order visible.
    let rows_away = i64::from(picture.height()) - i64::from(height);
    let columns_away = i64::from(picture.width()) - i64::from(width);
    if rows_away > 0 && rows_away > 2 * columns_away {
        horizontal(&vertical(picture, height, filter), width, filter)
    } else {
        vertical(&horizontal(picture, width, filter), height, filter)
    }
}

/// Resamples every row to `width` pixels.
fn horizontal(picture: &RgbImage, width: u32, filter: Filter) -> RgbImage {
    let taps = Taps::new(picture.width(), width, filter);
    let mut out = RgbImage::new(width, picture.height());
    let (source, _) = picture.as_chunks::<3>();
    let (target, _) = out.as_chunks_mut::<3>();
    let rows = source.chunks_exact(picture.width() as usize);
    for (source, target) in rows.zip(target.chunks_exact_mut(width as usize)) {
        for ((first, weights), pixel) in taps.iter().zip(target) {
            let mut sums = [HALF; 3];
            for (value, &weight) in source[first..].iter().zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(value) {
                    *sum += i32::from(value) * weight;
                }
            }
            *pixel = sums.map(to_byte);
        }
    }
    out
}

/// Resamples every column to `height` pixels, whole rows at a time.
fn vertical(picture: &RgbImage, height: u32, filter: Filter) -> RgbImage {
    let taps = Taps::new(picture.height(), height, filter);
    let mut out = RgbImage::new(picture.width(), height);
    let stride = 3 * picture.width() as usize;
    let mut sums = vec![HALF; stride];
    for ((first, weights), target) in taps.iter().zip(out.chunks_exact_mut(stride)) {
        sums.fill(HALF);
        let rows = picture.as_raw()[first * stride..].chunks_exact(stride);
        for (source, &weight) in rows.zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(source) {
                *sum += i32::from(value) * weight;
            }
        }
        for (byte, &sum) in target.iter_mut().zip(&sums) {
            *byte = to_byte(sum);
        }
    }
    out
}

/// Fractional bits of the weights: 8 bits of the result and two of overflow fit into an `i32`.
const PRECISION: u32 = 32 - 8 - 2;

/// Half a level, so that cutting the fraction off rounds.
const HALF: i32 = 1 << (PRECISION - 1);

/// For each output position of one axis, the first input position and the weights from there on.
struct Taps {
    weights: Vec<i32>,
    starts: Vec<(usize, std::ops::Range<usize>)>,
}

impl Taps {
    fn new(input: u32, output: u32, filter: Filter) -> Self {
        let scale = f64::from(input) / f64::from(output);
        let widening = scale.max(1.0);
        let support = filter.support() * widening;
        let mut taps = Self {
            weights: Vec::new(),
            starts: Vec::with_capacity(output as usize),
        };
        let mut exact = Vec::new();
        for position in 0..output {
            let center = (f64::from(position) + 0.5) * scale;
            // Casts cut towards zero, as in C.
            let first = ((center - support + 0.5) as i64).max(0);
            let last = ((center + support + 0.5) as i64).min(i64::from(input));
            exact.clear();
            exact.extend((first..last).map(|x| filter.at((x as f64 - center + 0.5) / widening)));
            let total: f64 = exact.iter().sum();
            let from = taps.weights.len();
            let one = f64::from(1 << PRECISION);
            taps.weights.extend(
                exact
                    .iter()
                    .map(|weight| (weight / total * one).round() as i32),
            );
            taps.starts.push((first as usize, from..taps.weights.len()));
        }
        taps
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.starts
            .iter()
            .map(|(first, weights)| (*first, &self.weights[weights.clone()]))
    }
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Bilinear => 1.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic | Self::Bilinear => 0.0,
        }
    }
}

/// Resizes so that the short side is `size` (the long side is cut to an integer), then takes the
/// central `size × size`: torchvision's `Resize(size)` and `CenterCrop(size)`, which the
/// reference's VQA script and CLIP scoring use.
///
/// # Panics
/// If the picture or `size` is empty.
pub fn short_side_crop(picture: &RgbImage, size: u32, filter: Filter) -> RgbImage {
    let (width, height) = picture.dimensions();
    let long = |long_side: u32, short_side: u32| {
        u32::try_from(u64::from(size) * u64::from(long_side) / u64::from(short_side.max(1)))
            .unwrap_or(u32::MAX)
    };
    let (width, height) = if width <= height {
        (size, long(height, width))
    } else {
        (long(width, height), size)
    };
    let resized = squash(picture, width, height, filter);
    let offset = |side: u32| (f64::from(side - size) / 2.0).round_ties_even() as u32;
    imageops::crop_imm(&resized, offset(width), offset(height), size, size).to_image()
}
