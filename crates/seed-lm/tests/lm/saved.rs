//! A trained language model and the base that it was trained on.

use seed_device::{Precision, test_device, test_precisions};
use seed_lm::{LmError, nano};

#[test]
fn the_shipped_model_stands_on_the_shipped_base() {
    let saved = nano::saved().unwrap();
    assert_eq!(saved.about.base, nano::BASE);
    assert_eq!(saved.about.base_identity, nano::opt_identity());
    let device = test_device();
    for precision in test_precisions(&device, &[Precision::F32, Precision::F16]) {
        nano::lm(&device, precision.dtype()).unwrap();
    }
}

/// A base of the very sizes, but of another training.
#[test]
fn another_base_is_refused() {
    let device = test_device();
    let saved = nano::saved().unwrap();
    let other = saved.about.model.opt.init(&device).unwrap();
    let error = saved.load(other, &"0123".repeat(16), &device).unwrap_err();
    assert!(matches!(error, LmError::OtherBase { .. }));
    let own = &nano::opt_identity()[..12];
    for word in ["trained on nano", own, "012301230123", "--base"] {
        assert!(error.to_string().contains(word), "{error}");
    }
}
