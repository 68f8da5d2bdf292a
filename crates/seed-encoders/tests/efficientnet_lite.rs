//! EfficientNet-Lite against the Python package's own numbers (`fixtures/efficientnet_lite.py`).

#[path = "../../seed-nn/tests/shared/leaves.rs"]
mod leaves;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::{Tensor, TensorData};
use leaves::each_integer_is_bounded;
use seed_device::test_device;
use seed_encoders::{
    EfficientNetError, EfficientNetLite, EfficientNetLiteConfig, EfficientNetStage,
    efficientnet_keys,
};
use seed_weights::{Checkpoint, WeightsError, parameter_count, parameters};

/// The largest difference that the order of sums makes, for features of up to 6.
const TOLERANCE: f32 = 2e-5;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/efficientnet_lite.safetensors")
}

fn config() -> EfficientNetLiteConfig {
    let stage = |[blocks, kernel, stride, expansion, width]: [usize; 5]| EfficientNetStage {
        blocks,
        kernel,
        stride,
        expansion,
        width,
    };
    EfficientNetLiteConfig {
        stem_width: 8,
        stages: [[1, 3, 1, 1, 16], [2, 5, 2, 2, 8], [2, 3, 2, 3, 16]]
            .map(stage)
            .to_vec(),
        feature_width: 320,
        norm_eps: 1e-3,
    }
}

fn golden(key: &str) -> TensorData {
    Checkpoint::open(fixture()).unwrap().float(key).unwrap()
}

/// The largest difference from golden features.
#[track_caller]
fn distance(found: Tensor<2>, key: &str) -> f32 {
    let (found, wanted) = (found.into_data(), golden(key));
    assert_eq!(found.shape(), wanted.shape());
    let [found, wanted] = [found, wanted].map(|data| data.try_to_vec::<f32>().unwrap());
    let pairs = found.iter().zip(&wanted);
    let distance = pairs.fold(0.0, |most, (found, wanted)| {
        let distance = (found - wanted).abs();
        // NaN is as far as it gets.
        if distance <= most { most } else { distance }
    });
    println!("{key}: {distance:.1e}");
    distance
}

#[test]
fn features_are_the_packages() {
    let device = test_device();
    let (model, report) = config().load(fixture(), &device).unwrap();
    let beside = |key: &&String| !key.ends_with("num_batches_tracked") && !key.starts_with("_fc.");
    let unused: Vec<_> = report.unused.iter().filter(beside).collect();
    assert_eq!(
        unused,
        [
            "even",
            "even_features",
            "odd",
            "odd_features",
            "small",
            "small_features"
        ]
    );
    let input = |key: &str| Tensor::<4>::from_data(golden(key), &device);
    for (key, found) in [
        ("even_features", model.forward(input("even"))),
        ("odd_features", model.forward(input("odd"))),
        ("small_features", model.features(input("small"), 64)),
    ] {
        let distance = distance(found, key);
        assert!(distance <= TOLERANCE, "{key}: {distance}");
    }
}

/// With autodiff Burn's own batch norm would take the statistics of the batch, and change the saved ones.
#[test]
fn norms_are_frozen_with_autodiff_too() {
    let device = test_device().autodiff();
    let (model, _) = config().load(fixture(), &device).unwrap();
    let even = || Tensor::<4>::from_data(golden("even"), &device);
    for _ in 0..2 {
        let distance = distance(model.forward(even()), "even_features");
        assert!(distance <= TOLERANCE, "{distance}");
    }
}

#[test]
fn a_picture_of_the_right_size_is_not_resized() {
    let device = test_device();
    let (model, _) = config().load(fixture(), &device).unwrap();
    let small = Tensor::<4>::from_data(golden("small"), &device);
    let found = model.features(small.clone(), 16);
    assert_eq!(found.dims(), [2, 320]);
    // By hand, colour by colour.
    let colours =
        |values: [f32; 3]| Tensor::<1>::from_floats(values, &device).reshape([1, 3, 1, 1]);
    let images = (small - colours([0.485, 0.456, 0.406])) / colours([0.229, 0.224, 0.225]);
    let wanted = model.forward(images).into_data();
    let [found, wanted] = [found.into_data(), wanted].map(|data| data.try_to_vec::<f32>().unwrap());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!((found - wanted).abs() < 1e-5, "{found} is not {wanted}");
    }
    assert!(
        distance(
            model.features(Tensor::from_data(golden("small"), &device), 48),
            "small_features"
        ) > 1e-3
    );
}

/// Each tensor of the published file is a parameter of ours with its shape, or one of those that features do not need.
#[test]
fn lite0_has_the_keys_of_the_published_file() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/keys/efficientnet-lite0.txt");
    let listing = fs::read_to_string(path).unwrap();
    let mut published: BTreeMap<&str, Vec<usize>> = listing
        .lines()
        .map(|line| {
            let (key, shape) = line.split_once('\t').unwrap();
            (key, serde_json::from_str(shape).unwrap())
        })
        .collect();
    let model = EfficientNetLiteConfig::lite0()
        .init(&test_device())
        .unwrap();
    assert_eq!(parameter_count(&model), 3_413_024);
    for parameter in parameters(&model) {
        let key = efficientnet_keys().key(&parameter.path);
        assert_eq!(
            published.remove(key.as_str()),
            Some(parameter.shape),
            "{key}"
        );
    }
    let left = |key: &&str| !key.ends_with(".num_batches_tracked") && !key.starts_with("_fc.");
    let left: Vec<_> = published.keys().copied().filter(left).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn another_file_is_refused_by_name() {
    let device = test_device();
    let error = EfficientNetLite::from_file("nowhere/lite0.pth", &device).unwrap_err();
    assert!(matches!(error, EfficientNetError::Weights(_)), "{error}");
    assert!(error.to_string().contains("nowhere/lite0.pth"), "{error}");
    // The fixture is of other sizes: the published ones have blocks that it lacks.
    let error = EfficientNetLite::from_file(fixture(), &device).unwrap_err();
    let EfficientNetError::Weights(WeightsError::Missing { keys, .. }) = &error else {
        panic!("{error}");
    };
    assert!(keys.contains(&"_blocks.15._project_conv.weight".to_owned()));
    let mut other = config();
    other.stages[1].kernel = 3;
    let error = other.load(fixture(), &device).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("_blocks.1._depthwise_conv.weight"),
        "{error}"
    );
}

#[test]
fn each_size_has_a_limit() {
    let device = test_device();
    let found = each_integer_is_bounded(&config(), &[], |config| config.init(&device).map(drop));
    assert_eq!(found, 17);
    let even = EfficientNetStage {
        kernel: 4,
        ..config().stages[0].clone()
    };
    let (mut without, mut nan, mut with_even) = (config(), config(), config());
    without.stages.clear();
    nan.norm_eps = f64::NAN;
    with_even.stages[0] = even;
    for (config, word) in [(without, "stages"), (nan, "norm_eps"), (with_even, "odd")] {
        let error = config.init(&device).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
