//! From checkpoints into a module.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{DType, Device},
};
use seed_device::{Precision, test_precisions};
use seed_weights::{
    Cast, Checkpoint, KeyMap, LoadReport, WeightsError, load, load_as, parameters, values,
};

use crate::files::{fixture, floats, safetensors, sound};

#[derive(Module, Debug)]
pub(crate) struct Model {
    linear: Linear,
    brain: Linear,
}

pub(crate) fn model(device: &Device) -> Model {
    Model {
        linear: LinearConfig::new(3, 2).init(device),
        brain: LinearConfig::new(3, 2).with_bias(false).init(device),
    }
}

#[test]
fn weights_of_any_precision_are_put_in_transposed() {
    let device = seed_device::test_device();
    let checkpoint = Checkpoint::open(fixture("below_model.pth")).unwrap();
    let (loaded, report) = load(model(&device), &checkpoint, &KeyMap::identity()).unwrap();

    // PyTorch's [out, in] is Burn's [in, out].
    let weight = loaded.linear.weight.val().into_data();
    assert_eq!(weight.dtype(), DType::F32);
    assert_eq!(floats(weight), [0.0, 1.5, 0.5, 2.0, 1.0, 2.5]);
    let values = values(&loaded, &KeyMap::identity());
    for (key, data) in values {
        assert_eq!(
            floats(data),
            floats(checkpoint.float(&key).unwrap()),
            "{key}"
        );
    }

    assert_eq!(
        report.loaded,
        ["linear.weight", "linear.bias", "brain.weight"]
    );
    assert_eq!(report.transposed, 2);
    let cast = Cast {
        from: DType::BF16,
        to: DType::F32,
        tensors: 1,
    };
    assert_eq!(report.cast, [cast]);
    assert_eq!(
        report.to_string(),
        "3 tensors loaded, 2 transposed, 1 cast bf16→f32\n\
         10 unused: double.weight, half.weight, mask, model.norm.weight, position_ids and 5 more"
    );
}

