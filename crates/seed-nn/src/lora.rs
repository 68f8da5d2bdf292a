//! Low-rank adaptation: what an adapter adds to a frozen linear layer.
//!
//! - paper: <https://arxiv.org/abs/2106.09685>
//! - original code: `loralib`; `LoraLayer` of PEFT

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use seed_device::fused::product;

use crate::Dropout;

/// `scale · dropout(x) · a · b`, beside a linear layer's own output.
///
/// The two factors are multiplied one after the other and never into a weight: a step costs
/// `rank · (input + output)` a token, and no gradient has the shape of the frozen weight.
#[derive(Module, Debug)]
pub struct LoraBranch {
    /// `[input, rank]`
    pub a: Param<Tensor<2>>,
    /// `[rank, output]`
    pub b: Param<Tensor<2>>,
    /// Dropout of the branch's input, while training.
    pub dropout: Dropout,
    scale: f64,
}

impl LoraBranch {
    /// A branch that adds nothing yet: `a` uniform in `±1/√input` as PEFT draws it, `b` zero.
    ///
    /// `scale` is alpha over rank.
    pub fn new(
        [input, output]: [usize; 2],
        rank: usize,
        scale: f64,
        dropout: f64,
        device: &Device,
    ) -> Self {
        let bound = (input as f64).powf(-0.5);
        let uniform = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        Self {
            a: uniform.init([input, rank], device),
            b: Initializer::Zeros.init([rank, output], device),
            dropout: Dropout::new(dropout),
            scale,
        }
    }

    /// # Shapes
    ///
    /// - x: `[.., input]`
    /// - output: `[.., output]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let [a, b] = [&self.a, &self.b].map(|factor| factor.val().cast(x.dtype()));
        let x = self.dropout.forward(x);
        // Scaling the narrow middle costs less than scaling the output.
        product(product(x, a).mul_scalar(self.scale), b)
    }

    /// What the branch amounts to as a change of the weight, `[input, output]`.
    pub fn delta(&self) -> Tensor<2> {
        self.a.val().matmul(self.b.val()).mul_scalar(self.scale)
    }

    /// Number of columns of `a`.
    pub fn rank(&self) -> usize {
        self.a.lazy_shape()[1]
    }
}
