//! The pixels of a picture.

use crate::error::EvalError;

/// Colours of a picture; red, green, blue.
pub(super) const CHANNELS: usize = 3;

/// A picture as a model gives it: `[3, height, width]`, row-major, each value from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picture<'a> {
    values: &'a [f32],
    height: usize,
    width: usize,
}

impl<'a> Picture<'a> {
    /// Takes `3 × height × width` values.
    ///
    /// # Errors
    /// [`EvalError::PictureShape`] if the count is wrong or a side is 0, [`EvalError::PixelValue`] naming the first value
    /// that is not from 0 to 1: what a decoder gives is cut to that first, as it is when it becomes a file.
    pub fn new(values: &'a [f32], height: usize, width: usize) -> Result<Self, EvalError> {
        let pixels = height.checked_mul(width).filter(|&pixels| pixels > 0);
        let count = pixels.and_then(|pixels| pixels.checked_mul(CHANNELS));
        if count != Some(values.len()) {
            return Err(EvalError::PictureShape {
                values: values.len(),
                height,
                width,
            });
        }
        let outside = |value: &f32| !(0.0..=1.0).contains(value);
        if let Some(at) = values.iter().position(outside) {
            return Err(EvalError::PixelValue {
                at,
                value: values[at],
            });
        }
        Ok(Self {
            values,
            height,
            width,
        })
    }

    /// The pictures of a batch `[batch, 3, height, width]`.
    ///
    /// # Errors
    /// Those of [`Picture::new`].
    pub fn batch(values: &'a [f32], height: usize, width: usize) -> Result<Vec<Self>, EvalError> {
        let count = height
            .checked_mul(width)
            .and_then(|pixels| pixels.checked_mul(CHANNELS))
            .filter(|&count| count > 0 && values.len().is_multiple_of(count));
        let Some(count) = count else {
            return Err(EvalError::PictureShape {
                values: values.len(),
                height,
                width,
            });
        };
        let pictures = values.chunks_exact(count);
        pictures
            .map(|values| Self::new(values, height, width))
            .collect()
    }

    /// All values, row-major.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The three colours, each `[height, width]`.
    pub(super) fn planes(&self) -> impl Iterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.height * self.width)
    }
}

/// Refuses two pictures of different sizes.
pub(super) fn check_same_size(original: Picture<'_>, other: Picture<'_>) -> Result<(), EvalError> {
    let size = |picture: Picture<'_>| [picture.height, picture.width];
    if size(original) == size(other) {
        return Ok(());
    }
    Err(EvalError::PictureSizes {
        original: size(original),
        other: size(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_picture() {
        let values = [0.5; 12];
        assert!(Picture::new(&values, 2, 2).is_ok());
        for (height, width) in [(2, 3), (0, 4), (usize::MAX, 2), (0, 0)] {
            let error = Picture::new(&values, height, width).unwrap_err();
            assert!(matches!(error, EvalError::PictureShape { .. }), "{error}");
            let error = Picture::batch(&values[..11], height, width).unwrap_err();
            assert!(matches!(error, EvalError::PictureShape { .. }), "{error}");
        }
        for wrong in [-0.01, 1.01, f32::NAN, f32::INFINITY] {
            let mut values = values;
            values[7] = wrong;
            let error = Picture::new(&values, 2, 2).unwrap_err();
            assert!(
                matches!(error, EvalError::PixelValue { at: 7, .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn parts_a_batch() {
        let values: Vec<f32> = (0_u8..24).map(|i| f32::from(i) / 24.0).collect();
        let pictures = Picture::batch(&values, 2, 2).unwrap();
        assert_eq!(pictures.len(), 2);
        assert_eq!(pictures[1].values(), &values[12..]);
        assert_eq!(pictures[1].planes().nth(2).unwrap(), &values[20..]);
        assert!(Picture::batch(&[], 2, 2).unwrap().is_empty());
    }
}
