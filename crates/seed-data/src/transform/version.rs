//! Which version of the preprocessing made a row of a cache.

/// Version of the code between a picture file and a model's input: what is this crate's own in decoding,
/// and the transforms. It belongs into the key of every cached row that a picture went into, and a change
/// of any pixel raises it.
pub const TRANSFORM_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::TRANSFORM_VERSION;
    use crate::picture::{Alpha, PictureOptions, decode_picture};
    use crate::transform::{
        Affine, Augment, ColorJitter, EvalTransform, Filter, Normalize, TrainTransform,
        short_side_crop,
    };

    /// Waves and a diagonal edge, 37 × 29.
    fn picture() -> RgbImage {
        RgbImage::from_fn(37, 29, |x, y| {
            let edge = if x > 2 * y { 90 } else { 0 };
            let wave = |a: u32, b: u32| ((a * x * x + b * y * y + x * y) % 157) as u8;
            Rgb([wave(1, 3), wave(5, 2) + edge, 255 - wave(2, 7)])
        })
    }

    /// Holds bytes against their hash at this version.
    #[track_caller]
    fn check(what: &str, bytes: &[u8], expected: &str) {
        let found = blake3::hash(bytes).to_hex();
        assert_eq!(
            &found[..16],
            expected,
            "{what} is not what version {TRANSFORM_VERSION} gave: raise TRANSFORM_VERSION, so that caches \
             are made anew, and pin the new hash"
        );
    }

    #[test]
    fn pixels_are_those_of_this_version() {
        assert_eq!(
            TRANSFORM_VERSION, 1,
            "pin the hashes of the new version below"
        );
        let picture = picture();

        let bicubic = EvalTransform::new(24);
        let bilinear = EvalTransform {
            filter: Filter::Bilinear,
            ..bicubic
        };
        check(
            "bicubic",
            bicubic.pixels(&picture).as_raw(),
            "e7ec9064dfffc49f",
        );
        check(
            "bilinear",
            bilinear.pixels(&picture).as_raw(),
            "c27c415ff35ce1d9",
        );
        let enlarged = EvalTransform::new(50).pixels(&picture);
        check("enlarged", enlarged.as_raw(), "aba3c984dfcd858e");
        let cropped = short_side_crop(&picture, 16, Filter::Bicubic);
        check("short side", cropped.as_raw(), "9229e88b76546459");
        // Additions, divisions and rounding alone, which are the same on every machine.
        let tensor = bicubic.tensor(&picture, &Normalize::clip());
        let bytes: Vec<u8> = tensor
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        check("normalised", &bytes, "8d7938007fd7f0a6");
    }

    /// Logarithms and sines may differ between machines in their last bit; these pixels stay the same when
    /// each of them is two such steps off.
    #[test]
    fn random_pixels_are_those_of_this_version() {
        let picture = picture();
        let plain = TrainTransform {
            flip: 0.5,
            ..TrainTransform::new(16)
        };
        let augmented = TrainTransform {
            augment: Augment {
                affine: Affine {
                    probability: 1.0,
                    rotate: 15.0,
                    shear: 10.0,
                    shrink: 0.5,
                    shift: 0.1,
                },
                jitter: ColorJitter {
                    brightness: 0.4,
                    contrast: 0.4,
                    saturation: 0.4,
                    hue: 0.1,
                },
                grayscale: 0.2,
                erase: 0.5,
            },
            ..plain.clone()
        };
        let views = |transform: &TrainTransform| -> Vec<u8> {
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            let views = (0..8).map(|_| transform.pixels(&picture, &mut rng).into_raw());
            views.flatten().collect()
        };
        check("crop and flip", &views(&plain), "d61926e852b41945");
        check("augmented", &views(&augmented), "c298ff426152647f");
    }

    #[test]
    fn decoded_pixels_are_those_of_this_version() {
        let decoded = |bytes: &[u8], alpha| {
            let options = PictureOptions {
                alpha,
                ..PictureOptions::default()
            };
            decode_picture(bytes, &options).unwrap().into_raw()
        };
        let deep = ImageBuffer::from_fn(9, 7, |x, y| Luma([(x * 7919 + y * 104) as u16]));
        let mut png = Cursor::new(Vec::new());
        deep.write_to(&mut png, ImageFormat::Png).unwrap();
        check(
            "16 bit",
            &decoded(png.get_ref(), Alpha::OnWhite),
            "106ea8c5ad0b2fb8",
        );

        let clear = ImageBuffer::from_fn(9, 7, |x, y| LumaA([(x * 28) as u8, (y * 41) as u8]));
        let mut png = Cursor::new(Vec::new());
        clear.write_to(&mut png, ImageFormat::Png).unwrap();
        check(
            "on white",
            &decoded(png.get_ref(), Alpha::OnWhite),
            "ba2165c3bf5c9319",
        );
        check(
            "alpha dropped",
            &decoded(png.get_ref(), Alpha::Drop),
            "e7778c3bc8415971",
        );
    }
}
