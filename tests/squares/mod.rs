//! Made-up pictures that trainings are tested on.

use image::{Rgb, RgbImage};
use seed::data::{DataError, PairSet};

/// Plain squares of different colours, each its own concept.
pub(crate) struct Squares(Vec<(String, Vec<String>)>);

impl Squares {
    /// So many squares, with what `captions` says of each.
    pub(crate) fn new(count: usize, captions: impl Fn(usize) -> Vec<String>) -> Self {
        let pair = |index: usize| (format!("square-{index}"), captions(index));
        Self((0..count).map(pair).collect())
    }
}

impl PairSet for Squares {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn id(&self, index: usize) -> &str {
        &self.0[index].0
    }

    fn captions(&self, index: usize) -> &[String] {
        &self.0[index].1
    }

    fn concept(&self, index: usize) -> usize {
        index
    }

    fn picture(&self, index: usize) -> Result<RgbImage, DataError> {
        let shade = (index * 20) as u8;
        Ok(RgbImage::from_pixel(20, 20, Rgb([shade, 255 - shade, 90])))
    }

    fn fingerprint(&self) -> [u8; 32] {
        [self.len() as u8; 32]
    }
}
