//! The fused operations against Burn's own, forward and backward, on `SEED_TEST_DEVICE`.

use burn::tensor::{DType, Device, Distribution, Tensor, TensorData, activation, module};
use seed_device::{Precision, fused, left_out, test_device, test_precisions};

fn device() -> Device {
    let device = test_device().autodiff();
    seed_device::seed(&device, 7);
    device
}

/// The types in which weights can be kept.
fn dtypes(device: &Device) -> Vec<DType> {
    let all = [Precision::F32, Precision::F16, Precision::Bf16];
    let has = test_precisions(device, &all);
    has.into_iter().map(Precision::dtype).collect()
}

/// Normal values of a few deviations, made anew from the same numbers for each side of a comparison.
fn normal<const D: usize>(shape: [usize; D], device: &Device) -> TensorData {
    Tensor::<D>::random(shape, Distribution::Normal(0.3, 2.5), device).into_data()
}

fn values(data: TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

#[track_caller]
fn assert_close(found: TensorData, expected: TensorData, tolerance: f32) {
    let (found, expected) = (values(found), values(expected));
    assert_eq!(found.len(), expected.len());
    let largest = expected
        .iter()
        .fold(1.0f32, |most, value| most.max(value.abs()));
    for (found, expected) in found.iter().zip(&expected) {
        assert!(
            (found - expected).abs() <= tolerance * largest,
            "{found} for {expected}, of at most {largest}"
        );
    }
}

/// Output and input gradient of a function, under a loss that weighs every output differently.
fn run<const D: usize>(
    x: &TensorData,
    weights: &TensorData,
    device: &Device,
    function: impl Fn(Tensor<D>) -> Tensor<D>,
) -> (TensorData, TensorData) {
    let x = Tensor::<D>::from_data(x.clone(), device).require_grad();
    let output = function(x.clone());
    let loss = (output.clone() * Tensor::from_data(weights.clone(), device)).sum();
    let gradients = loss.backward();
    (
        output.into_data(),
        x.grad(&gradients).expect("a gradient").into_data(),
    )
}

#[test]
fn softmax_equals_burns_and_so_does_gelu_forward() {
    let device = device();
    // Odd sizes leave rests of every kind; the last is long enough for several tasks.
    for shape in [[1, 1, 1], [3, 5, 17], [2, 300, 65]] {
        let (x, weights) = (normal(shape, &device), normal(shape, &device));
        let found = run::<3>(&x, &weights, &device, fused::softmax);
        let expected = run::<3>(&x, &weights, &device, |x| activation::softmax(x, 2));
        assert_close(found.0, expected.0, 1e-6);
        assert_close(found.1, expected.1, 2e-6);
        let (found, gradient) = run::<3>(&x, &weights, &device, fused::gelu);
        let expected = activation::gelu(Tensor::<3>::from_data(x.clone(), &device));
        assert_close(found, expected.into_data(), 5e-7);
        // Element by element: the same whatever stands beside it.
        let weighted = values(x)
            .into_iter()
            .zip(values(weights))
            .map(|(x, weight)| {
                let one = TensorData::from([x]);
                let (_, slope) = run::<1>(&one, &TensorData::from([1.0f32]), &device, fused::gelu);
                weight * values(slope)[0]
            });
        assert_close(
            gradient,
            TensorData::from(&*weighted.collect::<Vec<f32>>()),
            1e-6,
        );
    }
}

/// `x`, `x·Φ(x)` and `Φ(x) + x·φ(x)`, computed in 64 bits with Python's `math.erfc` and `math.exp`.
const GELU: [(f32, f32, f32); 17] = [
    (-9.0, -1.015_729_6e-18, -9.138_937e-18),
    (-5.5, -1.044_425_9e-7, -5.733_472e-7),
    (-4.0, -0.000_126_684_97, -0.000_503_649_66),
    (-3.0, -0.004_049_694, -0.011_945_647),
    (-2.2, -0.030_587_585, -0.064_140_657),
    (-1.5, -0.100_210_8, -0.127_469_2),
    (-1.0, -0.158_655_25, -0.083_315_47),
    (-0.75179, -0.169_971_21, 6.578_970_2e-7),
    (-0.3, -0.114_626_57, 0.267_672_23),
    (0.0, 0.0, 0.5),
    (0.1, 0.053_982_784, 0.579_523_1),
    (0.7, 0.530_625_44, 0.976_614_1),
    (1.3, 1.174_159_4, 1.125_978_7),
    (2.1, 2.062_484_7, 1.074_501_1),
    (3.4, 3.398_854_4, 1.003_852_6),
    (5.0, 4.999_998_6, 1.000_007_1),
    (8.0, 8.0, 1.0),
];

/// The exact one, not the approximation by tanh, whose derivative is Burn's default: it is off by up to 1e-3.
#[test]
fn gelu_and_its_derivative_are_exact() {
    let device = device();
    let x = TensorData::from(GELU.map(|(x, ..)| x));
    let weights = TensorData::from([1.0f32; GELU.len()]);
    let (output, gradient) = run::<1>(&x, &weights, &device, fused::gelu);
    let found = values(output).into_iter().zip(values(gradient));
    for ((x, gelu, slope), (output, gradient)) in GELU.into_iter().zip(found) {
        assert!(
            (output - gelu).abs() <= 2e-6,
            "gelu({x}) = {output}, not {gelu}"
        );
        assert!(
            (gradient - slope).abs() <= 2e-6,
            "its slope is {gradient}, not {slope}"
        );
    }
}

#[test]
fn gelu_keeps_its_tails() {
    let device = device();
    let x = TensorData::from([
        -1e4f32, -50.0, -9.0, -4.0, -0.0, 0.0, 1e-6, 4.0, 9.0, 50.0, 1e4,
    ]);
    let weights = TensorData::from([1.0f32; 11]);
    let (output, gradient) = run::<1>(&x, &weights, &device, fused::gelu);
    let expected = activation::gelu(Tensor::<1>::from_data(x.clone(), &device)).into_data();
    let slopes = TensorData::from([
        0.0f32,
        0.0,
        0.0,
        -0.000_503_649_66,
        0.5,
        0.5,
        0.500_000_8,
        1.000_503_6,
        1.0,
        1.0,
        1.0,
    ]);
    for (pair, tolerance) in [((output, expected), 2e-6), ((gradient, slopes), 2e-6)] {
        for (found, expected) in values(pair.0).iter().zip(values(pair.1)) {
            let allowed = tolerance * expected.abs().max(1.0);
            assert!(
                (found - expected).abs() <= allowed,
                "{found} for {expected}"
            );
        }
    }
    let nan = Tensor::<1>::from_data([f32::NAN], &device);
    assert!(fused::gelu(nan).into_scalar::<f32>().is_nan());
}

#[test]
fn layer_norm_equals_burns_with_all_three_gradients() {
    let device = device();
    for shape in [[1, 2, 3], [3, 7, 33], [5, 41, 128]] {
        let (x, weights) = (normal(shape, &device), normal(shape, &device));
        let (gamma, beta) = (normal([shape[2]], &device), normal([shape[2]], &device));
        let run = |fused: bool| {
            let x = Tensor::<3>::from_data(x.clone(), &device).require_grad();
            let gamma = Tensor::<1>::from_data(gamma.clone(), &device).require_grad();
            let beta = Tensor::<1>::from_data(beta.clone(), &device).require_grad();
            let output = if fused {
                fused::layer_norm(x.clone(), gamma.clone(), beta.clone(), 1e-5)
            } else {
                module::layer_norm(x.clone(), gamma.clone(), Some(beta.clone()), 1e-5)
            };
            let loss = (output.clone() * Tensor::from_data(weights.clone(), &device)).sum();
            let gradients = loss.backward();
            [
                output.into_data(),
                x.grad(&gradients).unwrap().into_data(),
                gamma.grad(&gradients).unwrap().into_data(),
                beta.grad(&gradients).unwrap().into_data(),
            ]
        };
        for (found, expected) in run(true).into_iter().zip(run(false)) {
            assert_close(found, expected, 1e-5);
        }
    }
}

#[test]
fn linear_equals_burns_with_all_three_gradients() {
    let device = device();
    for (shape, output) in [([1, 1, 1], 1), ([3, 7, 33], 5), ([5, 41, 64], 130)] {
        let (x, weights) = (
            normal(shape, &device),
            normal([shape[0], shape[1], output], &device),
        );
        let (weight, bias) = (
            normal([shape[2], output], &device),
            normal([output], &device),
        );
        let run = |fused: bool| {
            let x = Tensor::<3>::from_data(x.clone(), &device).require_grad();
            let weight = Tensor::<2>::from_data(weight.clone(), &device).require_grad();
            let bias = Tensor::<1>::from_data(bias.clone(), &device).require_grad();
            let output = if fused {
                fused::linear(x.clone(), weight.clone(), bias.clone())
            } else {
                module::linear(x.clone(), weight.clone(), Some(bias.clone()))
            };
            let loss = (output.clone() * Tensor::from_data(weights.clone(), &device)).sum();
            let gradients = loss.backward();
            [
                output.into_data(),
                x.grad(&gradients).unwrap().into_data(),
                weight.grad(&gradients).unwrap().into_data(),
                bias.grad(&gradients).unwrap().into_data(),
            ]
        };
        for (found, expected) in run(true).into_iter().zip(run(false)) {
            assert_close(found, expected, 1e-5);
        }
        // With a frozen weight the input still gets its gradient, and the other way round.
        let frozen = |x_tracked: bool| {
            let x = Tensor::<3>::from_data(x.clone(), &device);
            let weight = Tensor::<2>::from_data(weight.clone(), &device);
            let (x, weight) = if x_tracked {
                (x.require_grad(), weight)
            } else {
                (x, weight.require_grad())
            };
            let bias = Tensor::<1>::from_data(bias.clone(), &device);
            let output = fused::linear(x.clone(), weight.clone(), bias);
            let loss = (output * Tensor::from_data(weights.clone(), &device)).sum();
            let gradients = loss.backward();
            let (x, weight) = (x.grad(&gradients), weight.grad(&gradients));
            assert_eq!((x.is_some(), weight.is_some()), (x_tracked, !x_tracked));
            x.map_or_else(|| weight.unwrap().into_data(), |x| x.into_data())
        };
        let [_, of_x, of_weight, _] = run(true);
        assert_close(frozen(true), of_x, 1e-6);
        assert_close(frozen(false), of_weight, 1e-6);
    }
}

#[test]
fn a_few_rows_by_a_weight_of_any_type_equal_the_general_product() {
    let device = device();
    let kept = dtypes(&device);
    for (rows, input, output) in [
        (1, 1, 1),
        (1, 7, 515),
        (3, 130, 70),
        (4, 64, 1100),
        (9, 33, 12),
    ] {
        let x = Tensor::<2>::from_data(normal([rows, input], &device), &device);
        let lies = Tensor::<2>::from_data(normal([input, output], &device), &device);
        let turned = Tensor::<2>::from_data(normal([output, input], &device), &device);
        let bias = Tensor::<1>::from_data(normal([output], &device), &device);
        for dtype in kept.clone() {
            // Rounded to what is kept, so that nothing but the order of additions may differ.
            for weight in [
                lies.clone().cast(dtype),
                turned.clone().cast(dtype).transpose(),
            ] {
                let wide = weight.clone().cast(DType::F32);
                let expected = x.clone().matmul(wide).into_data();
                let found = fused::product(x.clone(), weight.clone());
                assert_close(found.into_data(), expected.clone(), 1e-4);
                let found =
                    fused::linear(x.clone(), weight, bias.clone()) - bias.clone().unsqueeze();
                assert_close(found.into_data(), expected, 1e-4);
            }
        }
    }
}

/// Through a frozen weight the gradient flows as through its widened copy, whichever type it is kept in.
#[test]
fn frozen_weights_of_any_type_pass_the_gradient_on() {
    let device = device();
    let kept = dtypes(&device);
    // Few rows and many; the weight of the last is widened in several tasks, which leave a rest.
    for [rows, input, output] in [[3, 17, 5], [9, 17, 5], [70, 130, 637]] {
        let (x, weights) = (
            normal([rows, input], &device),
            normal([rows, output], &device),
        );
        let bias = Tensor::<1>::from_data(normal([output], &device), &device);
        let lies = Tensor::<2>::from_data(normal([input, output], &device), &device);
        let turned = Tensor::<2>::from_data(normal([output, input], &device), &device);
        for dtype in kept.clone() {
            for weight in [
                lies.clone().cast(dtype),
                turned.clone().cast(dtype).transpose(),
            ] {
                let wide = weight.clone().cast(DType::F32);
                let expected = run::<2>(&x, &weights, &device, |x| x.matmul(wide.clone()));
                let found = run::<2>(&x, &weights, &device, |x| fused::product(x, weight.clone()));
                assert_close(found.0, expected.0, 2e-6);
                assert_close(found.1, expected.1.clone(), 2e-6);
                let found = run::<2>(&x, &weights, &device, |x| {
                    fused::linear(x, weight.clone(), bias.clone())
                });
                assert_close(found.1, expected.1, 2e-6);
            }
        }
    }
}

#[test]
fn a_product_of_nothing_is_empty() {
    let device = device();
    let weight = Tensor::<2>::zeros([3, 5], &device);
    let found = fused::product(Tensor::zeros([0, 3], &device), weight);
    assert_eq!(found.dims(), [0, 5]);
}

/// What is compared: the precision to compute in is its second argument.
type Operation<'a> = &'a dyn Fn(Tensor<3>, DType) -> Tensor<3>;

#[test]
fn halves_give_what_f32_gives_within_their_precision() {
    let device = device();
    let shape = [3, 9, 32];
    let (x, weights) = (normal(shape, &device), normal(shape, &device));
    let (row, matrix) = (normal([32], &device), normal([32, 32], &device));
    let vector = |dtype| Tensor::<1>::from_data(row.clone(), &device).cast(dtype);
    let operations: [(&str, Operation); 4] = [
        ("softmax", &|x, _| fused::softmax(x)),
        ("gelu", &|x, _| fused::gelu(x)),
        ("layer_norm", &|x, dtype| {
            fused::layer_norm(x, vector(dtype), vector(dtype), 1e-5)
        }),
        ("linear", &|x, dtype| {
            let weight = Tensor::<2>::from_data(matrix.clone(), &device).cast(dtype);
            fused::linear(x, weight, vector(dtype))
        }),
    ];
    for precision in test_precisions(&device, &[Precision::F16, Precision::Bf16]) {
        let (dtype, tolerance) = match precision {
            Precision::F16 => (DType::F16, 1e-2),
            _ => (DType::BF16, 8e-2),
        };
        for (name, operation) in operations {
            let run = |dtype| {
                run::<3>(&x, &weights, &device, |x| {
                    operation(x.cast(dtype), dtype).cast(DType::F32)
                })
            };
            let (found, expected) = (run(dtype), run(DType::F32));
            println!("{name} in {dtype:?}");
            assert_close(found.0, expected.0, tolerance);
            assert_close(found.1, expected.1, tolerance);
        }
        let like = Tensor::<2>::zeros([40, 50], &device).cast(dtype);
        let mask = fused::dropout_mask(like, 0.5).cast(DType::F32);
        let mean = mask.mean().into_scalar::<f32>();
        assert!((mean - 1.0).abs() < 0.15, "{dtype:?}: {mean}");
    }
}

#[test]
fn views_are_read_as_they_are_seen() {
    let device = device();
    let data = normal([9, 40], &device);
    let weights = normal([40, 9], &device);
    let found = run::<2>(&weights, &weights, &device, |w| {
        let view = Tensor::<2>::from_data(data.clone(), &device).transpose();
        fused::softmax(view * w)
    });
    let expected = run::<2>(&weights, &weights, &device, |w| {
        let view = Tensor::<2>::from_data(data.clone(), &device).transpose();
        activation::softmax(view * w, 1)
    });
    assert_close(found.1, expected.1, 2e-6);
    let wide = Tensor::<2>::from_data(data, &device);
    let found = fused::gelu(wide.clone().transpose().narrow(0, 3, 20));
    let expected = fused::gelu(wide).transpose().narrow(0, 3, 20);
    assert_close(found.into_data(), expected.into_data(), 1e-6);
}

#[test]
fn masks_have_the_asked_share_and_follow_the_seed() {
    let device = device();
    let like = Tensor::<2>::zeros([300, 333], &device);
    let draw = |seed| {
        seed_device::seed(&device, seed);
        values(fused::dropout_mask(like.clone(), 0.1).into_data())
    };
    let first = draw(1);
    assert_eq!(first, draw(1));
    let other = draw(2);
    let equal = first
        .iter()
        .zip(&other)
        .filter(|(a, b)| (**a > 0.0) == (**b > 0.0))
        .count() as f64;
    // Independent masks agree where both keep (81 %) or both drop (1 %).
    assert!((equal / first.len() as f64 - 0.82).abs() < 0.01, "{equal}");
    let dropped = first.iter().filter(|&&value| value == 0.0).count() as f64;
    assert!(
        (dropped / first.len() as f64 - 0.1).abs() < 0.005,
        "{dropped}"
    );
    let mean = first.iter().sum::<f32>() / first.len() as f32;
    assert!((mean - 1.0).abs() < 0.01, "{mean}");
    assert!(
        first
            .iter()
            .all(|&value| value == 0.0 || (value - 1.0 / 0.9).abs() < 1e-4)
    );
}

/// Of a weight in 8 bits, products equal those of what the 8 bits stand for, which is near the weight.
#[test]
fn eight_bit_products_are_those_of_the_rounded_weight() {
    let device = device();
    let plain = device.clone().inner();
    if !fused::keeps_eight_bit(&plain) {
        left_out(&plain, "weights in 8 bits");
        return;
    }
    // Rests of rows and of columns beyond a task's; one to six rows, of which the last are too many for the kernel.
    for [rows, input, output] in [[1, 6, 64], [1, 130, 640], [3, 67, 128], [6, 67, 128]] {
        let weight = Tensor::<2>::from_data(normal([input, output], &device), &plain);
        let kept = fused::in_eight_bit(weight.clone());
        assert!(fused::is_eight_bit(kept.dtype()));
        let rounded = kept.clone().dequantize();
        let blocks = weight.clone().reshape([input, output / 64, 64]);
        let step = blocks
            .abs()
            .max_dim(2)
            .div_scalar(127.0)
            .expand([input, output / 64, 64]);
        let error = (weight - rounded.clone()).abs() / step.reshape([input, output]);
        let worst: f32 = error.max().into_scalar();
        assert!(worst > 0.1 && worst < 0.501, "{worst}");

        let (x, weights) = (
            normal([rows, input], &device),
            normal([rows, output], &device),
        );
        let bias = Tensor::<1>::from_data(normal([output], &device), &plain);
        let expected =
            Tensor::from_data(x.clone(), &plain).matmul(rounded.clone()) + bias.clone().unsqueeze();
        let found = fused::linear(
            Tensor::<2>::from_data(x.clone(), &plain),
            kept.clone(),
            bias.clone(),
        );
        assert_close(found.into_data(), expected.into_data(), 2e-6);

        // Through it an adapter's gradient flows.
        let [kept, rounded] = [kept, rounded].map(Tensor::<2>::from_inner);
        let found = run::<2>(&x, &weights, &device, |x| fused::product(x, kept.clone()));
        let expected = run::<2>(&x, &weights, &device, |x| x.matmul(rounded.clone()));
        assert_close(found.0, expected.0, 2e-6);
        assert_close(found.1, expected.1, 2e-6);
    }
}
