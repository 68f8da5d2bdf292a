//! Made-up pictures that trainings are tested on.

use image::{Rgb, RgbImage};
use seed::data::{DataError, PairSet};

/// Squares of different colours that fade to two sides.
pub(crate) struct Squares {
    pairs: Vec<(String, Vec<String>)>,
    /// Neighbours that show the same.
    alike: usize,
}

impl Squares {
    /// So many squares, with what `captions` says of each.
    pub(crate) fn new(count: usize, captions: impl Fn(usize) -> Vec<String>) -> Self {
        let pair = |index: usize| (format!("square-{index}"), captions(index));
        Self {
            pairs: (0..count).map(pair).collect(),
            alike: 1,
        }
    }

    /// The same, each two of which show one concept.
    #[allow(dead_code, reason = "not every test has concepts of several pictures")]
    pub(crate) fn in_twos(self) -> Self {
        Self { alike: 2, ..self }
    }
}

impl PairSet for Squares {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn id(&self, index: usize) -> &str {
        &self.pairs[index].0
    }

    fn captions(&self, index: usize) -> &[String] {
        &self.pairs[index].1
    }

    fn concept(&self, index: usize) -> usize {
        index / self.alike
    }

    fn picture(&self, index: usize) -> Result<RgbImage, DataError> {
        let shade = (index * 20) as u8;
        Ok(RgbImage::from_fn(20, 20, |x, y| {
            let (across, down) = (6 * x as u8, 5 * y as u8);
            Rgb([shade.wrapping_add(across), 255 - shade, 90 + down])
        }))
    }

    fn fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = [self.len() as u8; 32];
        fingerprint[0] = self.alike as u8;
        fingerprint
    }
}
