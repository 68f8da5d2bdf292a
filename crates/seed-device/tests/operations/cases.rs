//! The operations of the library: what is called, and what it means.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use burn::tensor::{
    Int, Tensor, TensorData, activation,
    module::{adaptive_avg_pool2d, attention, interpolate},
    ops::{AttentionModuleOptions, InterpolateMode, InterpolateOptions},
};
use seed_device::fused;

use super::{
    maps,
    reference::{Case, Matrix},
};

/// All of them.
pub(crate) fn all() -> Vec<Case<'static>> {
    let mut cases = elementwise();
    cases.extend(pairs());
    cases.extend(reductions());
    cases.extend(rows());
    cases.extend(products());
    cases.extend(maps::all());
    cases.extend(resolutions());
    cases.extend(chosen());
    cases.extend(places());
    cases.extend(attentions());
    cases
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `x·Φ(x)`.
fn gelu(x: f64) -> f64 {
    0.5 * x * libm::erfc(-x * FRAC_1_SQRT_2)
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = row.iter().map(|x| (x - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

fn log_softmax(row: &[f64]) -> Vec<f64> {
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - most).exp()).sum();
    row.iter().map(|x| x - most - sum.ln()).collect()
}

type OfTensor = fn(Tensor<2>) -> Tensor<2>;
type OfNumber = fn(f64) -> f64;

fn elementwise() -> Vec<Case<'static>> {
    // The ranges keep clear of kinks, where a derivative by differences means nothing.
    let functions: [(&'static str, OfTensor, OfNumber, [f64; 2]); 21] = [
        ("exp", Tensor::exp, f64::exp, [-4.0, 3.0]),
        ("log", Tensor::log, f64::ln, [0.05, 6.0]),
        ("sqrt", Tensor::sqrt, f64::sqrt, [0.05, 6.0]),
        ("square", |x| x.square(), |x| x * x, [-3.0, 3.0]),
        ("recip", Tensor::recip, f64::recip, [0.3, 4.0]),
        ("tanh", Tensor::tanh, f64::tanh, [-5.0, 5.0]),
        ("tanh near 0", Tensor::tanh, f64::tanh, [-1e-3, 1e-3]),
        ("cos", Tensor::cos, f64::cos, [-6.0, 6.0]),
        ("sin", Tensor::sin, f64::sin, [-6.0, 6.0]),
        ("abs", Tensor::abs, f64::abs, [0.1, 3.0]),
        ("neg", |x| -x, |x| -x, [-3.0, 3.0]),
        ("sigmoid", activation::sigmoid, sigmoid, [-8.0, 8.0]),
        ("silu", activation::silu, |x| x * sigmoid(x), [-8.0, 8.0]),
        ("relu, above", activation::relu, |x| x, [0.1, 3.0]),
        ("relu, below", activation::relu, |_| 0.0, [-3.0, -0.1]),
        ("fused gelu", fused::gelu, gelu, [-5.0, 5.0]),
        ("fused gelu, tails", fused::gelu, gelu, [-12.0, -3.0]),
        (
            "quick gelu",
            |x| x.clone() * activation::sigmoid(x.mul_scalar(1.702)),
            |x| x * sigmoid(1.702 * x),
            [-6.0, 6.0],
        ),
        ("clamp", |x| x.clamp(-9.0, 9.0), |x| x, [-3.0, 3.0]),
        ("clamped", |x| x.clamp_min(4.0), |_| 4.0, [-3.0, 3.0]),
        (
            "by a number",
            |x| (x * 3.0 + 1.5) / 4.0 - 0.25,
            |x| (x * 3.0 + 1.5) / 4.0 - 0.25,
            [-3.0, 3.0],
        ),
    ];
    functions
        .into_iter()
        .map(|(name, operation, meaning, [low, high])| {
            Case::new(
                name,
                [Matrix::spread(7, 65, low, high, 1.0)],
                move |x| operation(x[0].clone()),
                move |x| x[0].map(meaning),
            )
        })
        .collect()
}

fn pairs() -> Vec<Case<'static>> {
    type OfTensors = fn(Tensor<2>, Tensor<2>) -> Tensor<2>;
    type OfNumbers = fn(f64, f64) -> f64;
    let functions: [(&'static str, OfTensors, OfNumbers); 5] = [
        ("a + b", |a, b| a + b, |a, b| a + b),
        ("a − b", |a, b| a - b, |a, b| a - b),
        ("a · b", |a, b| a * b, |a, b| a * b),
        ("a / b", |a, b| a / b, |a, b| a / b),
        ("a^b", |a, b| a.powf(b), f64::powf),
    ];
    let mut cases = Vec::new();
    for (name, operation, meaning) in functions {
        for shape in [[9, 33], [1, 33], [9, 1]] {
            let a = Matrix::spread(9, 33, 0.4, 2.0, 1.0);
            let b = Matrix::spread(shape[0], shape[1], 0.4, 2.0, 0.3);
            cases.push(Case::new(
                name,
                [a, b],
                move |x| operation(x[0].clone(), x[1].clone()),
                move |x| {
                    Matrix::of(9, 33, |row, column| {
                        let (row_b, column_b) = (row % x[1].rows, column % x[1].columns);
                        meaning(x[0].at(row, column), x[1].at(row_b, column_b))
                    })
                },
            ));
        }
    }
    cases
}

fn reductions() -> Vec<Case<'static>> {
    // Long enough for a GPU's groups to share a row.
    let x = || Matrix::spread(5, 700, -2.0, 3.0, 1.0);
    let sum = |row: &[f64]| vec![row.iter().sum::<f64>()];
    let mean = |row: &[f64]| vec![row.iter().sum::<f64>() / row.len() as f64];
    let most = |row: &[f64]| vec![row.iter().copied().fold(f64::NEG_INFINITY, f64::max)];
    let flat = |x: &Matrix| Matrix {
        rows: 1,
        columns: x.values.len(),
        values: x.values.clone(),
    };
    vec![
        Case::new(
            "sum",
            [x()],
            |x| x[0].clone().sum().unsqueeze(),
            move |x| flat(&x[0]).map_rows(sum),
        ),
        Case::new(
            "mean",
            [x()],
            |x| x[0].clone().mean().unsqueeze(),
            move |x| flat(&x[0]).map_rows(mean),
        ),
        Case::new(
            "sum of rows",
            [x()],
            |x| x[0].clone().sum_dim(1),
            move |x| x[0].map_rows(sum),
        ),
        Case::new(
            "sum of columns",
            [x().transpose()],
            |x| x[0].clone().sum_dim(0),
            move |x| x[0].transpose().map_rows(sum).transpose(),
        ),
        Case::new(
            "mean of rows",
            [x()],
            |x| x[0].clone().mean_dim(1),
            move |x| x[0].map_rows(mean),
        ),
        Case::new(
            "mean of columns",
            [x().transpose()],
            |x| x[0].clone().mean_dim(0),
            move |x| x[0].transpose().map_rows(mean).transpose(),
        ),
        Case::new(
            "variance of rows",
            [x()],
            |x| x[0].clone().var(1),
            |x| {
                x[0].map_rows(|row| {
                    let mean = row.iter().sum::<f64>() / row.len() as f64;
                    let squares: f64 = row.iter().map(|x| (x - mean).powi(2)).sum();
                    vec![squares / (row.len() - 1) as f64]
                })
            },
        ),
        Case::new(
            "largest of rows",
            [x()],
            |x| x[0].clone().max_dim(1),
            move |x| x[0].map_rows(most),
        ),
        Case::new(
            "running sum",
            [Matrix::spread(3, 40, -1.0, 1.0, 1.0)],
            |x| x[0].clone().cumsum(1),
            |x| {
                x[0].map_rows(|row| {
                    let mut sum = 0.0;
                    row.iter()
                        .map(|value| {
                            sum += value;
                            sum
                        })
                        .collect()
                })
            },
        ),
    ]
}

