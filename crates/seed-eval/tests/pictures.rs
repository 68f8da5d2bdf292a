//! Measures of pictures against the numbers of numpy and scikit-image (`fixtures/pictures.py`).

use seed_eval::{
    Features, Share,
    pictures::{
        Bootstrap, Discrepancy, Estimate, Picture, PixelScores, RidgeJudge, paired_cosine, psnr,
        psnr_drawn, sharpness, ssim,
    },
};
use serde::Deserialize;

const HEIGHT: usize = 19;
const WIDTH: usize = 23;
const PICTURES: usize = 4;

#[derive(Deserialize)]
struct Golden {
    pixels: Vec<Pixels>,
    cosine: Figure,
    kid: Figure,
    cmmd: Figure,
    judge: Judge,
}

#[derive(Deserialize)]
struct Pixels {
    psnr: f64,
    psnr_drawn: f64,
    ssim: f64,
    sharpness: [f64; 2],
}

#[derive(Deserialize)]
struct Figure {
    value: f64,
    interval: [f64; 2],
    floor: Option<f64>,
    floor_interval: Option<[f64; 2]>,
}

#[derive(Deserialize)]
struct Judge {
    scores: Vec<Vec<f64>>,
    first: usize,
    first_ten: usize,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("fixtures/pictures.json")).unwrap()
}

#[track_caller]
fn close(found: f64, wanted: f64, tolerance: f64) {
    assert!(
        (found - wanted).abs() <= tolerance,
        "{found} is not {wanted}"
    );
}

/// The ends of an interval are drawn: within an eighth of its width they agree with those of another stream.
#[track_caller]
fn interval_close(found: Estimate, wanted: [f64; 2]) {
    let tolerance = (wanted[1] - wanted[0]) / 8.0;
    close(found.low, wanted[0], tolerance);
    close(found.high, wanted[1], tolerance);
}

/// The finaliser of MurmurHash3.
fn mixed(n: usize) -> u32 {
    let n = n as u32;
    let n = (n ^ (n >> 16)).wrapping_mul(0x85EB_CA6B);
    let n = (n ^ (n >> 13)).wrapping_mul(0xC2B2_AE35);
    n ^ (n >> 16)
}

/// `picture` and `rebuilt` of the script, in levels.
fn levels(index: usize) -> [Vec<i64>; 2] {
    let mut original = Vec::new();
    for c in 0..3 {
        for y in 0..HEIGHT {
            for x in 0..WIDTH {
                let ramp = (y * (5 + index) + x * (3 + c) + 40 * c) % 200;
                let noise = mixed(((index * 3 + c) * HEIGHT + y) * WIDTH + x + 1) % 48;
                let paper = y < 3 || x >= WIDTH - 4;
                original.push(if paper {
                    255
                } else {
                    ramp as i64 + i64::from(noise)
                });
            }
        }
    }
    let rebuilt = (0..original.len()).map(|at| {
        let left = if at % WIDTH == 0 { at } else { at - 1 };
        let noise = i64::from(mixed(at + 100_000 * (index + 1)) % 9) - 4;
        ((original[at] * 3 + original[left]).div_euclid(4) + noise).clamp(0, 255)
    });
    let rebuilt = rebuilt.collect();
    [original, rebuilt]
}

fn batches() -> [Vec<f32>; 2] {
    let mut batches = [Vec::new(), Vec::new()];
    for index in 0..PICTURES {
        for (batch, levels) in batches.iter_mut().zip(levels(index)) {
            batch.extend(levels.iter().map(|&level| (level as f64 / 255.0) as f32));
        }
    }
    batches
}

/// `features` of the script.
fn features(rows: usize, dim: usize, seed: usize, shift: f32) -> Vec<f32> {
    let value = |at: usize| {
        let value = (f64::from(mixed(at + 1 + 1_000_003 * seed)) / 2f64.powi(32)) as f32;
        if at % dim < dim / 2 {
            value + shift
        } else {
            value
        }
    };
    (0..rows * dim).map(value).collect()
}

