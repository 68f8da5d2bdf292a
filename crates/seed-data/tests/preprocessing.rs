//! Files of pictures, crops and augmentation. That decoding, resampling and normalising give the
//! reference's pixels is the case `07_preprocessing` of `tests/fixtures`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage, imageops};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use seed_data::{
    Alpha, Augment, ColorJitter, DataError, PictureError, PictureOptions, Region, TrainTransform,
    decode_picture, read_picture,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/07_preprocessing")
        .join(name)
}

fn landscape() -> RgbImage {
    read_picture(&fixture("landscape.jpg"), &PictureOptions::reference()).unwrap()
}

#[test]
fn random_regions_keep_to_scale_and_ratio() {
    let transform = TrainTransform::new(64);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..1000 {
        let region = transform.region(120, 100, &mut rng);
        assert!(region.left + region.width <= 120 && region.top + region.height <= 100);
        let area = f64::from(region.width * region.height) / 12_000.0;
        let ratio = f64::from(region.width) / f64::from(region.height);
        assert!((0.48..=1.02).contains(&area), "{region:?}");
        assert!((0.73..=1.36).contains(&ratio), "{region:?}");
    }
    // Nothing fits into a ribbon: the central crop of the nearest allowed ratio.
    let fallback = transform.region(400, 10, &mut rng);
    assert_eq!(
        fallback,
        Region {
            top: 0,
            left: 193,
            width: 13,
            height: 10
        }
    );
    assert_eq!(transform.region(1, 1, &mut rng).width, 1);
}