/// Functions of whole rows.
fn rows() -> Vec<Case<'static>> {
    let x = |from| Matrix::spread(6, 130, -6.0, 6.0, from);
    let vector = |from| Matrix::spread(1, 130, -2.0, 2.0, from);
    // An error of the mean in f32 is one of every centred value: large values close together.
    let offset = Matrix::spread(6, 130, 30.0, 32.0, 1.0);
    let normal = |row: &[f64]| -> Vec<f64> {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        row.iter()
            .map(|x| (x - mean) / (variance + 1e-5).sqrt())
            .collect()
    };
    let layer_norm = |name, x| {
        Case::new(
            name,
            [x, vector(0.2), vector(0.7)],
            |x| {
                let [x, gamma, beta] = [0, 1, 2].map(|at| x[at].clone());
                fused::layer_norm(x, gamma.squeeze_dim(0), beta.squeeze_dim(0), 1e-5)
            },
            move |x| {
                let normal = x[0].map_rows(normal);
                Matrix::of(x[0].rows, x[0].columns, |row, column| {
                    normal.at(row, column) * x[1].at(0, column) + x[2].at(0, column)
                })
            },
        )
    };
    vec![
        Case::new(
            "fused softmax",
            [x(1.0)],
            |x| fused::softmax(x[0].clone()),
            |x| x[0].map_rows(softmax),
        ),
        Case::new(
            "softmax",
            [x(1.0)],
            |x| activation::softmax(x[0].clone(), 1),
            |x| x[0].map_rows(softmax),
        ),
        Case::new(
            "log softmax",
            [x(1.0)],
            |x| activation::log_softmax(x[0].clone(), 1),
            |x| x[0].map_rows(log_softmax),
        ),
        layer_norm("fused layer norm", x(1.0)),
        layer_norm("fused layer norm, far from 0", offset).within(2e-5),
        Case::new(
            "unit length",
            [x(1.0)],
            |x| {
                let x = x[0].clone();
                let norm = x.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
                x / norm
            },
            |x| {
                x[0].map_rows(|row| {
                    let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                    row.iter().map(|x| x / norm).collect()
                })
            },
        ),
    ]
}

