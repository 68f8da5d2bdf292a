//! The invariants of ARCHITECTURE.md that a test can hold.

mod files;

use std::{collections::BTreeMap, fs, path::Path};

use files::Crate;

/// Which crates of the workspace each crate may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("seed-device", &[]),
    ("seed-nn", &["seed-device"]),
    ("seed-files", &[]),
    ("seed-weights", &["seed-device", "seed-files"]),
    ("seed-data", &["seed-files"]),
    ("seed-eval", &["seed-files"]),
    ("seed-encoders", &["seed-nn", "seed-weights"]),
    (
        "seed-tokenizer",
        &["seed-nn", "seed-weights", "seed-encoders"],
    ),
    ("seed-lm", &["seed-nn", "seed-weights"]),
    // The engine knows neither data nor models.
    ("seed-train", &["seed-device", "seed-files"]),
    (
        "seed-diffusion",
        &["seed-device", "seed-files", "seed-nn", "seed-weights"],
    ),
    (
        "seed-recipes",
        &[
            "seed-device",
            "seed-nn",
            "seed-weights",
            "seed-encoders",
            "seed-tokenizer",
            "seed-lm",
            "seed-data",
            "seed-eval",
            "seed-train",
            "seed-diffusion",
            "seed-files",
        ],
    ),
    (
        "seed-parity",
        &[
            "seed-nn",
            "seed-weights",
            "seed-diffusion",
            "seed-encoders",
            "seed-tokenizer",
            "seed-lm",
            "seed-data",
            "seed-eval",
            "seed-train",
        ],
    ),
    (
        "seed-cli",
        &[
            "seed-device",
            "seed-weights",
            "seed-encoders",
            "seed-tokenizer",
            "seed-lm",
            "seed-data",
            "seed-train",
            "seed-recipes",
            "seed-eval",
            "seed-parity",
            "seed-diffusion",
            "seed-files",
        ],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn arrows_run_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some(name.as_str()));
        let allowed = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} is new: give it a line in ALLOWED"));
        let uses = manifest["dependencies"].as_table().unwrap();
        for used in uses.keys().filter(|used| used.starts_with("seed-")) {
            assert!(
                allowed.contains(&used.as_str()),
                "{name} must not depend on {used}"
            );
        }
    }
}

/// Inside a crate a name is imported from the file that defines it, and no two files need each other: any one can be
/// read after those it uses.
#[test]
fn files_import_each_other_without_circles() {
    let mut circles = Vec::new();
    for (name, _) in ALLOWED {
        let krate = Crate::read(&root().join("crates").join(name).join("src"));
        assert!(!krate.uses().is_empty(), "{name} has no files");
        if let Some(circle) = krate.circle() {
            circles.push(format!("{name}: {}", circle.join(" → ")));
        }
    }
    assert!(circles.is_empty(), "circles:\n{}", circles.join("\n"));
}

#[test]
fn only_seed_device_names_a_backend() {
    let mut checked = 0;
    for (name, _) in ALLOWED.iter().filter(|(name, _)| *name != "seed-device") {
        let folder = root().join("crates").join(name);
        let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml"))
            .unwrap()
            .parse()
            .unwrap();
        if let Some(features) = manifest["dependencies"]
            .get("burn")
            .and_then(|b| b.get("features"))
        {
            for feature in features.as_array().unwrap() {
                let feature = feature.as_str().unwrap();
                assert!(!is_backend(feature), "{name} turns on burn/{feature}");
            }
        }
        for_each_source(&folder.join("src"), &mut |path, text| {
            checked += 1;
            for call in [
                "Device::flex",
                "Device::cuda",
                "Device::libtorch",
                "Device::ndarray",
            ] {
                assert!(!text.contains(call), "{} calls {call}", path.display());
            }
        });
    }
    assert!(checked > 30, "only {checked} files were looked at");
}

fn is_backend(feature: &str) -> bool {
    ["flex", "ndarray", "tch", "cuda", "wgpu", "rocm", "cpu"].contains(&feature)
}

fn for_each_source(folder: &Path, check: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for_each_source(&path, check);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            check(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}
