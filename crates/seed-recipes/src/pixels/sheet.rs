//! Many pictures on one sheet.

use std::{
    io::{self, Cursor},
    path::Path,
};

use image::{ImageFormat, Rgb, RgbImage, imageops};
use seed_data::{Filter, squash};

use crate::error::RecipeError;

/// Between items, and around them.
const GAP: u32 = 4;
/// Between the pictures of an item.
const SEAM: u32 = 1;
/// Longest side of a sheet, unless its pictures would be nothing.
const LONGEST: u32 = 8192;
/// Least side of a picture on a sheet.
const LEAST: u32 = 8;

/// Items in rows, each of one picture or several side by side, such as an original and what was made of it; white where nothing
/// was put.
#[derive(Debug, Clone)]
pub struct ContactSheet {
    canvas: RgbImage,
    /// Size of a picture.
    cell: [u32; 2],
    /// Size of an item, with the gap behind it.
    item: [u32; 2],
    /// Items in a row.
    columns: u32,
}

impl ContactSheet {
    /// A sheet of `items`, each of `pictures` side by side. Pictures have that width and height on it, less where so many would
    /// make it too large.
    pub fn new(items: usize, pictures: usize, [width, height]: [u32; 2]) -> Self {
        let (items, pictures) = (items.max(1) as u32, pictures.max(1) as u32);
        // As wide as high, as nearly as can be.
        let [item_width, item_height] = [
            f64::from(pictures) * f64::from(width.max(1)),
            f64::from(height),
        ];
        let columns = f64::from(items) * item_height / item_width;
        let columns = (columns.sqrt().round() as u32).clamp(1, items);
        let rows = items.div_ceil(columns);
        let fits = |cells: u32, side: u32| {
            let most = (LONGEST / cells).saturating_sub(GAP).max(LEAST);
            f64::from(most) / f64::from(side.max(1))
        };
        let scale = fits(columns * pictures, width)
            .min(fits(rows, height))
            .min(1.0);
        let cell = [width, height].map(|side| ((f64::from(side) * scale) as u32).max(1));
        let item = [
            pictures * cell[0] + (pictures - 1) * SEAM + GAP,
            cell[1] + GAP,
        ];
        let size = [columns * item[0] + GAP, rows * item[1] + GAP];
        Self {
            canvas: RgbImage::from_pixel(size[0], size[1], Rgb([255; 3])),
            cell,
            item,
            columns,
        }
    }

    /// Puts a picture, squashed to the size of the others, into an item, at its `place` from the left. Outside of the sheet it
    /// is left out.
    pub fn put(&mut self, item: usize, place: usize, picture: &RgbImage) {
        let [width, height] = self.cell;
        let small = if picture.dimensions() == (width, height) {
            picture.clone()
        } else {
            squash(picture, width, height, Filter::Bicubic)
        };
        let (item, place) = (item as u32, place as u32);
        let x = GAP + item % self.columns * self.item[0] + place * (width + SEAM);
        let y = GAP + item / self.columns * self.item[1];
        imageops::replace(&mut self.canvas, &small, i64::from(x), i64::from(y));
    }

    /// Writes the sheet as a PNG, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Report`] if it cannot be written.
    pub fn save(self, path: &Path) -> Result<(), RecipeError> {
        let mut png = Cursor::new(Vec::new());
        let written = self.canvas.write_to(&mut png, ImageFormat::Png);
        let written = written.map_err(io::Error::other);
        let written = written.and_then(|()| seed_files::write_file(path, png.get_ref()));
        written.map_err(|source| RecipeError::Report {
            path: path.to_owned(),
            source,
        })
    }

    /// The sheet as it is.
    pub fn into_picture(self) -> RgbImage {
        self.canvas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colour(value: u8, side: u32) -> RgbImage {
        RgbImage::from_pixel(side, side, Rgb([value; 3]))
    }

    fn count(sheet: &RgbImage, value: u8) -> usize {
        let pixels = sheet.pixels();
        pixels.filter(|pixel| pixel.0 == [value; 3]).count()
    }

    #[test]
    fn items_stand_in_rows_and_do_not_touch() {
        let mut sheet = ContactSheet::new(5, 2, [16, 16]);
        for item in 0..5 {
            sheet.put(item, 0, &colour(10 * item as u8, 16));
            sheet.put(item, 1, &colour(10 * item as u8 + 100, 30));
        }
        // Nowhere: left out.
        sheet.put(99, 0, &colour(77, 16));
        let sheet = sheet.into_picture();
        for item in 0..5u8 {
            for value in [10 * item, 10 * item + 100] {
                assert_eq!(count(&sheet, value), 16 * 16, "{value}");
            }
        }
        assert_eq!(count(&sheet, 77), 0);
        // Original and what was made of it are in one row.
        let at = |value: u8| {
            let found = sheet.enumerate_pixels().find(|(_, _, p)| p.0 == [value; 3]);
            found.map(|(x, y, _)| (x, y)).unwrap()
        };
        let ((left, row), (right, same)) = (at(0), at(100));
        assert_eq!((row, right), (same, left + 17));
    }

    #[test]
    fn a_sheet_of_many_or_of_large_pictures_is_bounded() {
        for (items, side) in [(1, 64), (10_000, 64), (400, 768), (3, 20_000)] {
            let sheet = ContactSheet::new(items, 2, [side, side]).into_picture();
            let (width, height) = sheet.dimensions();
            assert!(
                width <= LONGEST + 2 * GAP && height <= LONGEST + 2 * GAP,
                "{width} {height}"
            );
        }
        let whole = ContactSheet::new(4, 1, [64, 64]).into_picture();
        assert_eq!(whole.dimensions(), (2 * 68 + 4, 2 * 68 + 4));
        assert!(ContactSheet::new(0, 0, [0, 0]).into_picture().width() > 0);
    }
}
