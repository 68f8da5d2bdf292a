//! 8-bit pixels to normalised floats in channel-major order.

use image::RgbImage;

/// Mean of each RGB channel that CLIP, EVA-CLIP and BLIP-2 normalise with.
pub const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];

/// Standard deviation of each RGB channel that CLIP, EVA-CLIP and BLIP-2 normalise with.
pub const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// `(value / 255 − mean) / std` per channel, from interleaved 8-bit pixels to `[3, height, width]`.
#[derive(Clone, Debug)]
pub struct Normalize {
    /// The result for each of the 256 values of each channel.
    table: [[f32; 256]; 3],
}

impl Normalize {
    /// Normalises with these statistics of values in 0..=1.
    pub fn new(mean: [f32; 3], std: [f32; 3]) -> Self {
        let table = std::array::from_fn(|channel| {
            std::array::from_fn(|value| (value as f32 / 255.0 - mean[channel]) / std[channel])
        });
        Self { table }
    }

    /// Normalises with CLIP's statistics, as SEED does.
    pub fn clip() -> Self {
        Self::new(CLIP_MEAN, CLIP_STD)
    }

    /// The normalised picture, `[3, height, width]` row-major.
    pub fn apply(&self, picture: &RgbImage) -> Vec<f32> {
        let mut out = vec![0.0; picture.as_raw().len()];
        let (pixels, _) = picture.as_raw().as_chunks::<3>();
        for ((plane, table), channel) in out
            .chunks_exact_mut(pixels.len().max(1))
            .zip(&self.table)
            .zip(0..)
        {
            for (value, pixel) in plane.iter_mut().zip(pixels) {
                *value = table[usize::from(pixel[channel])];
            }
        }
        out
    }
}

impl Default for Normalize {
    fn default() -> Self {
        Self::clip()
    }
}
