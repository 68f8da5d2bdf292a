//! What an operation means, in 64 bits, and how far a device may be from it.

use burn::tensor::{Device, Tensor, TensorData};

/// A matrix of 64-bit numbers, by rows.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) values: Vec<f64>,
}

impl Matrix {
    pub(crate) fn of(rows: usize, columns: usize, entry: impl Fn(usize, usize) -> f64) -> Self {
        let values = (0..rows * columns).map(|at| entry(at / columns, at % columns));
        Self {
            rows,
            columns,
            values: values.collect(),
        }
    }

    /// Numbers that fill a range evenly and in no order (the golden ratio's multiples), rounded to f32.
    pub(crate) fn spread(rows: usize, columns: usize, low: f64, high: f64, from: f64) -> Self {
        Self::of(rows, columns, |row, column| {
            let turn = (row * columns + column) as f64 + from;
            let share = (turn * 0.618_033_988_749_894_9).fract();
            f64::from((low + (high - low) * share) as f32)
        })
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.columns + column]
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    pub(crate) fn map(&self, function: impl Fn(f64) -> f64) -> Self {
        Self::of(self.rows, self.columns, |row, column| {
            function(self.at(row, column))
        })
    }

    /// Each row by a function of the whole row.
    pub(crate) fn map_rows(&self, function: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        let rows: Vec<Vec<f64>> = (0..self.rows).map(|row| function(self.row(row))).collect();
        let columns = rows[0].len();
        Self::of(self.rows, columns, |row, column| rows[row][column])
    }

    pub(crate) fn transpose(&self) -> Self {
        Self::of(self.columns, self.rows, |row, column| self.at(column, row))
    }

    pub(crate) fn product(&self, other: &Self) -> Self {
        assert_eq!(self.columns, other.rows);
        Self::of(self.rows, other.columns, |row, column| {
            (0..self.columns)
                .map(|inner| self.at(row, inner) * other.at(inner, column))
                .sum()
        })
    }

    pub(crate) fn on(&self, device: &Device) -> Tensor<2> {
        let values: Vec<f32> = self.values.iter().map(|&value| value as f32).collect();
        Tensor::from_data(TensorData::new(values, [self.rows, self.columns]), device)
    }
}

type Operation<'a> = Box<dyn Fn(&[Tensor<2>]) -> Tensor<2> + 'a>;
type Meaning<'a> = Box<dyn Fn(&[Matrix]) -> Matrix + 'a>;

/// One operation, as the library uses it.
pub(crate) struct Case<'a> {
    name: &'static str,
    inputs: Vec<Matrix>,
    operation: Operation<'a>,
    meaning: Meaning<'a>,
    tolerance: f64,
}

/// Of the largest value, when nothing else is said: a few roundings of an f32.
const TOLERANCE: f64 = 4e-6;

impl<'a> Case<'a> {
    pub(crate) fn new(
        name: &'static str,
        inputs: impl Into<Vec<Matrix>>,
        operation: impl Fn(&[Tensor<2>]) -> Tensor<2> + 'a,
        meaning: impl Fn(&[Matrix]) -> Matrix + 'a,
    ) -> Self {
        Self {
            name,
            inputs: inputs.into(),
            operation: Box::new(operation),
            meaning: Box::new(meaning),
            tolerance: TOLERANCE,
        }
    }

    /// Another tolerance, relative to the largest value.
    pub(crate) fn within(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Compares the output and the gradient of each input, and gives the worst error as a share of the tolerance.
    pub(crate) fn compare(&self, device: &Device) -> Vec<Error> {
        let device = device.clone().autodiff();
        let inputs: Vec<Tensor<2>> = self
            .inputs
            .iter()
            .map(|input| input.on(&device).require_grad())
            .collect();
        let output = (self.operation)(&inputs);
        let expected = (self.meaning)(&self.inputs);
        assert_eq!(
            output.dims(),
            [expected.rows, expected.columns],
            "{}",
            self.name
        );
        // Another weight for each output, so that none stands in for another.
        let weights = Matrix::spread(expected.rows, expected.columns, -1.0, 1.0, 0.5);
        let loss = (output.clone() * weights.on(&device)).sum();
        let gradients = loss.backward();
        let mut errors = vec![self.error("", output.into_data(), &expected.values)];
        // The same without autodiff, where other kernels may run.
        let plain: Vec<Tensor<2>> = inputs.iter().map(|input| input.clone().inner()).collect();
        let output = (self.operation)(&plain).into_data();
        errors.push(self.error(", without autodiff", output, &expected.values));
        for (index, input) in inputs.iter().enumerate() {
            let expected = self.slopes(index, &weights);
            let found = match input.grad(&gradients) {
                Some(gradient) => gradient.into_data(),
                None => panic!("{}: no gradient of input {index}", self.name),
            };
            let part = format!(", gradient of input {index}");
            errors.push(self.error(&part, found, &expected));
        }
        errors
    }

    /// The gradient by central differences, in 64 bits.
    fn slopes(&self, index: usize, weights: &Matrix) -> Vec<f64> {
        const STEP: f64 = 1e-5;
        let loss = |inputs: &[Matrix]| -> f64 {
            let output = (self.meaning)(inputs);
            let pairs = output.values.iter().zip(&weights.values);
            pairs.map(|(value, weight)| value * weight).sum()
        };
        let mut inputs = self.inputs.clone();
        let mut slope = |at: usize| {
            let middle = inputs[index].values[at];
            let mut beside = |step: f64| {
                inputs[index].values[at] = middle + step;
                loss(&inputs)
            };
            let difference = beside(STEP) - beside(-STEP);
            inputs[index].values[at] = middle;
            difference / (2.0 * STEP)
        };
        (0..self.inputs[index].values.len())
            .map(&mut slope)
            .collect()
    }

    fn error(&self, part: &str, found: TensorData, expected: &[f64]) -> Error {
        let largest = expected
            .iter()
            .fold(1.0f64, |most, value| most.max(value.abs()));
        let found = found.iter::<f64>().collect::<Vec<_>>();
        assert_eq!(found.len(), expected.len(), "{}{part}", self.name);
        let worst = found
            .iter()
            .zip(expected)
            .map(|(found, expected)| (found - expected).abs() / largest)
            // `max` would pass over a NaN.
            .fold(0.0f64, |worst, error| {
                if error > worst || error.is_nan() {
                    error
                } else {
                    worst
                }
            });
        Error {
            what: format!("{}{part}", self.name),
            of_tolerance: worst / self.tolerance,
        }
    }
}

/// How far a device is from an operation's meaning.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) what: String,
    /// 1 is just allowed.
    pub(crate) of_tolerance: f64,
}