fn products() -> Vec<Case<'static>> {
    let matrix = |rows, columns, from| Matrix::spread(rows, columns, -1.0, 1.0, from);
    let linear = |x: &[Matrix]| {
        let product = x[0].product(&x[1]);
        Matrix::of(product.rows, product.columns, |row, column| {
            product.at(row, column) + x[2].at(0, column)
        })
    };
    let mut cases = Vec::new();
    // One row is decoding; few are a cache's; the others leave rests of every tile.
    for rows in [1, 3, 37] {
        cases.extend([
            Case::new(
                "matmul",
                [matrix(rows, 70, 1.0), matrix(70, 45, 0.2)],
                |x| x[0].clone().matmul(x[1].clone()),
                |x| x[0].product(&x[1]),
            ),
            Case::new(
                "matmul of a transpose",
                [matrix(rows, 70, 1.0), matrix(45, 70, 0.2)],
                |x| x[0].clone().matmul(x[1].clone().transpose()),
                |x| x[0].product(&x[1].transpose()),
            ),
            Case::new(
                "fused linear",
                [
                    matrix(rows, 70, 1.0),
                    matrix(70, 45, 0.2),
                    matrix(1, 45, 0.4),
                ],
                |x| fused::linear(x[0].clone(), x[1].clone(), x[2].clone().squeeze_dim(0)),
                linear,
            ),
            Case::new(
                "fused product",
                [matrix(rows, 70, 1.0), matrix(70, 45, 0.2)],
                |x| fused::product(x[0].clone(), x[1].clone()),
                |x| x[0].product(&x[1]),
            ),
        ]);
    }
    cases.push(Case::new(
        "batched matmul, one side shared",
        [matrix(6, 10, 1.0), matrix(10, 7, 0.2)],
        |x| {
            let batch = x[0].clone().reshape([3, 2, 10]);
            batch.matmul(x[1].clone().unsqueeze()).reshape([6, 7])
        },
        |x| x[0].product(&x[1]),
    ));
    cases
}

