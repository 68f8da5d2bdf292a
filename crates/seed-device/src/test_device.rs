//! The one suite on any device.

use burn::tensor::Device;

use crate::{DeviceSpec, Precision, support::name};

/// The device that the test suite runs on: `SEED_TEST_DEVICE`, or `flex`.
///
/// # Panics
///
/// Panics if the variable names a device that cannot be opened, with the reason.
pub fn test_device() -> Device {
    let text = std::env::var("SEED_TEST_DEVICE").unwrap_or_else(|_| "flex".to_owned());
    match text.parse::<DeviceSpec>().and_then(DeviceSpec::open) {
        Ok(device) => device,
        Err(error) => panic!("SEED_TEST_DEVICE: {error}"),
    }
}

/// Those of the precisions that a test's device has. What it lacks is [`left_out`], by name.
pub fn test_precisions(device: &Device, wanted: &[Precision]) -> Vec<Precision> {
    let (has, lacks): (Vec<Precision>, Vec<Precision>) = wanted
        .iter()
        .partition(|precision| precision.require_on(device).is_ok());
    for precision in lacks {
        left_out(device, &precision.to_string());
    }
    has
}

/// Says that a test leaves out what its device cannot do, so that it does not pass in silence: a line
/// `left out on DEVICE: TEST: WHAT` on the test's output, which `cargo test -- --show-output` shows.
pub fn left_out(device: &Device, what: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    println!("left out on {}: {test}: {what}", name(device));
}
