//! The case `12_metrics` of the workspace's golden numbers.

use std::{fs, path::Path};

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A file of the case.
pub(crate) fn file<T: DeserializeOwned>(name: &str) -> T {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/12_metrics");
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

/// A section of `expected.json`.
pub(crate) fn expected<T: DeserializeOwned>(section: &str) -> T {
    let mut all: Value = file("expected.json");
    serde_json::from_value(all[section].take()).unwrap()
}

/// To a share of the golden value.
#[track_caller]
pub(crate) fn close(found: f64, golden: f64, relative: f64) {
    assert!(
        (found - golden).abs() <= relative * golden.abs(),
        "{found} is not {golden}"
    );
}
