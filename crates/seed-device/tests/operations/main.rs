//! Each operation that the library uses, forward and backward, against its meaning in 64 bits, on
//! `SEED_TEST_DEVICE`.
//!
//! A backend computes what it does not override by defaults that its users seldom see: the derivative of GELU was that
//! of an approximation on three of five. So nothing is compared with another operation of the same library.

mod cases;
mod maps;
mod reference;

use burn::tensor::{Int, Tensor};
use seed_device::test_device;

#[test]
fn every_operation_and_its_gradient_is_what_it_means() {
    let device = test_device();
    let mut errors: Vec<reference::Error> = cases::all()
        .iter()
        .flat_map(|case| case.compare(&device))
        .collect();
    errors.sort_by(|a, b| b.of_tolerance.total_cmp(&a.of_tolerance));
    let worst = &errors[0];
    println!(
        "worst of {} comparisons: {}, {:.2} of its tolerance",
        errors.len(),
        worst.what,
        worst.of_tolerance
    );
    let beyond: Vec<String> = errors
        .iter()
        .filter(|error| error.of_tolerance > 1.0 || error.of_tolerance.is_nan())
        .map(|error| {
            format!(
                "{}: {:.1} times the tolerance",
                error.what, error.of_tolerance
            )
        })
        .collect();
    assert!(beyond.is_empty(), "{}", beyond.join("\n"));
}

fn integers<const D: usize>(tensor: Tensor<D, Int>) -> Vec<i64> {
    tensor.into_data().iter().collect()
}

/// What chooses: codes, next words, orders. Ties go to the first, as in PyTorch on a CPU.
#[test]
fn choices_are_exact() {
    let device = test_device();
    let matrix = |rows: &[&[f32]]| {
        let values: Vec<f32> = rows.concat();
        let shape = [rows.len(), rows[0].len()];
        Tensor::<2>::from_data(burn::tensor::TensorData::new(values, shape), &device)
    };
    let x = matrix(&[&[3.0, -1.0, 3.0, 0.5, -1.0], &[-2.0, -2.0, -7.5, 9.0, 9.0]]);
    assert_eq!(integers(x.clone().argmin(1)), [1, 2]);
    assert_eq!(integers(x.clone().argmax(1)), [0, 3]);
    let distinct = matrix(&[&[3.0, -1.0, 2.0, 0.5], &[0.0, -2.0, -7.5, 9.0]]);
    assert_eq!(
        integers(distinct.clone().argsort(1)),
        [1, 3, 2, 0, 2, 1, 0, 3]
    );
    let sorted: Vec<f32> = distinct.clone().sort(1).into_data().iter().collect();
    assert_eq!(sorted, [-1.0, 0.5, 2.0, 3.0, -7.5, -2.0, 0.0, 9.0]);
    let ids = Tensor::<2, Int>::from_data([[1, 0, 1, 1], [0, 0, 0, 1]], &device);
    assert_eq!(integers(ids.clone().cumsum(1)), [1, 1, 2, 3, 0, 0, 0, 1]);
    assert_eq!(
        integers(ids.clone().mask_fill(ids.clone().equal_elem(0), -1)),
        [1, -1, 1, 1, -1, -1, -1, 1]
    );
    let above: Vec<bool> = distinct.greater_elem(0.25).into_data().iter().collect();
    assert_eq!(above, [true, false, true, true, false, false, false, true]);
    let triangle: Vec<f32> = Tensor::<2>::ones([3, 4], &device)
        .triu(1)
        .into_data()
        .iter()
        .collect();
    assert_eq!(
        triangle,
        [0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    );
}

/// The largest among many equal and near ones, over more columns than a GPU's group has threads.
#[test]
fn the_nearest_of_many_codes_is_the_first_of_the_smallest() {
    let device = test_device();
    let columns = 8_192;
    let values: Vec<f32> = (0..3 * columns)
        .map(|at| match (at / columns, at % columns) {
            (0, 5_000 | 7_000) | (1, 0 | 8_191) => -1.0,
            (2, 8_191) => -0.25,
            (_, column) => (column % 97) as f32,
        })
        .collect();
    let data = burn::tensor::TensorData::new(values, [3, columns]);
    let found = Tensor::<2>::from_data(data, &device).argmin(1);
    assert_eq!(integers(found), [5_000, 0, 8_191]);
}

/// Straight through: the value of the code, the gradient of the vector, and none for the code.
#[test]
fn what_is_detached_has_no_gradient() {
    let device = test_device().autodiff();
    let vectors = Tensor::<2>::from_data([[0.3, -1.2], [2.0, 0.1]], &device).require_grad();
    let codes = Tensor::<2>::from_data([[0.5, -1.0], [1.5, 0.0]], &device).require_grad();
    let through = vectors.clone() + (codes.clone() - vectors.clone()).detach();
    let gradients = (through.clone() * Tensor::from_data([[1.0, 2.0], [3.0, 4.0]], &device))
        .sum()
        .backward();
    let values = |tensor: Tensor<2>| tensor.into_data().iter::<f32>().collect::<Vec<f32>>();
    for (found, code) in values(through).into_iter().zip([0.5, -1.0, 1.5, 0.0]) {
        assert!((found - code).abs() < 1e-6, "{found} for {code}");
    }
    assert_eq!(
        values(vectors.grad(&gradients).unwrap()),
        [1.0, 2.0, 3.0, 4.0]
    );
    assert!(codes.grad(&gradients).is_none());
}

/// The random stream: its seed decides, and what it draws has the moments that were asked for.
#[test]
fn random_numbers_follow_the_seed_and_their_distribution() {
    use burn::tensor::Distribution;
    let device = test_device();
    let draw = |seed, distribution| {
        seed_device::seed(&device, seed);
        let drawn = Tensor::<2>::random([100, 200], distribution, &device);
        drawn.into_data().iter::<f64>().collect::<Vec<f64>>()
    };
    for (distribution, mean, deviation) in [
        (Distribution::Normal(0.3, 2.0), 0.3, 2.0),
        (Distribution::Uniform(-1.0, 3.0), 1.0, 4.0 / 12f64.sqrt()),
        (Distribution::Default, 0.5, 1.0 / 12f64.sqrt()),
        (Distribution::Bernoulli(0.25), 0.25, 0.1875f64.sqrt()),
    ] {
        let first = draw(3, distribution);
        assert_eq!(first, draw(3, distribution), "{distribution:?}");
        assert_ne!(first, draw(4, distribution), "{distribution:?}");
        let n = first.len() as f64;
        let found = first.iter().sum::<f64>() / n;
        let square = first.iter().map(|x| (x - found).powi(2)).sum::<f64>() / n;
        // Five standard errors of the mean; of the deviation at most as much.
        let slack = 5.0 * deviation / n.sqrt();
        assert!(
            (found - mean).abs() < slack,
            "{distribution:?}: mean {found}"
        );
        let found = square.sqrt();
        assert!(
            (found - deviation).abs() < slack,
            "{distribution:?}: deviation {found}"
        );
    }
}