/// A linear layer is a 1×1 convolution at each place, and may be stored as one; other convolutions are none.
#[test]
fn a_1x1_convolution_is_a_linear_layer() {
    let device = seed_device::test_device();
    let layer = || LinearConfig::new(3, 2).with_bias(false).init(&device);
    let stored = |shape: &str, values: &[f32]| {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let end = bytes.len();
        let header =
            format!(r#"{{"weight":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
        Checkpoint::from_bytes("convolution", safetensors(&header, &bytes)).unwrap()
    };
    let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    for shape in ["[2, 3]", "[2, 3, 1, 1]"] {
        let checkpoint = stored(shape, &values);
        let (loaded, report) = load(layer(), &checkpoint, &KeyMap::identity()).unwrap();
        assert_eq!(report.transposed, 1);
        let weight = loaded.weight.val().into_data();
        assert_eq!(weight.shape().as_slice(), [3, 2]);
        assert_eq!(floats(weight), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
    for shape in ["[3, 2, 1, 1]", "[2, 3, 1]", "[1, 1, 2, 3]", "[1, 2, 3, 1]"] {
        let error = load(layer(), &stored(shape, &values), &KeyMap::identity()).unwrap_err();
        assert!(
            matches!(error, WeightsError::Shape { .. }),
            "{shape}: {error}"
        );
    }
    let kernel = stored("[2, 3, 1, 2]", &[values, values].concat());
    let error = load(layer(), &kernel, &KeyMap::identity()).unwrap_err();
    assert!(matches!(error, WeightsError::Shape { .. }), "{error}");
}

#[test]
fn parameters_can_be_kept_in_half_precision() {
    let device = seed_device::test_device();
    let checkpoint = Checkpoint::open(fixture("flat.pth")).unwrap();
    for precision in [Precision::F16, Precision::Bf16] {
        let dtype = precision.dtype();
        let keys = KeyMap::identity();
        let found = load_as(model(&device), &checkpoint, &keys, dtype);
        if let Err(lacking) = precision.require_on(&device) {
            let error = found.unwrap_err();
            assert!(error.to_string().contains(&lacking.to_string()), "{error}");
            continue;
        }
        let (loaded, _) = found.unwrap();
        let weight = loaded.linear.weight.val().into_data();
        assert_eq!(weight.dtype(), dtype);
        assert_eq!(floats(weight), [0.0, 1.5, 0.5, 2.0, 1.0, 2.5]);
        for (key, data) in values(&loaded, &keys) {
            assert_eq!(
                floats(data),
                floats(checkpoint.float(&key).unwrap()),
                "{key}"
            );
        }
    }
    let error = load_as(model(&device), &checkpoint, &KeyMap::identity(), DType::I64).unwrap_err();
    assert!(matches!(error, WeightsError::Precision { .. }), "{error}");
}

#[test]
fn a_report_of_a_perfect_load_is_one_line() {
    let report = LoadReport {
        loaded: vec!["a".to_owned()],
        ..LoadReport::default()
    };
    assert_eq!(report.to_string(), "1 tensor loaded; none unused");
}

fn load_bytes(bytes: Vec<u8>) -> WeightsError {
    let device = seed_device::test_device();
    let model = LinearConfig::new(2, 2).init(&device);
    let checkpoint = Checkpoint::from_bytes("file", bytes).unwrap();
    let keys = KeyMap::new(&[("weight", "a"), ("bias", "b")]);
    load(model, &checkpoint, &keys).unwrap_err()
}

#[test]
fn a_wrong_checkpoint_is_refused_with_what_is_missing_or_of_another_shape() {
    let error = load_bytes(sound());
    assert_eq!(
        error.to_string(),
        "file: `b` has shape [3], the model's config asks for [2]"
    );

    let device = seed_device::test_device();
    let checkpoint = Checkpoint::from_bytes("file", sound()).unwrap();
    let error = load(model(&device), &checkpoint, &KeyMap::identity()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "file: 3 tensor(s) missing, is this the checkpoint of another model? \
         linear.weight, linear.bias, brain.weight"
    );
    assert_eq!(parameters(&model(&device)).len(), 3);
}

#[test]
fn an_integer_where_a_weight_should_be_is_refused() {
    let header = concat!(
        r#"{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"#,
        r#""b":{"dtype":"I64","shape":[2],"data_offsets":[16,32]}}"#
    );
    let error = load_bytes(safetensors(header, &[0; 32]));
    assert_eq!(
        error.to_string(),
        "file: `b` is stored as i64; weights are read from f32, f16 and bf16, integers from i64"
    );
}

#[test]
fn nan_and_infinity_are_refused_in_every_precision() {
    let cases: [(&str, Vec<u8>); 3] = [
        ("F32", f32::NAN.to_le_bytes().to_vec()),
        ("F16", 0x7c00_u16.to_le_bytes().to_vec()),
        ("BF16", 0xff80_u16.to_le_bytes().to_vec()),
    ];
    for (dtype, bytes) in cases {
        let end = bytes.len();
        let header =
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{end}]}}}}"#);
        let checkpoint = Checkpoint::from_bytes("file", safetensors(&header, &bytes)).unwrap();
        let error = checkpoint.float("a").unwrap_err();
        assert!(matches!(error, WeightsError::NotFinite { .. }), "{error}");
        assert!(checkpoint.stored("a").is_ok());
    }
    let checkpoint = Checkpoint::open(fixture("nan.pth")).unwrap();
    let error = checkpoint.float("weight").unwrap_err().to_string();
    assert!(error.contains("`weight` holds NaN"), "{error}");
}

#[test]
fn what_f16_cannot_hold_is_refused_where_it_is_asked_for() {
    let header = r#"{"weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}"#;
    let bytes = safetensors(header, &65_536_f32.to_le_bytes());
    let checkpoint = Checkpoint::from_bytes("file", bytes).unwrap();
    let device = seed_device::test_device();
    let model = || LinearConfig::new(1, 1).with_bias(false).init(&device);
    let keys = KeyMap::identity();
    for precision in test_precisions(&device, &[Precision::F16, Precision::Bf16]) {
        let found = load_as(model(), &checkpoint, &keys, precision.dtype());
        if precision == Precision::Bf16 {
            assert!(found.is_ok());
            continue;
        }
        let error = found.unwrap_err();
        assert!(matches!(error, WeightsError::OutOfRange { .. }), "{error}");
    }
}
