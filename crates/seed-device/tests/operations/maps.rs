//! Operations on maps, `[batch, channels, height, width]`: convolutions and GroupNorm.

use burn::tensor::{Tensor, module, ops::ConvOptions};
use seed_device::fused;

use super::reference::{Case, Matrix};

/// All of them.
pub(crate) fn all() -> Vec<Case<'static>> {
    let mut cases = convolutions();
    cases.extend(group_norms());
    cases
}

/// A convolution's sizes.
#[derive(Debug, Clone, Copy)]
struct Convolution {
    batch: usize,
    /// Channels that come in and go out.
    channels: [usize; 2],
    /// Height and width.
    map: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    /// Before and behind, of rows and of columns.
    padding: [(usize, usize); 2],
    dilation: [usize; 2],
    groups: usize,
}

/// One that keeps the resolution; the others are told by what is different.
const USUAL: Convolution = Convolution {
    batch: 2,
    channels: [3, 5],
    map: [8, 8],
    kernel: [3, 3],
    stride: [1, 1],
    padding: [(1, 1); 2],
    dilation: [1, 1],
    groups: 1,
};

impl Convolution {
    fn output(&self) -> [usize; 2] {
        [0, 1].map(|side| {
            let (before, behind) = self.padding[side];
            let reach = self.dilation[side] * (self.kernel[side] - 1);
            (self.map[side] + before + behind - reach - 1) / self.stride[side] + 1
        })
    }

    fn options(&self) -> ConvOptions<2> {
        ConvOptions::new_with_padding(self.stride, self.padding, self.dilation, self.groups)
    }

    /// The sum over channels and places of the kernel, for each place.
    fn meaning(&self, x: &Matrix, weight: &Matrix, bias: impl Fn(usize) -> f64) -> Matrix {
        let [_, outputs] = self.channels;
        let (inputs, kernel) = (self.channels[0] / self.groups, self.kernel);
        let [rows, columns] = self.output();
        let of_kernel = kernel[0] * kernel[1];
        let [height, width] = self.map;
        Matrix::of(self.batch, outputs * rows * columns, |image, at| {
            let (output, place) = (at / (rows * columns), at % (rows * columns));
            let place = [place / columns, place % columns];
            let group = output / (outputs / self.groups);
            let terms = (0..inputs * of_kernel).map(|inner| {
                let (channel, inside) = (inner / of_kernel, inner % of_kernel);
                let inside = [inside / kernel[1], inside % kernel[1]];
                let [row, column] = [0, 1].map(|side| {
                    let seen = place[side] * self.stride[side] + inside[side] * self.dilation[side];
                    seen.checked_sub(self.padding[side].0)
                });
                match (row, column) {
                    (Some(row), Some(column)) if row < height && column < width => {
                        let channel = group * inputs + channel;
                        x.at(image, (channel * height + row) * width + column)
                            * weight.at(output, inner)
                    }
                    _ => 0.0,
                }
            });
            terms.sum::<f64>() + bias(output)
        })
    }

    fn matrices(&self) -> [Matrix; 3] {
        let [inputs, outputs] = self.channels;
        let of_weight = inputs / self.groups * self.kernel[0] * self.kernel[1];
        [
            Matrix::spread(
                self.batch,
                inputs * self.map[0] * self.map[1],
                -1.0,
                1.0,
                1.0,
            ),
            Matrix::spread(outputs, of_weight, -1.0, 1.0, 0.3),
            Matrix::spread(1, outputs, -1.0, 1.0, 0.6),
        ]
    }

    /// Matrices as a map and a weight.
    fn tensors(&self, x: &[Tensor<2>]) -> [Tensor<4>; 2] {
        let [inputs, outputs] = self.channels;
        let map = [self.batch, inputs, self.map[0], self.map[1]];
        let weight = [
            outputs,
            inputs / self.groups,
            self.kernel[0],
            self.kernel[1],
        ];
        [x[0].clone().reshape(map), x[1].clone().reshape(weight)]
    }

    fn case(
        self,
        name: &'static str,
        operation: fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, ConvOptions<2>) -> Tensor<4>,
    ) -> Case<'static> {
        Case::new(
            name,
            self.matrices(),
            move |x| {
                let [map, weight] = self.tensors(x);
                let bias = x[2].clone().squeeze_dim(0);
                operation(map, weight, Some(bias), self.options()).flatten(1, 3)
            },
            move |x| self.meaning(&x[0], &x[1], |output| x[2].at(0, output)),
        )
    }

    fn case_without_bias(self, name: &'static str) -> Case<'static> {
        let [x, weight, _] = self.matrices();
        Case::new(
            name,
            [x, weight],
            move |x| {
                let [map, weight] = self.tensors(x);
                fused::conv2d(map, weight, None, self.options()).flatten(1, 3)
            },
            move |x| self.meaning(&x[0], &x[1], |_| 0.0),
        )
    }
}