/// Changes of resolution, of 3 maps of 4² places.
fn resolutions() -> Vec<Case<'static>> {
    let maps = || Matrix::spread(3, 16, -2.0, 2.0, 1.0);
    vec![
        Case::new(
            "doubled, as nearest neighbours are",
            [maps()],
            |x| {
                let options = InterpolateOptions::new(InterpolateMode::Nearest)
                    .with_align_corners(false)
                    .with_output_size([8, 8]);
                interpolate(x[0].clone().reshape([1, 3, 4, 4]), options).reshape([3, 64])
            },
            |x| Matrix::of(3, 64, |map, at| x[0].at(map, at / 8 / 2 * 4 + at % 8 / 2)),
        ),
        Case::new(
            "pooled to a coarser grid",
            [maps()],
            |x| {
                let maps = x[0].clone().reshape([1, 3, 4, 4]);
                adaptive_avg_pool2d(maps, [2, 2]).reshape([3, 4])
            },
            |x| {
                Matrix::of(3, 4, |map, at| {
                    let (top, left) = (at / 2 * 2, at % 2 * 2);
                    let places = [(0, 0), (0, 1), (1, 0), (1, 1)];
                    let sum: f64 = places
                        .iter()
                        .map(|(row, column)| x[0].at(map, (top + row) * 4 + left + column))
                        .sum();
                    sum / 4.0
                })
            },
        ),
    ]
}

/// Rows by number: some often, some never, so that gradients add up.
const CHOSEN: [usize; 8] = [4, 0, 4, 4, 2, 5, 0, 4];

/// What picks values by number or mask and changes none.
fn chosen() -> Vec<Case<'static>> {
    let x = |from| Matrix::spread(6, 20, -2.0, 2.0, from);
    let chosen = |x: &Tensor<2>| {
        let ids = CHOSEN.map(|id| id as i64);
        Tensor::<1, Int>::from_data(TensorData::from(ids), &x.device())
    };
    let of_row = |row: usize| (row * 7 + 3) % 20;
    let columns = move |x: &Tensor<2>| {
        let ids: Vec<i64> = (0..6).map(|row| of_row(row) as i64).collect();
        Tensor::<2, Int>::from_data(TensorData::new(ids, [6, 1]), &x.device())
    };
    let checkered = |row: usize, column: usize| (row + column).is_multiple_of(3);
    let mask = move |x: &Tensor<2>| {
        let here: Vec<bool> = (0..120).map(|at| checkered(at / 20, at % 20)).collect();
        Tensor::from_data(TensorData::new(here, [6, 20]), &x.device())
    };
    vec![
        Case::new(
            "rows by number",
            [x(1.0)],
            move |x| x[0].clone().select(0, chosen(&x[0])),
            |x| Matrix::of(8, 20, |row, column| x[0].at(CHOSEN[row], column)),
        ),
        Case::new(
            "rows added by number",
            [x(1.0), Matrix::spread(8, 20, -1.0, 1.0, 0.3)],
            move |x| {
                x[0].clone().select_assign(
                    0,
                    chosen(&x[0]),
                    x[1].clone(),
                    burn::tensor::IndexingUpdateOp::Add,
                )
            },
            |x| {
                Matrix::of(6, 20, |row, column| {
                    let added = (0..8).filter(|&at| CHOSEN[at] == row);
                    x[0].at(row, column) + added.map(|at| x[1].at(at, column)).sum::<f64>()
                })
            },
        ),
        Case::new(
            "one of each row",
            [x(1.0)],
            move |x| x[0].clone().gather(1, columns(&x[0])),
            move |x| Matrix::of(6, 1, |row, _| x[0].at(row, of_row(row))),
        ),
        Case::new(
            "where a mask says so",
            [x(1.0), x(0.4)],
            move |x| x[0].clone().mask_where(mask(&x[0]), x[1].clone()),
            move |x| {
                Matrix::of(6, 20, |row, column| {
                    x[usize::from(checkered(row, column))].at(row, column)
                })
            },
        ),
        Case::new(
            "filled by a mask",
            [x(1.0)],
            move |x| x[0].clone().mask_fill(mask(&x[0]), -2.5),
            move |x| {
                Matrix::of(6, 20, |row, column| {
                    if checkered(row, column) {
                        -2.5
                    } else {
                        x[0].at(row, column)
                    }
                })
            },
        ),
    ]
}

