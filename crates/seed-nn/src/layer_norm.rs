//! LayerNorm, as one operation under autodiff too.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{DType, Device, Tensor},
};
use seed_device::fused;

/// Sizes of a [`LayerNorm`].
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormConfig {
    /// Width of the normalised dimension.
    pub width: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

/// `(x − mean) / √(variance + epsilon) · gamma + beta` over the last dimension.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale `[width]`.
    pub gamma: Param<Tensor<1>>,
    /// Shift `[width]`.
    pub beta: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNormConfig {
    /// PyTorch's default epsilon, 1e-5.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            epsilon: 1e-5,
        }
    }

    /// Another epsilon.
    pub fn with_epsilon(self, epsilon: f64) -> Self {
        Self { epsilon, ..self }
    }

    /// Initialises the norm on `device`: scale 1, shift 0.
    pub fn init(&self, device: &Device) -> LayerNorm {
        LayerNorm {
            gamma: Initializer::Ones.init([self.width], device),
            beta: Initializer::Zeros.init([self.width], device),
            epsilon: self.epsilon,
        }
    }
}

impl LayerNorm {
    /// Mean and variance are taken in f32, whatever the type of `x`; the output has that type again.
    ///
    /// # Shapes
    ///
    /// - input, output: `[.., width]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let dtype = x.dtype();
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        if dtype == DType::F32 && gamma.dtype() == DType::F32 {
            return fused::layer_norm(x, gamma, beta, self.epsilon);
        }
        let (x, gamma, beta) = (
            x.cast(DType::F32),
            gamma.cast(DType::F32),
            beta.cast(DType::F32),
        );
        fused::layer_norm(x, gamma, beta, self.epsilon).cast(dtype)
    }
}
