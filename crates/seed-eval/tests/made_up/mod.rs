//! What the pages of the tests show: made up, so that they need no training.

use image::{Rgb, RgbImage};
use rand::RngExt;
use serde::{Serialize, de::DeserializeOwned};

/// Captions as the emoji set has them.
pub(crate) const CAPTIONS: [&str; 6] = [
    "wine glass, alcohol, bar, beverage",
    "cat, animal, kitten, pet",
    "derelict house, home",
    "snail, animal, escargot, garden, nature, slug",
    "person in lotus position facing right, meditation, yoga, serenity",
    "balloon",
];

/// A disc on white, so that pictures can be told apart.
pub(crate) fn drawing(i: u32) -> RgbImage {
    let colour = Rgb([
        (i * 67 % 200) as u8,
        (i * 131 % 180) as u8,
        (i * 29 % 220) as u8,
    ]);
    RgbImage::from_fn(64, 64, |x, y| {
        let (dx, dy) = (x.abs_diff(32 - i % 5 * 3), y.abs_diff(28 + i % 4 * 4));
        if dx * dx + dy * dy < 300 + i % 7 * 50 {
            colour
        } else {
            Rgb([255; 3])
        }
    })
}

/// A falling or rising curve with noise, a point every five steps.
pub(crate) fn noisy(steps: u32, from: f64, to: f64, rng: &mut impl RngExt) -> Vec<(f64, f64)> {
    let decay = |step| (-6.0 * f64::from(step) / f64::from(steps)).exp();
    let mut value = |step| (to + (from - to) * decay(step)) * rng.random_range(0.88..1.12);
    (0..steps)
        .step_by(5)
        .map(|s| (f64::from(s), value(s)))
        .collect()
}

/// The page names nothing outside itself, and a report whose pictures would is not read.
#[track_caller]
pub(crate) fn loads_nothing_from_elsewhere<R: Serialize + DeserializeOwned>(
    report: &R,
    html: &str,
) {
    for outside in [
        "http:", "https:", "src=\"/", "@import", "url(", "<link", "<script",
    ] {
        assert!(!html.contains(outside), "{outside}");
    }
    let json = serde_json::to_string(report).unwrap();
    let elsewhere = json.replacen("data:image/png;base64,", "https://example.org/a.png?", 1);
    let error = serde_json::from_str::<R>(&elsewhere).err().unwrap();
    assert!(error.to_string().contains("https://example.org"), "{error}");
}