/// What moves values and changes none.
fn places() -> Vec<Case<'static>> {
    let x = |from| Matrix::spread(6, 20, -2.0, 2.0, from);
    vec![
        Case::new(
            "a part",
            [x(1.0)],
            |x| x[0].clone().narrow(0, 1, 4).slice([0..4, 3..12]),
            |x| Matrix::of(4, 9, |row, column| x[0].at(row + 1, column + 3)),
        ),
        Case::new(
            "a part put in",
            [x(1.0), Matrix::spread(2, 5, -1.0, 1.0, 0.3)],
            |x| x[0].clone().slice_assign([3..5, 10..15], x[1].clone()),
            |x| {
                Matrix::of(6, 20, |row, column| {
                    if (3..5).contains(&row) && (10..15).contains(&column) {
                        x[1].at(row - 3, column - 10)
                    } else {
                        x[0].at(row, column)
                    }
                })
            },
        ),
        Case::new(
            "side by side",
            [x(1.0), x(0.4)],
            |x| Tensor::cat(vec![x[0].clone(), x[1].clone()], 1),
            |x| Matrix::of(6, 40, |row, column| x[column / 20].at(row, column % 20)),
        ),
        Case::new(
            "heads split and merged",
            [x(1.0)],
            |x| {
                let heads = x[0].clone().reshape([2, 3, 4, 5]).swap_dims(1, 2);
                (heads * 2.0).reshape([8, 15])
            },
            |x| {
                Matrix::of(8, 15, |row, column| {
                    let at = row * 15 + column;
                    let (batch, head, token, inner) = (at / 60, at / 15 % 4, at / 5 % 3, at % 5);
                    2.0 * x[0].at(batch * 3 + token, head * 5 + inner)
                })
            },
        ),
        Case::new(
            "repeated and expanded",
            [Matrix::spread(1, 20, -2.0, 2.0, 1.0)],
            |x| x[0].clone().expand([3, 20]).repeat(&[2, 1]),
            |x| Matrix::of(6, 20, |_, column| x[0].at(0, column)),
        ),
    ]
}

/// Two sequences of two heads: 5 queries, 7 keys, 8 columns a head; the later keys are hidden from some queries.
fn attentions() -> Vec<Case<'static>> {
    const HEAD: usize = 8;
    const HIDDEN: f64 = -10_000.0;
    let inputs = || {
        [
            Matrix::spread(4 * 5, HEAD, -2.0, 2.0, 1.0),
            Matrix::spread(4 * 7, HEAD, -2.0, 2.0, 0.3),
            Matrix::spread(4 * 7, HEAD, -2.0, 2.0, 0.6),
        ]
    };
    let hidden = |query: usize, key: usize| key > query + 2;
    let bias = move || {
        Matrix::of(
            5,
            7,
            |query, key| {
                if hidden(query, key) { HIDDEN } else { 0.0 }
            },
        )
    };
    let meaning = move |x: &[Matrix]| {
        let mut values = Vec::new();
        for group in 0..4 {
            let part = |of: &Matrix, rows: usize| {
                Matrix::of(rows, HEAD, |row, column| of.at(group * rows + row, column))
            };
            let (query, key, value) = (part(&x[0], 5), part(&x[1], 7), part(&x[2], 7));
            let scores = query.product(&key.transpose());
            let scores = Matrix::of(5, 7, |row, column| {
                scores.at(row, column) / (HEAD as f64).sqrt() + bias().at(row, column)
            });
            values.extend(scores.map_rows(softmax).product(&value).values);
        }
        Matrix {
            rows: 4 * 5,
            columns: HEAD,
            values,
        }
    };
    vec![Case::new(
        "attention under a bias",
        inputs(),
        move |x| {
            let part = |at: usize, length| x[at].clone().reshape([2, 2, length, HEAD]);
            let (query, key, value) = (part(0, 5), part(1, 7), part(2, 7));
            let bias = Tensor::<4>::from_inner(bias().on(&x[0].device().inner()).unsqueeze());
            let bias = if query.is_autodiff() {
                bias
            } else {
                bias.inner()
            };
            let options = AttentionModuleOptions::default();
            let bias = bias.expand([2, 2, 5, 7]);
            attention(query, key, value, None, Some(bias), options).reshape([20, HEAD])
        },
        meaning,
    )]
}

/// The error function's slope at 0, which GELU's derivative is made of.
#[test]
fn the_reference_of_gelu_is_the_error_functions() {
    let slope = (gelu(1e-6) - gelu(-1e-6)) / 2e-6;
    assert!((slope - 0.5).abs() < 1e-9, "{slope}");
    let curvature = (gelu(1e-3) + gelu(-1e-3)) / 1e-6;
    assert!((curvature - FRAC_2_SQRT_PI * FRAC_1_SQRT_2).abs() < 1e-6);
}
