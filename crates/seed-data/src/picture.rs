//! Decoding picture files to 8-bit RGB: PNG, JPEG, WebP, GIF and BMP, told apart by their content.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use serde::{Deserialize, Serialize};

use crate::error::{DataError, PictureError};

/// What becomes of transparency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alpha {
    /// Lay the picture on white.
    #[default]
    OnWhite,
    /// Keep the hidden colours and forget the alpha, as the reference does
    /// (`PIL.Image.convert("RGB")`).
    Drop,
}

/// How pictures are decoded, and what is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PictureOptions {
    /// What becomes of transparency.
    pub alpha: Alpha,
    /// Turn the picture upright as its EXIF orientation says (default). The reference does not.
    pub exif_orientation: bool,
    /// Largest accepted width × height, checked before anything is decoded. The default, 2²⁶ (67
    /// megapixels), is well above cameras and well below what exhausts memory.
    pub max_pixels: u64,
    /// Largest accepted file in bytes (default 128 MiB).
    pub max_file_bytes: u64,
}

impl Default for PictureOptions {
    fn default() -> Self {
        Self {
            alpha: Alpha::OnWhite,
            exif_orientation: true,
            max_pixels: 1 << 26,
            max_file_bytes: 128 << 20,
        }
    }
}

impl PictureOptions {
    /// Exactly the reference's pixels: alpha dropped, EXIF orientation ignored.
    pub fn reference() -> Self {
        Self {
            alpha: Alpha::Drop,
            exif_orientation: false,
            ..Self::default()
        }
    }
}

/// Reads and decodes a picture file.
pub fn read_picture(path: &Path, options: &PictureOptions) -> Result<RgbImage, DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    let bytes = file.metadata().map_err(DataError::io(path))?.len();
    let refused = |source| DataError::Picture {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let max = options.max_file_bytes;
    if bytes > max {
        return Err(refused(PictureError::FileTooLarge { bytes, max }));
    }
    let mut content = Vec::with_capacity(bytes as usize);
    file.take(max)
        .read_to_end(&mut content)
        .map_err(DataError::io(path))?;
    decode_picture(&content, options).map_err(refused)
}

/// Decodes the bytes of a picture file. Of an animation, the first frame counts.
///
/// 16-bit channels keep their high byte; gray is replicated; CMYK is converted without a colour
/// profile, as Pillow does.
pub fn decode_picture(bytes: &[u8], options: &PictureOptions) -> Result<RgbImage, PictureError> {
    if bytes.is_empty() {
        return Err(PictureError::Empty);
    }
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(image::ImageError::IoError)?;
    let format = reader.format().filter(ImageFormat::reading_enabled);
    let format = format.ok_or(PictureError::UnknownFormat)?;
    // The limit holds for what a decoder allocates besides the picture as well.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(options.max_pixels.saturating_mul(8).saturating_add(1 << 20));
    reader.limits(limits);

    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    let max = options.max_pixels;
    if pixels > max {
        return Err(PictureError::TooManyPixels { width, height, max });
    }
    if pixels == 0 {
        return Err(PictureError::NoPixels { width, height });
    }
    // The JPEG decoder would fill the missing part with grey.
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        return Err(PictureError::Truncated);
    }
    let orientation = if options.exif_orientation {
        decoder.orientation()?
    } else {
        Orientation::NoTransforms
    };
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(to_rgb(picture, options.alpha))
}

/// True if an end-of-image marker follows the start of the first scan.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xDA;
    const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];
    // Segments before the scan are skipped by their length: an EXIF thumbnail has an end of its own.
    let mut rest = bytes.get(2..).unwrap_or_default();
    loop {
        match *rest {
            // Fill bytes may precede a marker.
            [0xFF, 0xFF, ..] => rest = &rest[1..],
            [0xFF, START_OF_SCAN, ..] => {
                return rest.windows(2).any(|pair| pair == END_OF_IMAGE);
            }
            [0xFF, _, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                rest = rest.get(2 + length..).unwrap_or_default();
            }
            _ => return false,
        }
    }
}

fn to_rgb(picture: DynamicImage, alpha: Alpha) -> RgbImage {
    let picture = match picture {
        DynamicImage::ImageLuma16(_) | DynamicImage::ImageRgb16(_) => {
            let wide = picture.into_rgb16();
            let (width, height) = wide.dimensions();
            let bytes = high_bytes(wide.as_raw());
            RgbImage::from_raw(width, height, bytes).map(DynamicImage::ImageRgb8)
        }
        DynamicImage::ImageLumaA16(_) | DynamicImage::ImageRgba16(_) => {
            let wide = picture.into_rgba16();
            let (width, height) = wide.dimensions();
            let bytes = high_bytes(wide.as_raw());
            image::RgbaImage::from_raw(width, height, bytes).map(DynamicImage::ImageRgba8)
        }
        narrow => Some(narrow),
    };
    let picture = picture.expect("as many bytes as there were values");
    if alpha == Alpha::Drop || !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    let mut out = RgbImage::new(rgba.width(), rgba.height());
    for (out, &image::Rgba([r, g, b, a])) in out.pixels_mut().zip(rgba.pixels()) {
        out.0 = [r, g, b].map(|value| on_white(value, a));
    }
    out
}

/// The high byte of each value: the rounding division of the `image` crate is one level off from
/// what other libraries give.
fn high_bytes(values: &[u16]) -> Vec<u8> {
    values.iter().map(|value| (value >> 8) as u8).collect()
}

/// `value` seen through `alpha` over white, rounded.
fn on_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}