#[test]
fn augmentation_depends_on_the_generator_alone() {
    let source = landscape();
    let plain = TrainTransform::new(48);
    let augmented = TrainTransform {
        flip: 0.5,
        augment: Augment {
            affine: seed_data::Affine {
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
    let run = |transform: &TrainTransform, seed| {
        transform.pixels(&source, &mut ChaCha8Rng::seed_from_u64(seed))
    };
    assert_eq!(run(&augmented, 7), run(&augmented, 7));
    assert_ne!(run(&augmented, 7), run(&augmented, 8));
    assert_ne!(run(&augmented, 7), run(&plain, 7));
}

#[test]
fn shrinking_leaves_a_white_border_and_keeps_the_centre() {
    let black = RgbImage::from_pixel(40, 40, image::Rgb([0; 3]));
    let affine = seed_data::Affine {
        probability: 1.0,
        shrink: 1.0,
        ..Default::default()
    };
    let augment = Augment {
        affine,
        ..Augment::default()
    };
    let mut widths = BTreeSet::new();
    for seed in 0..20 {
        let out = augment.apply(black.clone(), &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(out.get_pixel(20, 20).0, [0; 3]);
        widths.insert(
            (0..40)
                .filter(|&x| out.get_pixel(x, 20).0 == [0; 3])
                .count(),
        );
    }
    assert!(widths.len() > 5, "{widths:?}");
    assert!(
        widths.iter().all(|width| (18..=40).contains(width)),
        "{widths:?}"
    );
}

#[test]
fn jitter_keeps_grey_grey_and_grayscale_removes_colour() {
    let grey = RgbImage::from_pixel(8, 8, image::Rgb([90; 3]));
    let mut augment = Augment {
        jitter: ColorJitter {
            saturation: 0.9,
            hue: 0.5,
            ..ColorJitter::default()
        },
        ..Augment::default()
    };
    for seed in 0..20 {
        let out = augment.apply(grey.clone(), &mut ChaCha8Rng::seed_from_u64(seed));
        let pairs = out.as_raw().iter().zip(grey.as_raw());
        assert!(pairs.map(|(a, b)| a.abs_diff(*b)).all(|off| off <= 1));
    }
    augment.grayscale = 1.0;
    let source = landscape();
    let out = augment.apply(source, &mut ChaCha8Rng::seed_from_u64(3));
    assert!(out.pixels().all(|p| p.0[0] == p.0[1] && p.0[1] == p.0[2]));
}

#[test]
fn transparency_is_laid_on_white_unless_dropped() {
    let transparent = image::RgbaImage::from_pixel(2, 1, image::Rgba([255, 0, 100, 51]));
    let mut bytes = Vec::new();
    transparent
        .write_to(&mut std::io::Cursor::new(&mut bytes), ImageFormat::Png)
        .unwrap();
    let white = decode_picture(&bytes, &PictureOptions::default()).unwrap();
    assert_eq!(white.get_pixel(0, 0).0, [255, 204, 224]);
    let options = PictureOptions {
        alpha: Alpha::Drop,
        ..PictureOptions::default()
    };
    let dropped = decode_picture(&bytes, &options).unwrap();
    assert_eq!(dropped.get_pixel(0, 0).0, [255, 0, 100]);
}

#[test]
fn exif_orientation_is_applied_unless_refused() {
    let path = fixture("exif_rotated.jpg");
    let upright = read_picture(&path, &PictureOptions::default()).unwrap();
    assert_eq!(upright.dimensions(), (40, 64));
    let stored = read_picture(&path, &PictureOptions::reference()).unwrap();
    assert_eq!(stored.dimensions(), (64, 40));
    assert_eq!(imageops::rotate90(&stored), upright);
}

#[test]
fn every_format_is_told_by_its_content() {
    let source = landscape();
    let formats = [
        (ImageFormat::Png, true),
        (ImageFormat::WebP, true),
        (ImageFormat::Bmp, true),
        (ImageFormat::Gif, false),
        (ImageFormat::Jpeg, false),
    ];
    for (format, lossless) in formats {
        let mut bytes = Vec::new();
        source
            .write_to(&mut std::io::Cursor::new(&mut bytes), format)
            .unwrap();
        let decoded = decode_picture(&bytes, &PictureOptions::default()).unwrap();
        assert_eq!(decoded.dimensions(), source.dimensions(), "{format:?}");
        if lossless {
            assert_eq!(decoded, source, "{format:?}");
        }
        // Cut anywhere, it is an error and never a panic or a silently grey picture.
        for keep in [1, 8, 30, bytes.len() / 2, bytes.len() * 9 / 10] {
            let cut = decode_picture(&bytes[..keep], &PictureOptions::default());
            assert!(cut.is_err(), "{format:?} cut to {keep} of {}", bytes.len());
        }
    }
}

#[test]
fn unusable_files_are_named_with_their_reason() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = read_picture(&path, &PictureOptions::default()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        match error {
            DataError::Picture { source, .. } => *source,
            other => panic!("{other}"),
        }
    };
    assert!(matches!(read("empty.png", b""), PictureError::Empty));
    assert!(matches!(
        read("text.png", b"hello, this is text"),
        PictureError::UnknownFormat
    ));
    let jpeg = std::fs::read(fixture("landscape.jpg")).unwrap();
    assert!(matches!(
        read("cut.jpg", &jpeg[..jpeg.len() / 2]),
        PictureError::Truncated
    ));
    let png = std::fs::read(fixture("gray.png")).unwrap();
    assert!(matches!(
        read("cut.png", &png[..png.len() / 2]),
        PictureError::Decode(_)
    ));
    let missing = read_picture(&folder.path().join("none.png"), &PictureOptions::default());
    assert!(matches!(missing, Err(DataError::Io { .. })));
}

#[test]
fn huge_pictures_are_refused_before_decoding() {
    // A BMP header that promises 60000 × 60000 pixels, and nothing after it.
    let mut bomb = Vec::new();
    bomb.extend(b"BM");
    bomb.extend(54_u32.to_le_bytes());
    bomb.extend([0; 4]);
    bomb.extend(54_u32.to_le_bytes());
    bomb.extend(40_u32.to_le_bytes());
    bomb.extend(60_000_i32.to_le_bytes());
    bomb.extend(60_000_i32.to_le_bytes());
    bomb.extend(1_u16.to_le_bytes());
    bomb.extend(24_u16.to_le_bytes());
    bomb.extend([0; 24]);
    assert!(matches!(
        decode_picture(&bomb, &PictureOptions::default()),
        Err(PictureError::TooManyPixels {
            width: 60_000,
            height: 60_000,
            ..
        })
    ));

    let path = fixture("landscape.jpg");
    let small = PictureOptions {
        max_pixels: 1000,
        ..PictureOptions::default()
    };
    let error = read_picture(&path, &small).unwrap_err().to_string();
    assert!(
        error.contains("landscape.jpg") && error.contains("97 × 61"),
        "{error}"
    );
    let short = PictureOptions {
        max_file_bytes: 100,
        ..PictureOptions::default()
    };
    let error = read_picture(&path, &short).unwrap_err().to_string();
    assert!(error.contains("max_file_bytes"), "{error}");
}
