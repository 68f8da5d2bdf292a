//! What the fused operations need of a backend.

use burn::backend::{Backend, Distribution, Shape, TensorMetadata, tensor::FloatTensor};

/// Backward passes and random masks. The default bodies compose a backend's own operations; a backend
/// that can do better overrides them.
pub trait Kernels: Backend {
    /// [`gelu`](super::gelu).
    fn gelu_forward(x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::gelu(x)
    }

    /// Gradient of [`gelu`](super::gelu).
    fn gelu_gradient(x: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::gelu_backward(x, gradient)
    }

    /// Gradient of [`softmax`](super::softmax), from its output `y`.
    fn softmax_gradient(y: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        let last = y.shape().num_dims() - 1;
        let product = Self::float_mul(y.clone(), gradient);
        let sum = Self::float_sum_dim(product.clone(), last);
        Self::float_sub(product, Self::float_mul(y, sum))
    }

    /// `x` with mean 0 and variance 1 over the last dimension, and what it was divided by, inverted:
    /// `[.., 1]`.
    fn normalize(x: FloatTensor<Self>, epsilon: f64) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let last = x.shape().num_dims() - 1;
        let mean = Self::float_mean_dim(x.clone(), last);
        let centred = Self::float_sub(x, mean);
        let square = Self::float_mul(centred.clone(), centred.clone());
        let variance = Self::float_mean_dim(square, last);
        let deviation = Self::float_sqrt(Self::float_add_scalar(variance, epsilon.into()));
        let inverse = Self::float_recip(deviation);
        (Self::float_mul(centred, inverse.clone()), inverse)
    }

    /// Sums of the columns of a matrix: `[rows, width]` → `[width]`.
    fn column_sums(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let width = x.shape()[1];
        Self::float_reshape(Self::float_sum_dim(x, 0), [width].into())
    }

    /// Gradients of [`layer_norm`](super::layer_norm) with respect to `x`, `gamma` and `beta`.
    fn layer_norm_gradients(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> LayerNormGradients<Self> {
        let shape = x.shape();
        let last = shape.num_dims() - 1;
        let width = shape[last];
        let flat = Shape::new([shape.num_elements() / width.max(1), width]);
        let x = Self::float_reshape(x, flat.clone());
        let gradient = Self::float_reshape(gradient, flat);
        let (normal, inverse) = Self::normalize(x, epsilon);
        let product = Self::float_mul(gradient.clone(), normal.clone());
        let of_gamma = Self::column_sums(product.clone());
        let of_beta = Self::column_sums(gradient.clone());
        // Means over a row, weighted by gamma, are products with a vector.
        let weights = Self::float_mul_scalar(
            Self::float_reshape(gamma.clone(), [width, 1].into()),
            (1.0 / width as f64).into(),
        );
        let mean = Self::float_matmul(gradient.clone(), weights.clone());
        let slope = Self::float_matmul(product, weights);
        let scaled = Self::float_mul(gradient, Self::float_reshape(gamma, [1, width].into()));
        let centred = Self::float_sub(scaled, mean);
        let centred = Self::float_sub(centred, Self::float_mul(normal, slope));
        let of_x = Self::float_reshape(Self::float_mul(centred, inverse), shape);
        LayerNormGradients {
            x: of_x,
            gamma: of_gamma,
            beta: of_beta,
        }
    }

    /// [`dropout_mask`](super::dropout_mask).
    fn dropout_mask(like: FloatTensor<Self>, probability: f64) -> FloatTensor<Self> {
        let kept = 1.0 - probability;
        let (shape, device, dtype) = (like.shape(), like.device(), like.dtype());
        let drawn = Self::float_random(shape, Distribution::Bernoulli(kept), &device, dtype.into());
        Self::float_mul_scalar(drawn, (1.0 / kept).into())
    }
}

/// Gradients of a LayerNorm's three inputs.
pub struct LayerNormGradients<B: Backend> {
    /// As `x`.
    pub x: FloatTensor<B>,
    /// `[width]`
    pub gamma: FloatTensor<B>,
    /// `[width]`
    pub beta: FloatTensor<B>,
}

/// A backend's own softmax over the last dimension.
pub(super) fn softmax_forward<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let last = x.shape().num_dims() - 1;
    B::softmax(x, last)
}

#[cfg(feature = "ndarray")]
impl Kernels for burn::backend::NdArray {}
#[cfg(any(feature = "cuda", feature = "wgpu"))]
impl Kernels for burn::backend::Cube {}