#[test]
fn pixels_are_scored_as_by_scikit_image() {
    let golden = golden().pixels;
    let [originals, rebuilt] = batches();
    let [originals, rebuilt] =
        [&originals, &rebuilt].map(|batch| Picture::batch(batch, HEIGHT, WIDTH).unwrap());
    assert_eq!(originals.len(), golden.len());
    for ((&a, &b), golden) in originals.iter().zip(&rebuilt).zip(&golden) {
        close(psnr(a, b).unwrap(), golden.psnr, 1e-9);
        close(psnr_drawn(a, b).unwrap().unwrap(), golden.psnr_drawn, 1e-9);
        close(ssim(a, b).unwrap(), golden.ssim, 1e-9);
        for (picture, wanted) in [a, b].into_iter().zip(golden.sharpness) {
            close(sharpness(picture), wanted, 1e-7);
        }
    }

    let scores = PixelScores::measure(&originals, &rebuilt, Bootstrap::default()).unwrap();
    let mean = |value: fn(&Pixels) -> f64| golden.iter().map(value).sum::<f64>() / 4.0;
    assert_eq!((scores.pictures, scores.drawn), (PICTURES, PICTURES));
    close(scores.psnr.value, mean(|one| one.psnr), 1e-9);
    close(scores.psnr_drawn.value, mean(|one| one.psnr_drawn), 1e-9);
    close(scores.ssim.value, mean(|one| one.ssim), 1e-9);
    let ratio = mean(|one| one.sharpness[1]) / mean(|one| one.sharpness[0]);
    close(scores.sharpness.value, ratio, 1e-7);
    for found in [
        scores.psnr,
        scores.psnr_drawn,
        scores.ssim,
        scores.sharpness,
    ] {
        assert!(
            found.low < found.value && found.value < found.high,
            "{found:?}"
        );
    }
}

#[test]
fn similarity_is_numpys() {
    let golden = golden().cosine;
    let drawn = Features::new(50, 10, features(50, 10, 3, 0.25)).unwrap();
    let real = Features::new(50, 10, features(50, 10, 2, 0.0)).unwrap();
    let found = paired_cosine(&drawn, &real, Bootstrap::default()).unwrap();
    close(found.value, golden.value, 1e-4);
    interval_close(found, golden.interval);
}

#[test]
fn discrepancies_are_numpys() {
    let golden = golden();
    let drawn = Features::new(36, 10, features(36, 10, 1, 0.25)).unwrap();
    let real = Features::new(50, 10, features(50, 10, 2, 0.0)).unwrap();
    let bootstrap = Bootstrap {
        resamples: 2000,
        seed: 1,
    };
    let kid = Discrepancy::kid(&drawn, &real, bootstrap).unwrap();
    let cmmd = Discrepancy::cmmd(&drawn, &real, bootstrap).unwrap();
    // Features of length 1 are kept in 32 bits.
    for (found, golden, tolerance) in [(kid, golden.kid, 1e-12), (cmmd, golden.cmmd, 1e-5)] {
        close(found.distance.value, golden.value, tolerance);
        interval_close(found.distance, golden.interval);
        let floor_interval = golden.floor_interval.unwrap();
        interval_close(found.floor, floor_interval);
        let width = floor_interval[1] - floor_interval[0];
        close(found.floor.value, golden.floor.unwrap(), width / 20.0);
    }
}

#[test]
fn the_judge_is_numpys() {
    let golden = golden().judge;
    let (rows, dim, classes) = (90, 16, 15);
    let labelled = |rows: usize, seed, labels: &[usize]| {
        let mut values = features(rows, dim, seed, 0.0);
        for (row, label) in labels.iter().enumerate() {
            values[row * dim + label] = (f64::from(values[row * dim + label]) + 0.5) as f32;
        }
        Features::new(rows, dim, values).unwrap()
    };
    let labels: Vec<usize> = (0..rows).map(|row| row * 5 % (classes - 1)).collect();
    let train = labelled(rows, 11, &labels);
    let judge = RidgeJudge::fit(&train, &labels, classes, 3.0).unwrap();
    let labels: Vec<usize> = (0..40).map(|row| row * 3 % classes).collect();
    let drawn = labelled(40, 12, &labels);
    let scores = judge.scores(&drawn).unwrap();
    for (row, wanted) in golden.scores.iter().enumerate() {
        for (&found, &wanted) in scores.row(row).iter().zip(wanted) {
            close(f64::from(found), wanted, 1e-7);
        }
    }
    let found = judge.recognition(&drawn, &labels).unwrap();
    assert_eq!(found.r1, Share::new(golden.first, 40));
    assert_eq!(found.r10, Share::new(golden.first_ten, 40));
}
