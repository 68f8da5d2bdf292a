//! PNG files that say how they were made.

use image::RgbImage;
use png::{BitDepth, ColorType, Encoder, EncodingError};

/// A PNG with text chunks (`iTXt`, which holds any language), each a keyword and its text.
///
/// # Errors
///
/// As the encoder says, such as for a picture without pixels.
pub(crate) fn encoded(
    picture: &RgbImage,
    texts: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<Vec<u8>, EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, picture.width(), picture.height());
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    for (keyword, text) in texts {
        encoder.add_itxt_chunk(keyword.to_owned(), text)?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(picture.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::Rgb;
    use png::Decoder;

    use super::*;

    #[test]
    fn pixels_and_texts_come_back() {
        let picture = RgbImage::from_fn(5, 3, |x, y| Rgb([x as u8, y as u8, 200]));
        let texts = [
            ("codes", "1 2 3".to_owned()),
            ("caption", "Äpfel 🍎".to_owned()),
        ];
        let bytes = encoded(&picture, texts).unwrap();
        let read = image::load_from_memory(&bytes).unwrap();
        assert_eq!(read.into_rgb8(), picture);
        let reader = Decoder::new(Cursor::new(bytes)).read_info().unwrap();
        let found = reader.info().utf8_text.iter().map(|chunk| {
            let text = chunk.get_text().unwrap();
            (chunk.keyword.clone(), text)
        });
        let found: Vec<(String, String)> = found.collect();
        let expected = [("codes", "1 2 3"), ("caption", "Äpfel 🍎")];
        assert_eq!(found, expected.map(|(k, t)| (k.to_owned(), t.to_owned())));
        assert!(encoded(&RgbImage::new(0, 0), []).is_err());
    }
}
