//! Running the program.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use image::{Rgb, RgbImage};

pub(crate) fn seed(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seed"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
pub(crate) fn ok(arguments: &[&str]) -> String {
    let output = seed(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Three pictures that a nano tokenizer tells apart, in a fresh folder.
pub(crate) fn pictures() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, colour, side) in [
        ("a", [200, 30, 30], 40),
        ("b", [20, 160, 60], 70),
        ("c", [240, 220, 40], 64),
    ] {
        let mut picture = RgbImage::from_pixel(side, side, Rgb([255, 255, 255]));
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            if (x + 2 * y) % side < side / 2 {
                *pixel = Rgb(colour);
            }
        }
        picture
            .save(folder.path().join(format!("{name}.png")))
            .unwrap();
    }
    folder
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
