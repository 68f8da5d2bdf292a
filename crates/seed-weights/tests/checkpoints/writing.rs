//! Files that this library writes.

use std::{collections::HashMap, fs, path::Path};

use burn::{
    module::{Module, Param},
    tensor::{DType, Tensor, TensorData},
};
use safetensors::{Dtype, tensor::TensorView};
use seed_weights::{
    About, Cast, Checkpoint, ConvertReport, KeyMap, WeightsError, convert, load, save, values,
};

use crate::{
    files::{fixture, floats, safetensors, sound},
    loading::model,
};

#[test]
fn a_saved_module_is_the_file_that_the_safetensors_crate_would_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = model(&seed_device::test_device());
    let keys = KeyMap::identity();
    for (dtype, name) in [
        (DType::F32, Dtype::F32),
        (DType::F16, Dtype::F16),
        (DType::BF16, Dtype::BF16),
    ] {
        save(&model, &path, &keys, dtype, "{}".to_owned()).unwrap();
        let tensors: Vec<(String, TensorData)> = values(&model, &keys)
            .into_iter()
            .map(|(key, data)| (key, data.convert_dtype(dtype)))
            .collect();
        let views = tensors.iter().map(|(key, data)| {
            let view = TensorView::new(name, data.shape().to_vec(), data.as_bytes());
            (key.as_str(), view.unwrap())
        });
        let metadata = HashMap::from([("config".to_owned(), "{}".to_owned())]);
        let expected = ::safetensors::serialize(views, Some(metadata)).unwrap();
        assert!(fs::read(&path).unwrap() == expected, "{dtype:?}");
    }
}

#[test]
fn what_is_saved_is_loaded_again_with_what_it_says_about_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let device = seed_device::test_device();
    let (saved, keys) = (model(&device), KeyMap::identity());
    let about = || {
        About::config(r#"{"width":3}"#)
            .with("step", "7")
            .with("data", "corpus \"v1\"")
    };
    save(&saved, &path, &keys, DType::F32, about()).unwrap();
    let first = fs::read(&path).unwrap();
    save(&saved, &path, &keys, DType::F32, about()).unwrap();
    assert!(fs::read(&path).unwrap() == first, "the bytes differ");

    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.metadata()["config"], r#"{"width":3}"#);
    assert_eq!(
        checkpoint.metadata()["provenance"],
        r#"{"data":"corpus \"v1\"","step":"7"}"#
    );
    let (loaded, report) = load(model(&device), &checkpoint, &keys).unwrap();
    assert_eq!(
        report.to_string(),
        "3 tensors loaded, 2 transposed; none unused"
    );
    assert_eq!(values(&loaded, &keys), values(&saved, &keys));
}

#[derive(Module, Debug)]
struct Two {
    one: Param<Tensor<1>>,
    two: Param<Tensor<1>>,
}

#[test]
fn weights_that_a_file_cannot_hold_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let device = seed_device::test_device();
    let param = |value: f32| Param::from_data([value], &device);
    let two = Two {
        one: param(1.0),
        two: param(1e6),
    };
    let keys = KeyMap::identity();
    let error = save(&two, &path, &keys, DType::F16, String::new()).unwrap_err();
    assert!(matches!(error, WeightsError::OutOfRange { .. }), "{error}");
    let error = save(&two, &path, &keys, DType::I8, String::new()).unwrap_err();
    assert!(matches!(error, WeightsError::Precision { .. }), "{error}");
    let keys = KeyMap::new(&[("two", "one")]);
    let error = save(&two, &path, &keys, DType::F32, String::new()).unwrap_err();
    assert!(matches!(error, WeightsError::SameKey { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn converting_changes_the_precision_of_weights_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.safetensors");
    let source = Checkpoint::open(fixture("flat.pth")).unwrap();
    let about = About::default().with("source", "flat.pth");
    let report = convert(&source, &path, Some(DType::F16), about).unwrap();
    let cast = |from, tensors| Cast {
        from,
        to: DType::F16,
        tensors,
    };
    assert_eq!(
        report,
        ConvertReport {
            tensors: 13,
            bytes: 197,
            cast: vec![cast(DType::BF16, 1), cast(DType::F32, 8)],
        }
    );
    let converted = Checkpoint::open(&path).unwrap();
    assert_eq!(
        converted.metadata()["provenance"],
        r#"{"source":"flat.pth"}"#
    );
    for key in source.keys() {
        let expected = match source.element_type(key) {
            Some(DType::F32 | DType::BF16) => Some(DType::F16),
            other => other,
        };
        assert_eq!(converted.element_type(key), expected, "{key}");
        assert_eq!(converted.shape(key), source.shape(key), "{key}");
        if let Ok(data) = source.float(key) {
            assert_eq!(floats(converted.float(key).unwrap()), floats(data), "{key}");
        }
    }
}

#[test]
fn converting_into_its_own_place_and_twice_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    fs::copy(fixture("legacy.pt"), &path).unwrap();
    let convert_in_place = || {
        let checkpoint = Checkpoint::open(&path).unwrap();
        convert(&checkpoint, &path, None, About::config("{}")).unwrap();
        fs::read(&path).unwrap()
    };
    assert!(convert_in_place() == convert_in_place());
}

#[test]
fn infinity_in_a_mask_stays_and_a_large_weight_does_not_become_infinite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    let of = |value: f32| {
        let header = r#"{"mask":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        Checkpoint::from_bytes("file", safetensors(header, &value.to_le_bytes())).unwrap()
    };
    convert(
        &of(f32::NEG_INFINITY),
        &path,
        Some(DType::F16),
        About::default(),
    )
    .unwrap();
    let mask = Checkpoint::open(&path).unwrap().stored("mask").unwrap();
    assert_eq!(floats(mask), [f32::NEG_INFINITY]);
    let error = convert(&of(1e6), &path, Some(DType::F16), About::default()).unwrap_err();
    assert!(matches!(error, WeightsError::OutOfRange { .. }), "{error}");
    assert!(Checkpoint::open(&path).is_ok(), "the old file is gone");
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn where_nothing_can_be_written_the_old_file_stays_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    fs::write(&path, sound()).unwrap();
    let damaged = Checkpoint::open(fixture("bomb.pth")).unwrap();
    assert!(convert(&damaged, &path, None, About::default()).is_err());
    assert!(fs::read(&path).unwrap() == sound());
    assert_eq!(names_in(folder.path()), ["weights"]);

    // A folder is in the file's place.
    let source = Checkpoint::from_bytes("memory", sound()).unwrap();
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    let error = convert(&source, &taken, None, About::default()).unwrap_err();
    assert!(matches!(error, WeightsError::Io { .. }), "{error}");
    assert!(error.to_string().starts_with(taken.to_str().unwrap()));
    assert_eq!(names_in(folder.path()), ["taken", "weights"]);

    let absent = folder.path().join("absent/weights");
    let error = convert(&source, &absent, None, About::default()).unwrap_err();
    assert!(matches!(error, WeightsError::Io { .. }), "{error}");
}