fn convolutions() -> Vec<Case<'static>> {
    let patches = Convolution {
        kernel: [4, 4],
        stride: [4, 4],
        padding: [(0, 0); 2],
        ..USUAL
    };
    let halving = Convolution {
        stride: [2, 2],
        ..USUAL
    };
    // As the autoencoder's encoder does; of an odd size, so that the last border is seen.
    let right_and_below = Convolution {
        map: [8, 7],
        padding: [(0, 1); 2],
        ..halving
    };
    let pointwise = Convolution {
        kernel: [1, 1],
        padding: [(0, 0); 2],
        channels: [9, 4],
        map: [5, 6],
        ..USUAL
    };
    // More places and channels than fit any one tile, and rests of each.
    let wide = Convolution {
        batch: 1,
        channels: [2, 19],
        map: [21, 35],
        ..USUAL
    };
    let deep = Convolution {
        channels: [37, 3],
        map: [4, 5],
        ..USUAL
    };
    let uneven = Convolution {
        kernel: [3, 2],
        stride: [1, 3],
        padding: [(2, 0), (0, 1)],
        map: [5, 9],
        ..USUAL
    };
    let grouped = Convolution {
        channels: [6, 4],
        groups: 2,
        map: [5, 4],
        ..USUAL
    };
    let apart = Convolution {
        dilation: [2, 1],
        padding: [(2, 2), (1, 1)],
        map: [6, 5],
        ..USUAL
    };
    let tiny = Convolution {
        map: [1, 1],
        batch: 1,
        ..USUAL
    };
    vec![
        patches.case("patches by a convolution", |x, weight, bias, options| {
            module::conv2d(x, weight, bias, options)
        }),
        USUAL.case("fused convolution, 3×3", fused::conv2d),
        patches.case("fused convolution, patches", fused::conv2d),
        halving.case("fused convolution that halves", fused::conv2d),
        right_and_below.case(
            "fused convolution that halves, border right and below",
            fused::conv2d,
        ),
        pointwise.case("fused convolution, 1×1", fused::conv2d),
        wide.case("fused convolution, wide map of one picture", fused::conv2d),
        deep.case("fused convolution, many channels", fused::conv2d),
        uneven.case("fused convolution, uneven", fused::conv2d),
        grouped.case("fused convolution, grouped", fused::conv2d),
        apart.case("fused convolution, dilated", fused::conv2d),
        tiny.case("fused convolution, one place", fused::conv2d),
        USUAL.case_without_bias("fused convolution without bias"),
        pointwise.case_without_bias("fused convolution without bias, 1×1"),
    ]
}

/// GroupNorm's sizes.
#[derive(Debug, Clone, Copy)]
struct GroupNorm {
    batch: usize,
    channels: usize,
    map: [usize; 2],
    groups: usize,
    epsilon: f64,
    silu: bool,
}

impl GroupNorm {
    fn case(self, name: &'static str, [low, high]: [f64; 2]) -> Case<'static> {
        let places = self.map[0] * self.map[1];
        let of_map = self.channels * places;
        Case::new(
            name,
            [
                Matrix::spread(self.batch, of_map, low, high, 1.0),
                Matrix::spread(1, self.channels, -2.0, 2.0, 0.2),
                Matrix::spread(1, self.channels, -2.0, 2.0, 0.7),
            ],
            move |x| {
                let map = [self.batch, self.channels, self.map[0], self.map[1]];
                let operation = if self.silu {
                    fused::group_norm_silu
                } else {
                    fused::group_norm
                };
                let [gamma, beta] = [1, 2].map(|at| x[at].clone().squeeze_dim(0));
                let map = x[0].clone().reshape(map);
                operation(map, gamma, beta, self.groups, self.epsilon).flatten(1, 3)
            },
            move |x| {
                let group = of_map / self.groups;
                let normal = x[0].map_rows(|row| {
                    let groups = row.chunks(group).map(|group| self.normal(group));
                    groups.flatten().collect()
                });
                Matrix::of(self.batch, of_map, |image, at| {
                    let channel = at / places;
                    let y = normal.at(image, at) * x[1].at(0, channel) + x[2].at(0, channel);
                    if self.silu { y / (1.0 + (-y).exp()) } else { y }
                })
            },
        )
    }

    fn normal(&self, group: &[f64]) -> Vec<f64> {
        let n = group.len() as f64;
        let mean = group.iter().sum::<f64>() / n;
        let variance = group.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let inverse = (variance + self.epsilon).sqrt().recip();
        group.iter().map(|x| (x - mean) * inverse).collect()
    }
}

fn group_norms() -> Vec<Case<'static>> {
    let usual = GroupNorm {
        batch: 2,
        channels: 6,
        map: [5, 7],
        groups: 3,
        epsilon: 1e-5,
        silu: false,
    };
    let silu = GroupNorm {
        silu: true,
        ..usual
    };
    let range = [-4.0, 3.0];
    // Deviations as small as the root of the epsilon, which decides the result then; a rounding of the mean is 5e-6 of one.
    let constant = [0.75, 0.79];
    let loose = GroupNorm {
        epsilon: 1e-4,
        ..silu
    };
    vec![
        usual.case("fused group norm", range),
        silu.case("fused group norm and SiLU", range),
        GroupNorm { groups: 1, ..silu }.case("fused group norm and SiLU, one group", range),
        GroupNorm { groups: 6, ..silu }.case("fused group norm and SiLU, a group a channel", range),
        GroupNorm { batch: 1, ..usual }.case("fused group norm, one picture", range),
        GroupNorm {
            map: [33, 40],
            channels: 2,
            groups: 1,
            batch: 1,
            ..silu
        }
        .case("fused group norm and SiLU, a wide group", range),
        loose
            .case("fused group norm and SiLU, nearly constant", constant)
            .within(1e-4),
        GroupNorm {
            silu: false,
            ..loose
        }
        .case("fused group norm, nearly constant", constant)
        .within(1e-4),
    ]
}
