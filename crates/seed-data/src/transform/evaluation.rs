//! Squash and normalise: the picture as evaluation sees it.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::normalize::Normalize;
use super::resize::{Filter, squash};

/// The evaluation transform: squash to `size × size`, aspect ratio not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalTransform {
    /// Side of the output, in pixels.
    pub size: u32,
    /// Resampling filter; the reference evaluates with bicubic.
    #[serde(default)]
    pub filter: Filter,
}

impl EvalTransform {
    /// Bicubic squash to `size × size`.
    pub fn new(size: u32) -> Self {
        Self {
            size,
            filter: Filter::Bicubic,
        }
    }

    /// The squashed picture, still 8 bit.
    pub fn pixels(&self, picture: &RgbImage) -> RgbImage {
        squash(picture, self.size, self.size, self.filter)
    }

    /// The squashed and normalised picture, `[3, size, size]` row-major.
    pub fn tensor(&self, picture: &RgbImage, normalize: &Normalize) -> Vec<f32> {
        normalize.apply(&self.pixels(picture))
    }
}
